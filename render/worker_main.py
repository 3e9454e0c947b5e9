"""The child process that reads and renders files, one at a time. :mod:`render.worker_process` starts it.

Jobs arrive over standard input and replies leave over standard output. Both move to private descriptors first, so that
the output of native libraries does not mix with the replies, and reaches no terminal or log.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from errors import FileError
from models import Failure, ReadReply, ReadRequest, display_path
from render.confinement import confine
from render.protocol import (
    FAULTS_OF_PROCESSES,
    LENGTH,
    Defect,
    Done,
    JobMessage,
    Outcome,
    OutOfMemory,
    Raised,
    Ready,
    ResultMessage,
    StartFailed,
    WorkerSetup,
    framed_reply,
)

if sys.platform != "win32":
    import resource

Job = Callable[[ReadRequest], ReadReply]

_PR_SET_PDEATHSIG = 1
_ORPHANED = 3  # exit status if the parent has gone
_SPENT = 4  # exit status if the process holds too much memory
_MAX_REASON_CHARACTERS = 300


class _Pipes:
    """The private descriptors of requests and replies."""

    def __init__(self) -> None:
        self._requests = os.fdopen(os.dup(0), "rb")
        self._replies = os.fdopen(os.dup(1), "wb")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)

    def receive(self) -> object | None:
        """The next message, None at the end of the stream."""
        prefix = self._requests.read(LENGTH.size)
        if len(prefix) < LENGTH.size:
            return None
        message: object = pickle.loads(self._requests.read(*LENGTH.unpack(prefix)))
        return message

    def send(self, message: Ready | StartFailed | ResultMessage) -> None:
        """Sends one message."""
        self._replies.write(framed_reply(message))
        self._replies.flush()


def main(parent_pid: int) -> None:
    """Serves jobs until the parent closes the pipe or dies."""
    _die_with(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    pipes = _Pipes()
    setup = pipes.receive()
    if not isinstance(setup, WorkerSetup):
        sys.exit(_ORPHANED)
    job = _warm_up(setup, pipes)
    gc.freeze()  # what has been imported never becomes garbage
    memory = _Memory(setup.memory_bytes)
    next_job = _job_source(pipes)
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold images
    memory.measure()
    pipes.send(Ready(confine(setup.confinement)))
    while True:
        message = next_job()
        outcome = _outcome(job, message.request)
        if memory.measure() > setup.spent_rss_bytes and isinstance(outcome, Done):
            outcome = Done(outcome.reply, spent=True)
        result = ResultMessage(message.number, outcome)
        pipes.send(result)
        if result.last:
            sys.exit(_SPENT)


def _die_with(parent_pid: int) -> None:
    """Linux: the kernel kills this process when its parent ends. Elsewhere :func:`_job_source` sees the closed pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            sys.exit(_ORPHANED)


def _warm_up(setup: WorkerSetup, pipes: _Pipes) -> Job:
    """Imports the job with all that it needs; an exception goes to the service as StartFailed."""
    with ExitStack() as stack:
        stack.push(partial(_report_failure, pipes))
        if setup.check is not None:
            _named(setup.check)()
        return _named(setup.entry)


def _report_failure(pipes: _Pipes, _: object, error: BaseException | None, traceback: object) -> None:
    if error is not None:
        pipes.send(StartFailed(f"{type(error).__name__}: {error}"[:_MAX_REASON_CHARACTERS]))


def _named(dotted: str) -> Callable[..., Any]:
    module, _, function = dotted.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _job_source(pipes: _Pipes) -> Callable[[], JobMessage]:
    """Returns the next job when called; ends the process at the end of the pipe.

    If the kernel does not kill an orphan, a thread reads, which sees the end of the pipe during a job as well.
    """

    def read() -> JobMessage:
        message = pipes.receive()
        if not isinstance(message, JobMessage):
            os._exit(_ORPHANED)
        return message

    def read_all() -> None:
        try:
            while True:
                jobs.put(read())
        finally:
            os._exit(_ORPHANED)

    if sys.platform == "linux":
        return read
    jobs: SimpleQueue[JobMessage] = SimpleQueue()
    threading.Thread(target=read_all, name="jobs", daemon=True).start()
    return jobs.get


class _Memory:
    """Measures and limits the memory of this process; without Linux /proc it does neither."""

    def __init__(self, job_bytes: int) -> None:
        self._job_bytes = job_bytes
        self._statm: int | None = None
        with suppress(OSError):
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    def measure(self) -> int:
        """Returns the resident bytes, 0 if unknown. Allows the next job its share beyond what earlier jobs left."""
        if self._statm is None or sys.platform == "win32":
            return 0
        used, resident = (int(pages) * resource.getpagesize() for pages in os.pread(self._statm, 256, 0).split()[:2])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = used + self._job_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        return resident


def _outcome(job: Job, request: ReadRequest) -> Outcome:
    try:
        return Done(job(request))
    except FileError as error:
        return Done(ReadReply(failure=Failure(error.code, error.detail)))
    except FAULTS_OF_PROCESSES as error:
        return Raised(error.code, display_path(error.detail))
    except MemoryError:
        return OutOfMemory()
    except Exception as error:  # noqa: BLE001 - the top of a process
        return Defect(_place_of(error))


def _place_of(error: Exception) -> str:
    """Type, file and line of an unforeseen exception, without its text, which may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {os.path.basename(frame.filename)}:{frame.lineno}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
