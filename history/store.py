"""The durable memory in DATA_DIR: tasks, one row per file outcome, the index of imported images, open upload intents.

SQLite in WAL mode. One thread writes, and commits in groups. Other threads read, each on its own connection, and see
what was committed when they began. When a write returns, it is on disk. One process owns DATA_DIR.

Paths are text if the name is UTF-8, else its bytes: what was recorded comes back as it was. Only reports give display
text.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from history import file_pages, queries, verification_rows
from history.data_dir_lock import owned_data_dir
from history.database import connect, connect_for_reading, prepare, translated
from history.integrity import DamageLatch, IntegrityCheck, examine
from history.report_lines import report_lines
from history.transactions import HistoryTransaction
from history.writer import GroupCommitWriter

_DATABASE_NAME = "history.sqlite3"
_PAGE_READERS = 2

T = TypeVar("T")
P = ParamSpec("P")
_Query = Callable[Concatenate[sqlite3.Connection, P], T]
_Write = Callable[Concatenate[HistoryTransaction, P], T]
_Method = Callable[Concatenate["History", P], Coroutine[Any, Any, T]]


def _reading(query: _Query[P, T], *, for_files: bool = False) -> _Method[P, T]:
    """A method that runs a query.

    Args:
        for_files: an import runs it for each file. Such queries share one thread, which wakes sooner than one of two.
    """

    @wraps(query)
    async def method(self: History, /, *args: P.args, **kwargs: P.kwargs) -> T:
        readers = self._file_reader if for_files else self._readers
        return await readers.run(lambda connection: query(connection, *args, **kwargs))

    return method


def _writing(write: _Write[P, T]) -> _Method[P, T]:
    """A method that runs a write in a transaction, and returns when that is on disk."""

    @wraps(write)
    async def method(self: History, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.run(lambda transaction: write(transaction, *args, **kwargs))

    return method


def _writing_in_parts(write_part: _Write[P, bool]) -> _Method[P, None]:
    """A method that repeats a write, each in its own transaction, until it returns False. Other writes get between."""

    @wraps(write_part)
    async def method(self: History, /, *args: P.args, **kwargs: P.kwargs) -> None:
        while await self._writer.run(lambda transaction: write_part(transaction, *args, **kwargs)):
            pass

    return method


class History:
    """The open history; made by :meth:`open`. Each operation is documented at the function that it runs.

    Operations raise HistoryError if the database fails, and TaskNotFoundError if there is no such task. Writes raise
    DiskFullError if no space is left. Once the file is known to be damaged, all but :meth:`check` raise
    HistoryDamagedError: with a damaged index, an answer may silently lack rows.
    """

    def __init__(self, path: str) -> None:
        self._latch = DamageLatch(path)
        with translated(path):
            self._writer = GroupCommitWriter(connect(path), path, self._latch)
        self._file_reader = _Readers(path, self._latch, 1)
        self._readers = _Readers(path, self._latch, _PAGE_READERS)
        self._check = IntegrityCheck(path, self._latch)

    @classmethod
    @asynccontextmanager
    async def open(cls, data_dir: str) -> AsyncIterator[History]:
        """Own DATA_DIR and open its database; creates what is missing.

        Raises:
            DataDirInUseError: another process owns DATA_DIR.
            HistoryError: locked, damaged or unusable; names the file.
        """
        path = _database_path(data_dir)
        with owned_data_dir(data_dir):
            await asyncio.to_thread(prepare, path)
            history = cls(path)
            try:
                yield history
            finally:
                await history._check.close()
                await history._file_reader.close()
                await history._readers.close()
                await history._writer.close()

    # --- the file

    @property
    def damaged(self) -> bool:
        """Whether the file is known to be damaged, and so not used any more."""
        return self._latch.is_set

    @property
    def checked_at(self) -> datetime | None:
        """When :meth:`check` last came to a verdict, UTC."""
        return self._check.ended_at

    async def check(self) -> None:
        """Read the whole file, which takes seconds; sets :attr:`damaged`. Raises HistoryError if it cannot be done."""
        await self._check.run()

    # --- tasks

    add_task = _writing(HistoryTransaction.add_task)
    save_task = _writing(HistoryTransaction.save_task)
    prune = _writing_in_parts(HistoryTransaction.prune_some)
    get_task = _reading(queries.get_task)
    list_tasks = _reading(queries.list_tasks)
    unfinished_tasks = _reading(queries.unfinished_tasks)
    tasks_left_in_doubt = _reading(queries.tasks_left_in_doubt)

    # --- outcomes, and files that are not imported

    record_outcome = _writing(HistoryTransaction.record_outcome)
    record_outcomes = _writing(HistoryTransaction.record_outcomes)
    record_left_out = _writing(HistoryTransaction.record_left_out)
    recorded_paths = _reading(queries.recorded_paths, for_files=True)

    # --- counts and reports

    counts = _reading(queries.counts)
    counts_of = _reading(queries.counts_of)
    breakdown = _reading(queries.breakdown)
    report_lines = _reading(report_lines)
    files_page = _reading(file_pages.files_page)
    recorded_file = _reading(file_pages.recorded_file)
    ignored_rows = _reading(queries.ignored_rows)
    skipped_folders = _reading(queries.skipped_folders)
    skipped_folders_total = _reading(queries.skipped_folders_total)
    newest_failures = _reading(queries.newest_failures)
    failed_sources = _reading(queries.failed_sources)

    # --- the month board

    count_on_board = _writing(HistoryTransaction.count_on_board)
    end_walk = _writing(HistoryTransaction.end_walk)
    month_sums = _reading(queries.month_sums)
    month_marks = _reading(queries.month_marks)
    newest_months = _reading(queries.newest_months)

    # --- verification

    async def begin_verification(self, task_id: str, started_at: datetime) -> None:
        """A new one begins; to be followed by :attr:`drop_verified`."""
        total = await self._readers.run(lambda connection: verification_rows.images_to_verify(connection, task_id))
        await self._writer.run(lambda transaction: verification_rows.begin(transaction, task_id, total, started_at))

    drop_verified = _writing_in_parts(verification_rows.drop_some)
    add_verified = _writing(verification_rows.add)
    end_verification = _writing(verification_rows.end)
    verification = _reading(verification_rows.verification)
    verified_rows = _reading(verification_rows.verified_rows)
    files_to_verify = _reading(verification_rows.files_to_verify)
    imported_into = _reading(verification_rows.imported_into)

    # --- patients and imported images

    intend_patient = _writing(HistoryTransaction.intend_patient)
    drop_patient_intent = _writing(HistoryTransaction.drop_patient_intent)
    record_patient = _writing(HistoryTransaction.record_patient)
    record_image = _writing(HistoryTransaction.record_image)
    identify_image = _writing(HistoryTransaction.identify_image)
    images_of_patient = _reading(queries.images_of_patient, for_files=True)
    images_without_id = _reading(queries.images_without_id)
    instances = _reading(queries.instances, for_files=True)
    planned_backends = _reading(queries.planned_backends)
    drop_plan = _writing_in_parts(HistoryTransaction.drop_some_planned)
    record_seen = _writing(HistoryTransaction.record_seen)
    seen_sources = _reading(queries.seen_sources, for_files=True)

    # --- intents

    add_intent = _writing(HistoryTransaction.add_intent)
    drop_intent = _writing(HistoryTransaction.drop_intent)
    intents_of_name = _reading(queries.intents_of_name)
    open_intents = _reading(queries.open_intents)


def examine_history(data_dir: str, within_s: float) -> bool:
    """Check the history of a DATA_DIR that no process owns, and change nothing; False if ``within_s`` was too short.

    Raises:
        HistoryDamagedError: it is damaged.
        HistoryError: it cannot be opened or read.
    """
    return examine(_database_path(data_dir), within_s)


def _database_path(data_dir: str) -> str:
    return os.path.join(os.path.abspath(data_dir), _DATABASE_NAME)


class _Readers:
    """Threads for queries, each with its own connection, which cannot write."""

    def __init__(self, path: str, latch: DamageLatch, threads: int) -> None:
        self._path = path
        self._latch = latch
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="history-reader")

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, query)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._opened:
            connection.close()

    def _answer(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._latch.guarded():
            if not hasattr(self._own, "connection"):
                self._own.connection = connect_for_reading(self._path)
                self._opened.append(self._own.connection)
            return query(self._own.connection)
