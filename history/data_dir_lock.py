"""One process owns DATA_DIR, by a lock of the operating system. It ends with its process, also by ``kill -9``."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from errors import DataDirInUseError, HistoryError

_LOCK_NAME = "owner.lock"

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30
    """Windows locks are mandatory. A byte far behind the text is locked, so the text stays readable."""

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        """``flock`` belongs to one opening of the file, so a second one in the same process is refused too."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def owned_data_dir(data_dir: str) -> Iterator[None]:
    """Own DATA_DIR during the block; creates it (0700) if it is missing.

    Spawned processes do not inherit the lock's descriptor, so a render worker that outlives this process holds no lock.

    Raises:
        DataDirInUseError: another process owns it; the detail names its pid and start.
        HistoryError: the folder or the lock file cannot be made.
    """
    path = os.path.join(data_dir, _LOCK_NAME)
    try:
        os.makedirs(data_dir, mode=0o700, exist_ok=True)
        descriptor = _open(path, os.O_CREAT)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    try:
        _require_regular(descriptor, path)
        try:
            _take(descriptor)
        except OSError as error:
            raise DataDirInUseError(_refusal(data_dir, path)) from error
        _write_owner(descriptor)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class DataDirOwner:
    """The process that owns DATA_DIR; None for what cannot be read just now."""

    pid: int | None = None
    started_at: str | None = None

    def __str__(self) -> str:
        return f"（进程号 {self.pid}，启动于 {self.started_at}）" if self.pid else ""


def data_dir_owner(data_dir: str) -> DataDirOwner | None:
    """The process that owns DATA_DIR now, or None; creates nothing. Raises HistoryError if this cannot be found out."""
    path = os.path.join(data_dir, _LOCK_NAME)
    try:
        descriptor = _open(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    try:
        _require_regular(descriptor, path)
        _take(descriptor)
    except OSError:
        return _named_owner(path)
    finally:
        os.close(descriptor)
    return None


def _unusable(data_dir: str, error: OSError) -> HistoryError:
    return HistoryError(f"无法使用数据文件夹 {data_dir}（{error.strerror}）。请检查 DATA_DIR 及其权限。")


def _open(path: str, flags: int = 0) -> int:
    """Never waits, whatever kind of file it is."""
    return os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | flags, 0o600)


def _require_regular(descriptor: int, path: str) -> None:
    """Raises HistoryError for a pipe or a device: it can be locked, but cannot name the owner."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise HistoryError(f"锁文件不是普通文件：{path}。请把它移走，然后重新启动。")


def _write_owner(descriptor: int) -> None:
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "started_at": started_at}).encode())


def _refusal(data_dir: str, path: str) -> str:
    owner = _named_owner(path)
    return f"数据文件夹 {data_dir} 正由另一个服务进程使用{owner}。请先停止它，或为本进程设置另一个 DATA_DIR。"


def _named_owner(path: str) -> DataDirOwner:
    """The owner writes its name just after it takes the lock, so the name may be missing for a moment."""
    try:
        with open(path, encoding="utf-8") as file:
            owner = json.load(file)
        return DataDirOwner(int(owner["pid"]), str(owner["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return DataDirOwner()
