"""One writer: jobs that arrive while a commit is on its way share the next transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
    """One piece of work inside a transaction, and whoever waits for it to be on disk."""

    work: Callable[[HistoryTransaction], T]
    landed: asyncio.Future[T]
    result: T | None = None
    error: ImportServiceError | None = field(default=None)

    def tell(self, fault: Exception | None) -> None:
        """Answer who waits; ``fault`` is that of the whole batch."""
        error = fault or self.error
        if self.landed.done():
            return
        if error is None:
            self.landed.set_result(self.result)  # type: ignore[arg-type]  # set where there is no error
        else:
            self.landed.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Jobs on their way to the disk together."""

    batch: Sequence[_Job[Any]]
    landed: asyncio.Future[None]


class GroupCommitWriter:
    """Runs jobs on the only connection that writes, on a thread of its own; the event loop never waits for the disk."""

    def __init__(self, connection: sqlite3.Connection, path: str, latch: DamageLatch) -> None:
        self._connection = connection
        self._path = path
        self._latch = latch
        self._waiting: list[_Job[Any]] = []
        self._flight: _Batch | None = None
        self._closed = False
        self._flights: SimpleQueue[_Batch | None] = SimpleQueue()
        # not an executor: its two futures for each commit nearly doubled the cost of handing it over
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
        if self._flight is None and len(self._waiting) == 1:
            loop.call_soon(self._take_off)
        return await job.landed

    async def close(self) -> None:
        """Write what is waiting, then end the thread and the connection."""
        self._closed = True
        self._take_off()
        while self._flight is not None:
            await asyncio.shield(self._flight.landed)
        self._flights.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._connection.close)

    def _take_off(self) -> None:
        if self._flight is not None or not self._waiting:
            return
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        self._flight = _Batch(batch, asyncio.get_running_loop().create_future())
        self._flights.put(self._flight)

    def _land(self, flight: _Batch, fault: Exception | None) -> None:
        self._flight = None
        for job in flight.batch:
            job.tell(fault)
        flight.landed.set_result(None)
        self._take_off()

    def _write(self) -> None:
        """The writer's thread."""
        while (flight := self._flights.get()) is not None:
            fault: Exception | None = None
            try:
                self._commit(flight.batch)
            except Exception as error:  # noqa: BLE001 - whoever waits for the batch is told
                fault = error
            flight.landed.get_loop().call_soon_threadsafe(self._land, flight, fault)

    def _commit(self, batch: Sequence[_Job[Any]]) -> None:
        """One transaction for all. A fault of the database fails them all."""
        with self._latch.guarded():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                transaction = HistoryTransaction(self._connection)
                for job in batch:
                    _run(job, transaction)
                transaction.flush()
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _run(job: _Job[Any], transaction: HistoryTransaction) -> None:
    """An error of ours is one job's own; HistoryTransaction checks before it writes."""
    try:
        job.result = job.work(transaction)
    except ImportServiceError as error:
        job.error = error
