"""Jobs that misbehave, for the render processes of test_render_pool. ``path`` of the request says how."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dicom.rendering import image_files
from dicom_processor import read_file
from errors import (
    ConfigurationError,
    DiskFullError,
    OutOfDescriptorsError,
    OutputUnusableError,
    PixelDecodeError,
    UnreadableFileError,
)
from models import ReadReply, ReadRequest

_hoard: list[bytes] = []
_marks: dict[str, bool] = {}


def behave(request: ReadRequest) -> ReadReply:
    """Does what the path's first word says, with its other words. The reply's hash field holds the process id."""
    deed, *words = request.path.split(" ")
    said = _DEEDS[deed](request, *words)
    return ReadReply(ignored="not_dicom", content_sha256=said or str(os.getpid()))


def _nothing(request: ReadRequest) -> None:
    return None


def _log_and_abort(request: ReadRequest, log: str) -> None:
    _note(log, str(os.getpid()))
    os.abort()


def _abort_first_time(request: ReadRequest, log: str) -> None:
    _note(log, str(os.getpid()))
    if len(Path(log).read_text(encoding="utf-8").splitlines()) == 1:
        os.abort()


def _killed_first_time(request: ReadRequest, log: str) -> None:
    _note(log, f"begin {os.getpid()}")
    if Path(log).read_text(encoding="utf-8").count("begin") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    _note(log, "alone-begin")
    time.sleep(0.05)
    _note(log, "alone-end")


def _noted(request: ReadRequest, log: str, word: str) -> None:
    _note(log, word)
    time.sleep(0.02)


def hollow(request: ReadRequest) -> ReadReply:
    """As :func:`behave`, but for a job named ``none``, whose reply holds nothing."""
    return None if request.path == "none" else behave(request)  # type: ignore[return-value]


def _spin(request: ReadRequest, started: str = os.devnull) -> None:
    Path(started).touch()
    while True:
        pass


def _paint_and_hang(request: ReadRequest) -> None:
    _paint(request)
    time.sleep(3600)


def _paint_and_abort(request: ReadRequest) -> None:
    _paint(request)
    os.abort()


def _paint_when_released(request: ReadRequest, started: str, go: str) -> None:
    Path(started).touch()
    while not Path(go).exists():
        time.sleep(0.005)
    _paint(request)


def _devour(request: ReadRequest, mebibytes: str) -> None:
    _hoard.append(bytes(int(mebibytes) * 2**20))
    _hoard.clear()


def _hoard_memory(request: ReadRequest, mebibytes: str) -> None:
    _hoard.append(b"x" * (int(mebibytes) * 2**20))


def _chatter(request: ReadRequest) -> None:
    os.write(1, b"native chatter" * 1000)
    os.write(2, b"native chatter" * 1000)
    print("python chatter", file=sys.stdout, flush=True)  # noqa: T201


def _disk_full(request: ReadRequest) -> None:
    raise DiskFullError("磁盘已满")


def _meet(request: ReadRequest, folder: str, count: str, mark: str) -> None:
    """Waits until so many processes are at it, each of which sees now whether the mark is there."""
    _marks[mark] = Path(mark).exists()
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < int(count):
        time.sleep(0.005)


def _stale(request: ReadRequest, mark: str, fault: str) -> None:
    """Fails in a process that has looked for the mark before it was there, as for a share that was mounted again."""
    had_it = _marks.setdefault(mark, Path(mark).exists())
    time.sleep(0.01)
    if Path(mark).exists() and not had_it:
        raise _FAULTS[fault](fault)


def _fault(request: ReadRequest, fault: str, log: str) -> None:
    _note(log, str(os.getpid()))
    raise _FAULTS[fault](fault)


_FAULTS = {
    error.code: error
    for error in (ConfigurationError, DiskFullError, OutOfDescriptorsError, OutputUnusableError, UnreadableFileError)
}


def read_on_small_disk(request: ReadRequest) -> ReadReply:
    """As the service's own job, on a disk that has room for one image."""
    write_whole = image_files.write_whole

    def write(path: str, data: memoryview | bytes | bytearray) -> None:
        if not path.endswith("-0001.jpg"):
            raise DiskFullError("磁盘已满")
        write_whole(path, data)

    image_files.write_whole = write
    return read_file(request)


def _damaged(request: ReadRequest) -> None:
    raise PixelDecodeError("像素损坏")


def _defect(request: ReadRequest) -> None:
    raise TypeError("Wang^XiaoDong")


def _environment(request: ReadRequest, name: str) -> str:
    return os.environ.get(name, "absent")


def _session(request: ReadRequest) -> str:
    return str(os.getsid(0))


def _big(request: ReadRequest, characters: str) -> str:
    return "x" * int(characters)


def _try(request: ReadRequest, deed: str, *words: str) -> str:
    """``ok``, or the name of the error that the operating system has for it."""
    try:
        return _TRIALS[deed](*words) or "ok"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _read_one_byte(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def _run_program(path: str) -> None:
    os.posix_spawn(path, [path, "-c", ""], {})


_TRIALS: dict[str, Callable[..., str | None]] = {
    "read": _read_one_byte,
    "write": _append,
    "remove": os.remove,
    "link": os.symlink,
    "pipe": os.mkfifo,
    "run": _run_program,
    "signal": lambda pid: os.kill(int(pid), 0),
    "status": lambda: Path("/proc/self/status").read_text(encoding="utf-8"),
}


class _Evil:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._path,)


def evil(request: ReadRequest) -> ReadReply:
    """A reply whose unpickling would make a folder."""
    return ReadReply(content_sha256=_Evil(request.path))  # type: ignore[arg-type]


def _paint(request: ReadRequest) -> None:
    Path(request.output_prefix + "-0001.jpg").write_bytes(b"half a picture")


def _note(log: str, line: str) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write(line + "\n")


_DEEDS: dict[str, Callable[..., str | None]] = {
    "nothing": _nothing,
    "abort": _log_and_abort,
    "abort-first-time": _abort_first_time,
    "killed-first-time": _killed_first_time,
    "noted": _noted,
    "spin": _spin,
    "paint-and-hang": _paint_and_hang,
    "paint-and-abort": _paint_and_abort,
    "paint-when-released": _paint_when_released,
    "devour": _devour,
    "hoard": _hoard_memory,
    "chatter": _chatter,
    "disk-full": _disk_full,
    "meet": _meet,
    "stale": _stale,
    "fault": _fault,
    "damaged": _damaged,
    "defect": _defect,
    "environment": _environment,
    "session": _session,
    "big": _big,
    "try": _try,
}
