"""The child process that reads and renders files, one at a time. Started by :mod:`render.process`; run as a script.

Jobs come in over the process's standard input and replies leave over its standard output, both moved to private
descriptors first, so that nothing that native libraries print can get among them (nor into a terminal or a log).
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from errors import FileError, ImportServiceError
from models import Failure, ReadReply, ReadRequest
from render.protocol import (
    LENGTH,
    Defect,
    Done,
    FromChild,
    OutOfMemory,
    Raised,
    Ready,
    StartFailed,
    WorkerSetup,
    framed,
)

if sys.platform != "win32":
    import resource

Job = Callable[[ReadRequest], ReadReply]

_PR_SET_PDEATHSIG = 1
_ORPHANED = 3  # exit status of a child whose parent has gone
_MAX_REASON_CHARACTERS = 300


class _Pipes:
    """The two private descriptors."""

    def __init__(self) -> None:
        self._requests = os.dup(0)
        self._replies = os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - exists there only

            msvcrt.setmode(self._requests, os.O_BINARY)
            msvcrt.setmode(self._replies, os.O_BINARY)

    def receive(self) -> object | None:
        """The next message, None at the end of the stream."""
        prefix = self._read(LENGTH.size)
        body = self._read(LENGTH.unpack(prefix)[0]) if prefix else b""
        return pickle.loads(body) if body else None

    def send(self, message: FromChild) -> None:
        """Sends one message."""
        rest = memoryview(framed(message))
        while rest:
            rest = rest[os.write(self._replies, rest) :]

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._requests, size)
            if not part:
                return b""
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def main(parent_pid: int) -> None:
    """Serves jobs until the parent closes the pipe or dies."""
    _die_with(parent_pid)
    _ignore_keyboard()
    pipes = _Pipes()
    setup = pipes.receive()
    if not isinstance(setup, WorkerSetup):
        sys.exit(_ORPHANED)
    job = _warm_up(setup, pipes)
    requests = _read_in_background(pipes)
    _limit_memory(setup.memory_bytes)
    pipes.send(Ready())
    while True:
        pipes.send(_outcome(job, requests.get()))


def _die_with(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent goes, however deep in native code it is then (Linux).

    Elsewhere :func:`_read_in_background` notices the closed pipe, which a parent's death leaves behind everywhere.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            sys.exit(_ORPHANED)


def _ignore_keyboard() -> None:
    """Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _warm_up(setup: WorkerSetup, pipes: _Pipes) -> Job:
    """Imports the job with all that it needs."""
    try:
        job: Job = _named(setup.entry)
        if setup.check is not None:
            _named(setup.check)()
    except Exception as error:
        pipes.send(StartFailed(f"{type(error).__name__}: {error}"[:_MAX_REASON_CHARACTERS]))
        raise
    return job


def _named(dotted: str) -> Callable[..., Any]:
    module, _, function = dotted.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _read_in_background(pipes: _Pipes) -> SimpleQueue[ReadRequest]:
    """Requests through a thread, so that the end of the pipe ends the process even in the middle of a job."""
    requests: SimpleQueue[ReadRequest] = SimpleQueue()

    def read() -> None:
        try:
            while isinstance(message := pipes.receive(), ReadRequest):
                requests.put(message)
        finally:
            os._exit(_ORPHANED)

    threading.Thread(target=read, name="requests", daemon=True).start()
    return requests


def _limit_memory(memory_bytes: int) -> None:
    """Caps the address space at what is used now plus the job's share, and forbids core dumps (they hold pictures).

    Where the platform cannot (Windows), only the limits on sizes told in headers protect the machine.
    """
    if sys.platform == "win32":
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = _statm_bytes(0)
    if used:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + memory_bytes if hard == resource.RLIM_INFINITY else min(used + memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _statm_bytes(field: int) -> int:
    """Address space (field 0) or resident memory (field 1) of this process; 0 where there is no Linux /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[field]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _outcome(job: Job, request: ReadRequest) -> FromChild:
    try:
        return Done(job(request), _statm_bytes(1))
    except FileError as error:
        return Done(ReadReply(failure=Failure(error.code, error.detail)), _statm_bytes(1))
    except ImportServiceError as error:
        return Raised(error)
    except MemoryError:
        return OutOfMemory()
    except Exception as error:  # noqa: BLE001 - the top of a process
        return Defect(_place_of(error))


def _place_of(error: Exception) -> str:
    """Where an unforeseen exception arose; without its text, which may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {os.path.basename(frame.filename)}:{frame.lineno}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
