"""The full check of the history's file, and the latch that refuses a damaged one."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from errors import HistoryDamagedError, HistoryError
from history.database import connect_for_reading, damaged, first_finding, translated

_log = logging.getLogger(__name__)

_CHECK = "PRAGMA integrity_check(1)"
"""Pages, free pages, cells' order, NOT NULL, UNIQUE, and each index against its table.

``quick_check`` does not compare indexes with tables. A changed character of a text that is in no index passes both.
"""
_SUMS_OUT_OF_STEP = """
    SELECT 1 FROM tasks
    WHERE total_files_scanned <> (SELECT COALESCE(SUM(files), 0) FROM tallies WHERE task_seq = seq) LIMIT 1
"""
"""``tallies`` has no index that SQLite could compare it with."""
_STOP_LOOKED_AT_EVERY = 100_000
"""Steps of SQLite's virtual machine between two calls of the progress handler, which can stop the check."""


class DamageLatch:
    """Set once the file is known to be damaged: then it is neither read nor written. Any thread may use it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._damage: HistoryDamagedError | None = None

    @property
    def is_set(self) -> bool:
        """Whether the file is known to be damaged."""
        return self._damage is not None

    def set(self, finding: str) -> None:
        """Refuse the file from now on; ``finding`` is for the log, once."""
        if self._damage is None:
            _log.critical("history is damaged and not used any more: %s: %s", finding, self._path)
        self._damage = damaged(self._path)

    def clear(self) -> None:
        """A full check found the file whole."""
        if self._damage is not None:
            _log.warning("history is whole again, and used again: %s", self._path)
        self._damage = None

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Access to the file. Raises HistoryDamagedError if the latch is set, and sets it on damage met inside."""
        if self._damage is not None:
            raise HistoryDamagedError(self._damage.detail)
        try:
            with translated(self._path):
                yield
        except HistoryDamagedError:
            self.set("met in use")
            raise


class IntegrityCheck:
    """The full check, on its own thread and connection. It reads one snapshot, and no write waits for it."""

    def __init__(self, path: str, latch: DamageLatch) -> None:
        self._path = path
        self._latch = latch
        self.ended_at: datetime | None = None
        """When a check last had a result, UTC."""
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history-check")

    async def run(self) -> None:
        """Check the file, and set or clear the latch. A cancelled wait leaves the check running until :meth:`close`.

        Damage has to be found twice, since a fault of a disk or cable may be transient.

        Raises:
            HistoryError, HostError: the file could not be checked; the latch is as it was.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._check)

    async def close(self) -> None:
        """Interrupt the check, and wait for the end of its thread."""
        self._closed = True
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # the check has ended, its connection is closed
                self._connection.interrupt()
        await asyncio.to_thread(self._thread.shutdown)

    def _check(self) -> None:
        finding = self._finding()
        if finding is None:
            self._latch.clear()
        elif self._finding() is None:
            _log.error("history not checked, a second look did not find: %s: %s", finding, self._path)
            raise HistoryError(f"历史数据库没有检查完：两次检查的结果不一致：{self._path}。")
        else:
            self._latch.set(finding)
        self.ended_at = datetime.now(UTC)

    def _finding(self) -> str | None:
        """The first damage found, or None. A new connection reads every page anew."""
        try:
            with translated(self._path), closing(connect_for_reading(self._path)) as self._connection:
                self._connection.set_progress_handler(lambda: self._closed, _STOP_LOOKED_AT_EVERY)
                return damage_in(self._connection)
        except HistoryDamagedError:
            return "SQLite cannot read it"


def examine(path: str, within_s: float) -> bool:
    """Check a file that no process uses, and change nothing; False if ``within_s`` was too short.

    Raises:
        HistoryDamagedError: it is damaged.
        HistoryError: it cannot be opened or read.
    """
    if not os.path.exists(path) or not os.path.getsize(path):  # the service will make it
        return True
    until_s = time.monotonic() + within_s
    with translated(path), closing(_connect_leaving_as_is(path)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > until_s, _STOP_LOOKED_AT_EVERY)
        try:
            finding = damage_in(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return False
    if finding:
        raise damaged(path)
    return True


def _connect_leaving_as_is(path: str) -> sqlite3.Connection:
    """Creates no ``-wal`` and ``-shm``. A service that was killed may have left them; then they belong to the file."""
    wal = path + "-wal"
    has_wal = os.path.exists(wal) and os.path.getsize(wal) > 0
    return sqlite3.connect(f"{Path(path).as_uri()}?{'mode=ro' if has_wal else 'immutable=1'}", uri=True)


def damage_in(connection: sqlite3.Connection) -> str | None:
    """The first damage of the whole file, or None. Raises HistoryError if a page could not be read."""
    if finding := first_finding(connection, _CHECK):
        return finding
    return connection.execute(_SUMS_OUT_OF_STEP).fetchone() and "a task's sums are out of step"
