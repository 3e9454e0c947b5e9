"""One render process, seen from the service: start, hand jobs over, kill.

A process does its jobs one after the other, in the order in which they were handed over, and is at the first one. So a
death is that job's, and those behind it were never begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from domain.descriptors import check_descriptors
from errors import HostError
from models import ReadReply, ReadRequest
from render.confinement import ConfinementState
from render.protocol import (
    LENGTH,
    MAX_REPLY_BYTES,
    JobMessage,
    Outcome,
    Ready,
    ResultMessage,
    StartFailed,
    WorkerSetup,
    framed,
)
from render.replies import BadReplyError, answer_to, first_word
from render.worker_environment import child_environment

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Imports from a cold disk under load; a warm start takes under a second."""

_MODULE = "render.worker_main"
_START_ATTEMPTS = 3
_ENDED_AT_ONCE = "进程一启动就退出了"
_EXIT_S = 2.0
_QUICK_S, _QUICK_JOBS_AT_HAND = 0.05, 4
_SHORT_S, _SHORT_JOBS_AT_HAND = 0.004, 8
"""Jobs faster than this are given ahead of time, up to so many, for this event loop may be busy for a while."""
_FORGETS = 0.9
"""What a slow job counts for after each further one: an archive of many slices and a few films is no quick one."""
_REST_S = 0.003
_SIGKILL = 9


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended in the middle of the job. ``by_kill`` is True for SIGKILL, the kernel's way to free memory."""

    by_kill: bool


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The process was killed for the time limit."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The process was dismissed in the middle of the job, for a fault that is not the job's."""


Ending = Outcome | Died | TimedOut | Interrupted


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way; ``reply`` is cancelled where nobody waits for it any more.

    Attributes:
        request: what is to be done.
        reply: resolved once, when the job has ended for good.
        died_once: a process died of it, or beside it.
        doubted: what a process said of it was not believed, and that process was dismissed.
    """

    request: ReadRequest
    reply: asyncio.Future[ReadReply]
    died_once: bool = False
    doubted: bool = False


class JobCallbacks(Protocol):
    """Whoever hands out the jobs, and is told what became of each."""

    def job_ended(self, process: RenderProcess, job: Job, ending: Ending) -> None:
        """Called once for each job that was begun."""

    def not_begun(self, process: RenderProcess, jobs: Sequence[Job]) -> None:
        """The process has ended, or was given up, before it came to these."""


class RenderProcess(asyncio.SubprocessProtocol):
    """A warm child with its jobs. Made by :meth:`start`; of no more use once ``fit`` is False."""

    def __init__(self, foreman: JobCallbacks, timeout_s: float) -> None:
        self._foreman = foreman
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._requests: asyncio.WriteTransport | None = None
        self._replies: asyncio.ReadTransport | None = None
        self._heard = bytearray()
        self._first_word: asyncio.Future[Ready | StartFailed] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._jobs: deque[Job] = deque()
        self._given = 0
        self._begun_s = 0.0
        self._limit: asyncio.TimerHandle | None = None
        self._mute = False
        self._given_up = False
        self._job_s = float("inf")  # what the slowest of the latest jobs took; nothing is known before the first
        self.jobs_done = 0
        self.confinement = ConfinementState.OFF

    @classmethod
    async def start(cls, setup: WorkerSetup, foreman: JobCallbacks, timeout_s: float) -> RenderProcess:
        """Starts a child and waits until its imports are paid.

        Raises:
            HostError: it would not start in three attempts; names the last reason.
            OutOfDescriptorsError: there are none for its pipes.
        """
        reason = ""
        for _ in range(_START_ATTEMPTS):
            child = cls(foreman, timeout_s)
            try:
                await _spawn(child)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # no process, or no thread for it
                if isinstance(error, OSError):
                    check_descriptors(error)
                reason = f"{type(error).__name__}: {error}"
                continue
            try:
                reason = await child._get_ready(setup)
            except asyncio.CancelledError:
                child.kill()
                await child.ended()
                raise
            if not reason and child.fit:
                return child
            reason = reason or _ENDED_AT_ONCE
        raise HostError(f"渲染进程连续 {_START_ATTEMPTS} 次无法启动：{reason}")

    @property
    def alive(self) -> bool:
        """False once the process is known to have ended."""
        return self._transport is not None and self._transport.get_returncode() is None

    @property
    def fit(self) -> bool:
        """Whether jobs may be given."""
        return self.alive and not self._given_up and not self._mute and not self._deaf

    @property
    def _deaf(self) -> bool:
        """It has closed its end of the pipe; what it said before may still lie in the other one."""
        return self._requests is None or self._requests.is_closing()

    @property
    def jobs_at_hand(self) -> int:
        """Jobs given that have not ended."""
        return len(self._jobs)

    @property
    def wants_more(self) -> bool:
        """Whether it is quick and should have one more job ahead, so that it need not wait for this event loop."""
        most = _SHORT_JOBS_AT_HAND if self._job_s < _SHORT_S else _QUICK_JOBS_AT_HAND
        return self._job_s < _QUICK_S and len(self._jobs) < most and self.fit

    def give(self, job: Job) -> None:
        """Hands a job over; the foreman is told how it ended."""
        if not self.fit:
            self._loop.call_soon(self._foreman.job_ended, self, job, Died(by_kill=False))
            return
        self._jobs.append(job)
        self._send(JobMessage(self._given, job.request))
        self._given += 1
        if len(self._jobs) == 1:
            self._begin_next()

    def kill(self) -> None:
        """Kills the process, if it is still there."""
        if self._transport is not None and self.alive:
            with suppress(OSError):  # it is just ending by itself
                self._transport.kill()

    def give_up(self) -> None:
        """Kills the process because it cannot be trusted; its first job ends as if the process had died of it."""
        self._give_up(Died(by_kill=False))

    def dismiss(self) -> None:
        """Kills the process because it knows the machine as it was before; its jobs lose nothing but time."""
        self._give_up(Interrupted())

    async def ended(self) -> None:
        """Waits until the process is gone and its pipes are closed."""
        await asyncio.shield(self._gone)

    # --- what the event loop tells -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The child has been started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._requests = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._replies = cast(asyncio.ReadTransport, self._transport.get_pipe_transport(1))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Some of a reply, or several."""
        if self._given_up:
            return
        self._heard += data
        done = self.jobs_done
        try:
            for body in self._bodies():
                self._hear(body)
        except BadReplyError as error:
            _log.error("reply of a render process refused: %s", error)
            self.give_up()
        if self.jobs_done > done:
            self._rest()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The child closed its pipe: it has ended, or will be made to."""
        if fd == 1:
            self._mute = True
            if self.alive:
                self._loop.call_later(_EXIT_S, self._died)
            else:
                self._died()

    def process_exited(self) -> None:
        """The child has ended; replies may still lie in the pipe."""
        if self._mute:
            self._died()

    def connection_lost(self, exc: Exception | None) -> None:
        """The child has ended and its pipes are closed."""
        assert self._transport is not None
        self._transport.close()
        if not self._gone.done():
            self._gone.set_result(None)

    # --- replies -----------------------------------------------------------------------------------------------------

    def _bodies(self) -> Iterator[bytes]:
        """The whole messages heard so far, each taken off before it is told. Raises BadReplyError."""
        heard = self._heard
        while len(heard) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(heard)
            if size > MAX_REPLY_BYTES:
                raise BadReplyError("too long")
            end = LENGTH.size + size
            if len(heard) < end:
                break
            body = bytes(heard[LENGTH.size : end])
            del heard[:end]
            yield body

    def _hear(self, body: bytes) -> None:
        """Replies come in the order of the jobs; one out of turn could be taken for another file's.

        Raises:
            BadReplyError: it is out of turn, or cannot be believed.
        """
        if self._given_up:
            return
        if not self._first_word.done():
            self._first_word.set_result(first_word(body))
            return
        answer = answer_to(self._jobs[0].request, body) if self._jobs else None
        if answer is None or answer.number != self._given - len(self._jobs):
            raise BadReplyError("out of turn")
        self._end_first(answer)

    def _end_first(self, answer: ResultMessage) -> None:
        """A job is done; the process is at the next one already, unless it said that it is spent."""
        job = self._jobs.popleft()
        self.jobs_done += 1
        self._note_pace(answer.seconds)
        if answer.last:
            self._give_up(None)
        self._begin_next()
        self._foreman.job_ended(self, job, answer.outcome)

    def _begin_next(self) -> None:
        """The process is at its first job now. One timer watches over all, set anew only where it has run out."""
        self._begun_s = self._loop.time()
        if self._jobs and self._limit is None:
            self._limit = self._loop.call_later(self._timeout_s, self._look_at_limit)

    def _look_at_limit(self) -> None:
        self._limit = None
        if not self._jobs:
            return
        left_s = self._begun_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._limit = self._loop.call_later(left_s, self._look_at_limit)
        else:  # replies that have come by now are heard first, also where we were at rest
            self._loop.call_later(_REST_S, self._loop.call_soon, self._time_out, self._jobs[0])

    def _time_out(self, job: Job) -> None:
        if self._jobs and self._jobs[0] is job:
            self._give_up(TimedOut())

    def _note_pace(self, seconds: float) -> None:
        """A slow one is remembered for a while: many files behind the next of its kind would wait for nothing."""
        self._job_s = max(seconds, self._job_s * _FORGETS if self.jobs_done > 1 else 0.0)

    def _rest(self) -> None:
        """Stops listening for a moment where the child makes short work of what it has.

        Replies are then heard several at a time: to wake up for each one costs a tenth of a CT slice. The child waits
        for nothing meanwhile, and whatever it has said is heard before its death is.
        """
        if self._job_s < _SHORT_S and len(self._jobs) > 1 and self._replies is not None and not self._given_up:
            self._replies.pause_reading()
            self._loop.call_later(_REST_S, self._replies.resume_reading)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _died(self) -> None:
        status = self._transport.get_returncode() if self._transport is not None else None
        self._give_up(Died(by_kill=status == -_SIGKILL))

    def _give_up(self, ending: Died | TimedOut | Interrupted | None) -> None:
        """No more is heard from this process. ``ending`` is that of the job that it was at; None: at none."""
        if self._given_up:
            return
        self._given_up = True
        jobs, self._jobs = list(self._jobs), deque()
        self.kill()
        if self._requests is not None and not self._deaf:
            self._requests.abort()
        if not self._first_word.done():
            self._first_word.set_result(StartFailed(_ENDED_AT_ONCE))
        if self._limit is not None:
            self._limit.cancel()
        if jobs and ending is not None:
            self._foreman.job_ended(self, jobs.pop(0), ending)
        if jobs:
            self._foreman.not_begun(self, jobs)

    async def _get_ready(self, setup: WorkerSetup) -> str:
        """Empty where the child is ready, else why not."""
        answer: Ready | StartFailed
        self._send(setup)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = await asyncio.shield(self._first_word)
        except TimeoutError:
            answer = StartFailed(f"{START_TIMEOUT_S:g} 秒内没有就绪")
        if isinstance(answer, Ready):
            self.confinement = answer.confinement
            return ""
        self.kill()
        await self.ended()
        return answer.reason

    def _send(self, message: WorkerSetup | JobMessage) -> None:
        assert self._requests is not None
        self._requests.write(framed(message))


async def _spawn(child: RenderProcess) -> None:
    """A process in a session of its own, so that Ctrl-C in the terminal does not reach it, and without our secrets."""
    await asyncio.get_running_loop().subprocess_exec(
        lambda: child,
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
