"""Programs of ours in processes of their own; under pytest on Linux, forked from one that has their imports behind it.

Those imports would be most of what a short test costs. What runs is the same: the program as ``__main__``, with the
arguments, environment, folder and standard streams that it is given. That it comes up from nothing too is seen by the
tests of starting, the command line, the demo and the small disks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

REPOSITORY = Path(__file__).resolve().parents[2]
_PRELOADED = (
    __name__,
    "main",
    "cli.commands.app",
    "sandbox.__main__",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
_allowed = False


@dataclass(frozen=True)
class Order:
    """What is typed after ``python``: ``-m module`` or a script, and its arguments. ``environment`` is all of it."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class Started(Protocol):
    """What is used of :class:`subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...


def allow_warm_starts() -> None:
    """From now on. Not for benchmarks, whose processes share no memory with others."""
    global _allowed  # noqa: PLW0603 - said once, by conftest.py
    _allowed = sys.platform.startswith("linux")


def start_warm(order: Order, stdin: int, stdout: int, stderr: int) -> Started:
    """Starts it, forked if that is allowed; it gets copies of the three descriptors."""
    return _Forked(order, (stdin, stdout, stderr)) if _allowed else start_cold(order, stdin, stdout, stderr)


def start_cold(order: Order, stdin: int, stdout: int, stderr: int) -> Started:
    """Starts it as a user does."""
    return subprocess.Popen(
        [sys.executable, *order.words],
        cwd=order.folder,
        env=order.environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


class _Forked:
    """A child of multiprocessing's fork server, which is ours and has one thread."""

    def __init__(self, order: Order, streams: tuple[int, ...]) -> None:
        _run_fork_server()
        copies = [Connection(os.dup(stream)) for stream in streams]
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_become, args=(order, copies), daemon=True)
        self._process.start()
        for copy in copies:
            copy.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


@cache
def _run_fork_server() -> None:
    """In a folder and an environment in which imports find and see the same as a service's own."""
    ours = dict(os.environ)
    forkserver.set_forkserver_preload(list(_PRELOADED))
    with contextlib.chdir(REPOSITORY):
        _set_environment({name: ours[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in ours})
        try:
            forkserver.ensure_running()
        finally:
            _set_environment(ours)


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _become(order: Order, streams: Sequence[Connection]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - all three as long as the process lives
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    _set_environment(order.environment)
    time.tzset()
    os.chdir(order.folder)
    module, words = order.words[0] == "-m", list(order.words)
    sys.argv = words[1:] if module else words
    if module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
