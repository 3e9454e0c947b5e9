"""One writer: jobs that arrive during a commit share the next transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from errors import HistoryError, ImportServiceError
from history.integrity import DamageLatch
from history.transactions import HistoryTransaction

T = TypeVar("T")

_MAX_BATCH = 1_000


@dataclass(slots=True)
class _Job(Generic[T]):
    """Work inside a transaction, and the future of the caller that waits for its commit."""

    work: Callable[[HistoryTransaction], T]
    committed: asyncio.Future[T]
    result: T | None = None
    error: ImportServiceError | None = None

    def finish(self, fault: Exception | None) -> None:
        """Resolve the future; ``fault`` is that of the whole batch."""
        error = fault or self.error
        if self.committed.done():
            return
        if error is None:
            self.committed.set_result(self.result)  # type: ignore[arg-type]  # set if there is no error
        else:
            self.committed.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Jobs of one transaction."""

    jobs: Sequence[_Job[Any]]
    committed: asyncio.Future[None]


class GroupCommitWriter:
    """Runs jobs on the only connection that writes, on its own thread. The event loop never waits for the disk."""

    def __init__(self, connection: sqlite3.Connection, path: str, latch: DamageLatch) -> None:
        self._connection = connection
        self._path = path
        self._latch = latch
        self._waiting: list[_Job[Any]] = []
        self._batch: _Batch | None = None
        self._closed = False
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        # not an executor, which makes two futures for each commit
        self._thread = Thread(target=self._write, name="history-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[HistoryTransaction], T]) -> T:
        """Do the work in a transaction; returns once it is on disk. A cancelled wait does not take the write back.

        Raises:
            DiskFullError, HistoryError: the transaction failed; nothing of it was written.
            TaskNotFoundError: from the work itself.
        """
        if self._closed:
            raise HistoryError(f"历史数据库已关闭：{self._path}。")
        loop = asyncio.get_running_loop()
        job: _Job[T] = _Job(work, loop.create_future())
        self._waiting.append(job)
        if self._batch is None and len(self._waiting) == 1:
            loop.call_soon(self._submit)
        return await job.committed

    async def close(self) -> None:
        """Write what is waiting, then end the thread and the connection."""
        self._closed = True
        self._submit()
        while self._batch is not None:
            await asyncio.shield(self._batch.committed)
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._connection.close)

    def _submit(self) -> None:
        if self._batch is not None or not self._waiting:
            return
        jobs, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        self._batch = _Batch(jobs, asyncio.get_running_loop().create_future())
        self._batches.put(self._batch)

    def _complete(self, batch: _Batch, fault: Exception | None) -> None:
        self._batch = None
        for job in batch.jobs:
            job.finish(fault)
        batch.committed.set_result(None)
        self._submit()

    def _write(self) -> None:
        """The writer's thread."""
        while (batch := self._batches.get()) is not None:
            fault: Exception | None = None
            try:
                self._commit(batch.jobs)
            except Exception as error:  # noqa: BLE001 - the top of the thread; each caller of the batch gets it
                fault = error
            batch.committed.get_loop().call_soon_threadsafe(self._complete, batch, fault)

    def _commit(self, jobs: Sequence[_Job[Any]]) -> None:
        """One transaction for all. A fault of the database fails them all."""
        with self._latch.guarded():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                transaction = HistoryTransaction(self._connection)
                for job in jobs:
                    _run(job, transaction)
                transaction.flush()
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _run(job: _Job[Any], transaction: HistoryTransaction) -> None:
    """An error of ours belongs to its job alone, since HistoryTransaction checks before it writes."""
    try:
        job.result = job.work(transaction)
    except ImportServiceError as error:
        job.error = error
