"""Opens the SQLite file, and translates the errors of SQLite."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager

from domain.descriptors import are_left, check_descriptors, out_of_descriptors
from errors import DiskFullError, HistoryDamagedError, HistoryError, HostError
from history.schema import migrate
from history.values import WAY_OUT, unreadable_row

_log = logging.getLogger(__name__)
_BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 512  # of each connection; the system keeps the file in its own cache, too
_NO_SPACE_BYTES = 8 * 1024**2
"""With less free space, an I/O error counts as a full disk: SQLite reports some of those as SQLITE_IOERR."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNREAD = re.compile(r"error code[ =](?P<code>\d+)|failed to (?:get|read) ", re.IGNORECASE)

_SETTLE_CANCELLED = """
    UPDATE tasks SET completed_at = COALESCE(
        (SELECT finished_at FROM files WHERE task_seq = tasks.seq AND number = tasks.last_file), started_at, created_at
    )
    WHERE status = 'cancelled' AND completed_at IS NULL
"""
"""A task whose process was killed after it was cancelled, and before its last file ended, is at rest."""

_SETTLE_VERIFICATIONS = """
    UPDATE verifications SET
        status = 'failed',
        completed_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000,
        detail = 'interrupted：服务在核对过程中停止，请重新核对'
    WHERE status = 'running'
"""


def prepare(path: str) -> None:
    """Create the file (0600) if it is missing, check it, and bring its tables up to date.

    Raises:
        HistoryError: locked, damaged, not writable, of a newer version, or on a file system without WAL.
        DiskFullError: no space for it.
    """
    with translated(path):
        _create(path)
        with closing(connect(path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise HistoryError(f"历史数据库所在磁盘不支持 WAL：{path}。请把 DATA_DIR 放到本机磁盘上。")
            migrate(connection, path)
            if finding := first_finding(connection, "PRAGMA integrity_check('tasks')"):
                _log.critical("history is damaged: %s: %s", finding, path)
                raise damaged(path)
            connection.execute(_SETTLE_CANCELLED)
            connection.execute(_SETTLE_VERIFICATIONS)


def connect(path: str) -> sqlite3.Connection:
    """A connection without implicit transactions. A commit returns when it is on disk (synchronous FULL)."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def connect_for_reading(path: str) -> sqlite3.Connection:
    """As :func:`connect`; it cannot write."""
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def first_finding(connection: sqlite3.Connection, check: str) -> str | None:
    """The first line that a check of SQLite's finds damaged; None if there is none.

    Raises:
        HistoryError: SQLite could not read a page (memory, I/O error). It reports that as a finding, mostly with its
            result code (https://www.sqlite.org/rescode.html).
    """
    (verdict,) = connection.execute(check).fetchone()
    if verdict == "ok":
        return None
    finding = next((line for line in str(verdict).splitlines() if not line.startswith("***")), str(verdict))
    unread = _UNREAD.search(finding)
    if unread and int(unread["code"] or sqlite3.SQLITE_IOERR) & 0xFF not in _DAMAGE:
        _log.error("history could not be read: %s", finding)
        raise HistoryError("历史数据库有一页读不出（磁盘、连接或内存的问题），没有检查完。请检查 DATA_DIR 所在的磁盘。")
    return finding


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All queries inside see the same state of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # some faults end it
            connection.execute("ROLLBACK")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into ours, which name the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise (unreadable_row() if _is_undecodable(error) else translation(error, path)) from error
    except OSError as error:
        check_descriptors(error)
        raise HistoryError(f"无法使用历史数据库 {path}（{error.strerror}）。请检查 DATA_DIR 及其权限。") from error


def translation(error: sqlite3.Error, path: str) -> HistoryError | HostError:
    """Our error for SQLite's, by its primary result code."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path)):
        return DiskFullError(f"磁盘已满，无法写入历史数据库 {path}。请腾出空间，任务会自动继续。")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and not are_left(1):
        return out_of_descriptors()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HistoryError(f"历史数据库被其他程序锁定：{path}。请关闭打开它的程序后重试。")
    if code in _DAMAGE:
        return damaged(path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return HistoryError(f"历史数据库无法打开或写入：{path}。请检查 DATA_DIR 的权限。")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return HistoryError(f"历史数据库出错（{name}）：{path}。")


def _is_undecodable(error: sqlite3.Error) -> bool:
    """True if a text is not UTF-8. That error is Python's, so SQLite has no code for it."""
    return isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")


def damaged(path: str) -> HistoryDamagedError:
    """The error of a damaged file, with what to do."""
    return HistoryDamagedError(f"历史数据库已损坏：{path}。{WAY_OUT}")


def _no_space(path: str) -> bool:
    return shutil.disk_usage(os.path.dirname(path)).free < _NO_SPACE_BYTES


def _create(path: str) -> None:
    """The -wal and -shm files get the mode of the database."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.close(descriptor)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        os.chmod(path, 0o600)
