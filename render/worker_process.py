"""One render process, seen from the service: start it, give it one job at a time, kill it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process, SubprocessStreamProtocol
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from domain.descriptors import check_descriptors
from errors import HostError
from models import ReadRequest
from render.confinement import ConfinementState
from render.protocol import LENGTH, MAX_REPLY_BYTES, JobMessage, Outcome, StartFailed, WorkerSetup, framed
from render.replies import BadReplyError, result_of, start_message
from render.worker_environment import child_environment

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Imports from a cold disk under load need that long; a warm start takes less than a second."""

_MODULE = "render.worker_main"
_START_ATTEMPTS = 3
_ENDED_AT_ONCE = "进程一启动就退出了"
_EXIT_S = 2.0
_GRACE_S = 0.01
_BUFFER_BYTES = 1 << 18
_SIGKILL = getattr(signal, "SIGKILL", 9)


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended during the job. ``by_kill`` is True for SIGKILL, which the kernel sends to free memory."""

    by_kill: bool


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The process was killed because the job met the time limit."""


Ending = Outcome | Died | TimedOut


class RenderProcess:
    """A warm child process, made by :meth:`start`. It takes no more jobs once ``usable`` is False."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: SubprocessStreamProtocol) -> None:
        assert protocol.stdin is not None
        assert protocol.stdout is not None
        self._transport = transport
        self._process = Process(transport, protocol, asyncio.get_running_loop())
        self._stdin, self._stdout = protocol.stdin, protocol.stdout
        self._jobs_given = 0
        self._retired = False
        self._timed_out = False
        self._limit: asyncio.TimerHandle
        self.confinement = ConfinementState.OFF

    @classmethod
    async def start(cls, setup: WorkerSetup) -> RenderProcess:
        """Starts a child and waits until it has paid its imports.

        Raises:
            HostError: three attempts failed; names the last reason.
            OutOfDescriptorsError: there is none left for its pipes.
        """
        reason = ""
        for _ in range(_START_ATTEMPTS):
            try:
                child = cls(*await _spawn())
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # no process, or no thread for it
                if isinstance(error, OSError):
                    check_descriptors(error)
                reason = f"{type(error).__name__}: {error}"
                continue
            reason = await child._get_ready(setup)
            if not reason:
                return child
        raise HostError(f"渲染进程连续 {_START_ATTEMPTS} 次无法启动：{reason}")

    @property
    def alive(self) -> bool:
        """False once the process is known to have ended."""
        return self._transport.get_returncode() is None

    @property
    def usable(self) -> bool:
        """Whether the process can take a job."""
        return self.alive and not (self._retired or self._stdin.is_closing() or self._stdout.at_eof())

    async def run(self, request: ReadRequest, timeout_s: float) -> Ending:
        """Runs one job. Kills the process at the time limit, and after a reply that cannot be true."""
        self._limit = asyncio.get_running_loop().call_later(timeout_s, self._wait_a_moment)
        try:
            return await self._exchange(request)
        finally:
            self._limit.cancel()

    def _wait_a_moment(self) -> None:
        """Lets a reply in that arrived while the event loop was busy, although the time limit has passed."""
        self._limit = asyncio.get_running_loop().call_later(_GRACE_S, self._time_out)

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def kill(self) -> None:
        """Kills the process if it has not ended, and closes its pipes."""
        self._retired = True
        with suppress(OSError):
            self._transport.kill()
        for descriptor in (0, 1):
            pipe = self._transport.get_pipe_transport(descriptor)
            if pipe is not None:
                pipe.close()

    async def ended(self) -> None:
        """Waits until the process has ended and its pipes are closed."""
        await self._process.wait()

    async def _get_ready(self, setup: WorkerSetup) -> str:
        """Sends the setup and waits. Returns why the child, which has ended then, is of no use; empty if it is."""
        async with AsyncExitStack() as failed:
            failed.push_async_callback(self.ended)
            failed.callback(self.kill)
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    self._stdin.write(framed(setup))
                    message = start_message(await self._read_message())
            except TimeoutError:
                return f"{START_TIMEOUT_S:g} 秒内没有就绪"
            except (BadReplyError, ConnectionError, asyncio.IncompleteReadError):
                return _ENDED_AT_ONCE
            if isinstance(message, StartFailed):
                return message.reason
            self.confinement = message.confinement
            failed.pop_all()
        return ""

    async def _exchange(self, request: ReadRequest) -> Ending:
        self._jobs_given += 1
        try:
            self._stdin.write(framed(JobMessage(self._jobs_given, request)))
            await self._stdin.drain()
            result = result_of(request, await self._read_message())
            if result.number != self._jobs_given:
                raise BadReplyError("the reply to another job")
        except (ConnectionError, asyncio.IncompleteReadError):
            return TimedOut() if self._timed_out else await self._died()
        except BadReplyError as error:
            _log.error("reply of a render process refused: %s", error)
            self.kill()
            return Died(by_kill=False)
        self._retired = result.last
        return result.outcome

    async def _read_message(self) -> bytes:
        (size,) = LENGTH.unpack(await self._stdout.readexactly(LENGTH.size))
        if size > MAX_REPLY_BYTES:
            raise BadReplyError("too long")
        return await self._stdout.readexactly(size)

    async def _died(self) -> Died:
        """The pipe is closed: the process has ended, or is killed after a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_S):
                await self.ended()
        by_kill = self._transport.get_returncode() == -_SIGKILL
        self.kill()
        return Died(by_kill)


async def _spawn() -> tuple[asyncio.SubprocessTransport, SubprocessStreamProtocol]:
    """Starts a process without our secrets, in a session of its own so that Ctrl-C in the terminal misses it."""
    loop = asyncio.get_running_loop()
    return await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=_BUFFER_BYTES, loop=loop),
        sys.executable,
        "-m",
        _MODULE,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=child_environment(),
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
