"""One render process, seen from the service: start, hand a job over, kill."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from errors import HostError
from models import ReadRequest
from render.protocol import (
    LENGTH,
    MAX_REPLY_BYTES,
    Defect,
    Done,
    OutOfMemory,
    Raised,
    Ready,
    StartFailed,
    WorkerSetup,
    framed,
    loads_from_child,
)

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Imports from a cold disk under load; a warm start takes under a second."""

_MODULE = "render.worker"
_START_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 16
_EXIT_S = 2.0
_SIGKILL = 9
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
)
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}

Outcome = Done | Raised | OutOfMemory | Defect


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended in the middle of the job. ``by_kill`` is True for SIGKILL, the kernel's way to free memory."""

    by_kill: bool


class RenderProcess:
    """A warm child. Not for two jobs at once."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.jobs_done = 0

    @classmethod
    async def start(cls, setup: WorkerSetup) -> RenderProcess:
        """Starts a child and waits until its imports are paid.

        Raises:
            HostError: it would not start in three attempts; names the last reason.
        """
        reason = ""
        for _ in range(_START_ATTEMPTS):
            try:
                child = cls(await _spawn())
            except OSError as error:
                reason = str(error.strerror)
                continue
            try:
                reason = await child._get_ready(setup)
            except asyncio.CancelledError:
                child.kill()
                await child.ended()
                raise
            if not reason:
                return child
        raise HostError(f"渲染进程连续 {_START_ATTEMPTS} 次无法启动：{reason}")

    @property
    def alive(self) -> bool:
        """False once the process is known to have ended."""
        return self._process.returncode is None

    async def work(self, request: ReadRequest) -> Outcome | Died:
        """Hands one job over and waits for what comes of it. After :class:`Died` the process is of no more use."""
        try:
            await self._send(request)
            answer = await self._receive()
        except (EOFError, ConnectionError):
            return Died(by_kill=await self._status() == -_SIGKILL)
        except pickle.UnpicklingError as error:
            _log.error("reply of a render process refused: %s", error)
            self.kill()
            return Died(by_kill=False)
        self.jobs_done += 1
        if isinstance(answer, Outcome):
            return answer
        self.kill()
        return Died(by_kill=False)

    def kill(self) -> None:
        """Kills the process, if it is still there."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def ended(self) -> None:
        """Waits until the process is gone and its pipes are closed."""
        await self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        while await self._process.stdout.read(_CHUNK_BYTES):
            pass

    async def _status(self) -> int:
        """The exit status of a process that has closed its pipe, negative for a signal."""
        try:
            async with asyncio.timeout(_EXIT_S):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return 0

    async def _get_ready(self, setup: WorkerSetup) -> str:
        """Empty where the child is ready, else why not."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._send(setup)
                answer = await self._receive()
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            answer = StartFailed("进程一启动就退出了")
        except TimeoutError:
            answer = StartFailed(f"{START_TIMEOUT_S:g} 秒内没有就绪")
        if isinstance(answer, Ready):
            return ""
        self.kill()
        await self.ended()
        return answer.reason if isinstance(answer, StartFailed) else "进程的应答无法识别"

    async def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(framed(message))
        await self._process.stdin.drain()

    async def _receive(self) -> object:
        assert self._process.stdout is not None
        (size,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
        if size > MAX_REPLY_BYTES:
            raise pickle.UnpicklingError("a reply too long")
        return loads_from_child(await self._process.stdout.readexactly(size))


async def _spawn() -> Process:
    """A child in a session of its own, so that Ctrl-C in the terminal does not reach it, and without our secrets."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _MODULE,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _environment() -> Mapping[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
