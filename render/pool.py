"""Warm render processes behind one method: a decoder that crashes, hangs or devours memory costs exactly its own file.

What happens to a file whose process does not answer as it should:

- it takes longer than the time limit: the process is killed, ``render_timeout``;
- it asks for more memory than allowed: ``render_out_of_memory``, and the process is replaced;
- its process dies: the file is tried once more in another one, and only a second death is its own, ``render_crashed``.
  After a SIGKILL that was not ours (the kernel frees memory that way, and may have chosen a bystander) the second try
  has the whole pool to itself;
- its process says what cannot be true (:mod:`render.replies`): as if it had died of the file.

A fault of the machine (a full disk, say) is believed if it shows from here as well. Where it does not, the process may
know the machine as it was before, or have been taken over: it is replaced, and the file is tried once more in the new
one. If that says the same, it is believed once a file, so that no file holds a task for ever. A process that dies idle
is replaced and nobody is blamed; jobs that it had ahead of time go to the next one. Whatever a dead process left of its
pictures is removed.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from domain.descriptors import are_left
from errors import (
    ConfigurationError,
    FileError,
    HostError,
    ImportServiceError,
    OutOfDescriptorsError,
    RenderCrashedError,
    RenderOutOfMemoryError,
    RenderTimeoutError,
    ServiceStoppingError,
    UnreadableFileError,
)
from models import Failure, ReadReply, ReadRequest
from render.confinement import ConfinementState
from render.executor import PoolOptions, RenderHealth
from render.protocol import Defect, Done, OutOfMemory, Raised, WorkerSetup
from render.worker_process import Died, Ending, Interrupted, Job, RenderProcess, TimedOut

_log = logging.getLogger(__name__)

_STOPPING = "服务正在停止，渲染已中断"
_LARGE_IMAGE_BYTES = 64 * 2**20
_BURIAL_S = 5.0
"""How long a killed process is waited for; one stuck in the file system is buried in the background."""


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """A place in the pool: a process, or one that is being started.

    Attributes:
        process: None before the first one, and while it is replaced.
        starting: one is being started, or about to be.
        first_jobs: what the next process gets as soon as it is warm.
    """

    process: RenderProcess | None = None
    starting: bool = False
    first_jobs: deque[Job] = field(default_factory=deque)

    @property
    def alive(self) -> bool:
        """Whether there is a living process."""
        return self.process is not None and self.process.alive

    @property
    def fit(self) -> bool:
        """Whether a job can go straight in."""
        return self.process is not None and self.process.fit

    @property
    def jobs(self) -> int:
        """Jobs handed over that have not ended."""
        return self.process.jobs_at_hand if self.process is not None else 0

    @property
    def open(self) -> bool:
        """Whether one more job may be given: to a process at rest, or ahead of time to a quick one."""
        if self.starting or self.process is None or not self.process.jobs_at_hand:
            return not self.starting
        return self.process.wants_more

    def jobs_done(self) -> int:
        """How worn the process is."""
        return self.process.jobs_done if self.process is not None else 0


class RenderPool:
    """The local :class:`RenderExecutor`. Jobs wait for a process in the order in which they came.

    A process at rest comes first; one whose jobs are short gets its next few ahead of time, so that it need not wait
    for this event loop in between. A cancelled :meth:`run` returns at once; a job that a process has by then is
    finished (or meets the time limit), and its pictures are removed.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        memory, spent = options.memory_mb * 2**20, options.recycle_rss_mb * 2**20
        self._setup = WorkerSetup(options.entry, memory, spent, options.check, options.confinement)
        self._lanes = [WorkerSlot() for _ in range(options.workers)]
        self._waiting: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._alone: Job | None = None
        self._unfinished: set[Job] = set()
        self._side_work: set[asyncio.Task[None]] = set()
        self._starts: set[asyncio.Task[None]] = set()
        self._believed: set[tuple[str, bool]] = set()  # what was believed without proof, by _kind_of
        self._start_problem = ""
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(cls, options: PoolOptions) -> AsyncIterator[RenderPool]:
        """The pool with every process warm; closed at the end.

        Raises:
            HostError: a process would not start.
        """
        pool = cls(options)
        try:
            started = await asyncio.gather(*map(pool._start, pool._lanes), return_exceptions=True)
            for problem in started:
                if isinstance(problem, BaseException):
                    raise problem
            yield pool
        finally:
            await pool.close()

    @property
    def ready(self) -> bool:
        """Whether at least one process is alive."""
        return self.check().ready

    def check(self) -> RenderHealth:
        """How many processes live, and why not all, if so."""
        alive = sum(lane.alive for lane in self._lanes)
        states = {lane.process.confinement for lane in self._lanes if lane.process is not None}
        told = (f"{alive}/{len(self._lanes)} 个渲染进程就绪", *sorted(state.words for state in states))
        detail = self._start_problem or "；".join(filter(None, told))
        return RenderHealth(ready=alive > 0 and not self._closing, workers=len(self._lanes), alive=alive, detail=detail)

    async def run(self, request: ReadRequest) -> ReadReply:
        """See :class:`RenderExecutor`."""
        if self._closing:
            raise ServiceStoppingError(_STOPPING)
        job = Job(request, asyncio.get_running_loop().create_future())
        self._unfinished.add(job)
        self._waiting.append(job)
        self._hand_out()
        return await job.reply

    async def close(self) -> None:
        """Kills every process; jobs under way or waiting end in ServiceStoppingError."""
        self._closing = True
        for job in self._unfinished:
            if not job.reply.done():
                job.reply.set_exception(ServiceStoppingError(_STOPPING))
        processes = [lane.process for lane in self._lanes if lane.process is not None]
        for process in processes:
            process.kill()
        for start in self._starts:
            start.cancel()
        leaving = [*self._starts, *self._side_work, *(asyncio.create_task(process.ended()) for process in processes)]
        if leaving:
            await asyncio.wait(leaving, timeout=_BURIAL_S)

    # --- handing out -------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        while (self._waiting or self._suspects) and (lane := self._free_lane()) and (job := self._next_job()):
            if lane.process is not None and lane.process.fit:
                lane.process.give(job)
            else:
                self._begin_start(lane, job)

    def _free_lane(self) -> WorkerSlot | None:
        """The one with the fewest jobs at hand; among those the one that has done most, whose memory is warm."""
        free = [lane for lane in self._lanes if lane.open]
        return min(free, key=lambda lane: (lane.jobs, not lane.fit, -lane.jobs_done()), default=None)

    def _next_job(self) -> Job | None:
        """None where none waits, or where one has, or is to have, the pool to itself."""
        if self._closing or self._alone is not None:
            return None
        if self._suspects:
            if any(lane.starting or lane.jobs for lane in self._lanes):
                return None
            self._alone = self._first_wanted(self._suspects)
            if self._alone is not None:
                return self._alone
        return self._first_wanted(self._waiting)

    def _first_wanted(self, jobs: deque[Job]) -> Job | None:
        """The first that somebody waits for; the others are forgotten."""
        while jobs:
            job = jobs.popleft()
            if not job.reply.done():
                return job
            self._unfinished.discard(job)
        return None

    def _begin_start(self, lane: WorkerSlot, job: Job | None = None) -> None:
        lane.starting = True
        if job is not None:
            lane.first_jobs.append(job)
        _keep(self._starts, self._renew(lane))

    async def _renew(self, lane: WorkerSlot) -> None:
        """Replaces a lane's process, and gives the new one its first jobs; without one they end in HostError."""
        problem = HostError("渲染进程无法启动")
        try:
            process = await self._start(lane)
            while lane.first_jobs:
                process.give(lane.first_jobs.popleft())
        except HostError as error:
            problem = error
        finally:
            lane.starting = False
            while lane.first_jobs:
                self._settle(lane.first_jobs.popleft(), problem)
            self._hand_out()

    async def _start(self, lane: WorkerSlot) -> RenderProcess:
        """A fresh process for a lane.

        Raises:
            HostError: it would not start; shown by :meth:`check` until one does.
        """
        if lane.process is not None:
            lane.process.kill()
            self._beside(lane.process.ended())
            lane.process = None
        try:
            process = await RenderProcess.start(self._setup, self, self._options.timeout_s)
        except HostError as error:
            self._start_problem = error.detail
            raise
        lane.process, self._start_problem = process, ""
        return process

    # --- what came of them -------------------------------------------------------------------------------------------

    def job_ended(self, process: RenderProcess, job: Job, ending: Ending) -> None:
        """See :class:`render.worker_process.JobCallbacks`."""
        if self._closing:
            return
        if isinstance(ending, Done) and process.fit and not _may_be_blind(process, job, ending.reply):
            self._settle(job, ending.reply)
            self._hand_out()
        else:
            self._job_ended_otherwise(process, job, ending)

    def _job_ended_otherwise(self, process: RenderProcess, job: Job, ending: Ending) -> None:
        lane = self._lane_of(process)
        match ending:
            case Done(reply=reply) if _may_be_blind(process, job, reply):
                self._beside(self._look_itself(process, self._place_of(process), job, reply))
            case Interrupted():
                self._beside(self._move(process, self._place_of(process), job))
            case Done(reply=reply):
                self._settle(job, reply)
            case Died(by_kill=False) if not job.died_once:
                if lane is not None:
                    lane.starting = True
                self._beside(self._try_again(process, job, lane))
            case Died(by_kill=True) if not job.died_once:
                self._beside(self._try_alone(process, job))
            case Died() | TimedOut():
                self._beside(self._fail_dead(process, job, ending))
            case Raised():
                self._beside(self._doubt(process, self._place_of(process), job, ending))
            case OutOfMemory() | Defect():
                self._beside(self._fail(job, self._failure(ending)))
        self._replace_unfit(process)
        self._hand_out()

    def not_begun(self, process: RenderProcess, jobs: Sequence[Job]) -> None:
        """See :class:`render.worker_process.JobCallbacks`: they come first; those in doubt go to its successor."""
        if self._closing:
            return
        self._waiting.extendleft(job for job in reversed(jobs) if not job.doubted)
        for job in filter(attrgetter("doubted"), jobs):
            self._give_to_next(self._place_of(process), job)
        self._replace_unfit(process)
        self._hand_out()

    def _replace_unfit(self, process: RenderProcess) -> None:
        lane = self._lane_of(process)
        if lane is not None and not process.fit:
            self._begin_start(lane)

    def _lane_of(self, process: RenderProcess) -> WorkerSlot | None:
        """None where the process has been, or is being, replaced."""
        return next((lane for lane in self._lanes if lane.process is process and not lane.starting), None)

    def _place_of(self, process: RenderProcess) -> WorkerSlot:
        """Where its successor is, or will be."""
        return next((lane for lane in self._lanes if lane.process is process), self._lanes[0])

    async def _try_again(self, process: RenderProcess, job: Job, lane: WorkerSlot | None) -> None:
        """In the fresh process that takes the dead one's place; where there is one by now, in the next at rest."""
        job.died_once = True
        await self._bury_once(process, job)
        if self._closing:
            return
        if lane is not None:
            self._begin_start(lane, job)
        else:
            self._waiting.appendleft(job)
            self._hand_out()

    async def _try_alone(self, process: RenderProcess, job: Job) -> None:
        """While no other is being rendered."""
        job.died_once = True
        await self._bury_once(process, job)
        self._suspects.append(job)
        self._hand_out()

    async def _fail_dead(self, process: RenderProcess, job: Job, ending: Died | TimedOut) -> None:
        await self._bury(process, job)
        self._settle(job, self._failure(ending))
        self._hand_out()

    async def _fail(self, job: Job, end: ReadReply | ImportServiceError) -> None:
        try:
            await asyncio.to_thread(_remove_pictures, job.request)
        finally:
            self._settle(job, end)
            self._hand_out()

    async def _doubt(self, process: RenderProcess, place: WorkerSlot, job: Job, raised: Raised) -> None:
        """Raises a fault of the machine that shows from here, too, or that a fresh process meets as well."""
        if await self._is_believed(job, raised):
            await self._fail(job, raised.error())
        else:
            await self._in_fresh(process, place, job)

    async def _is_believed(self, job: Job, raised: Raised) -> bool:
        """Of rules that cannot be used the importer judges by itself, so a second process is enough."""
        if raised.code == ConfigurationError.code:
            return job.doubted
        if await asyncio.to_thread(_shows_here, raised.code, job.request):
            return True
        kind = _kind_of(job.request)
        if not job.doubted or kind in self._believed:
            return False
        self._believed.add(kind)
        return True

    async def _look_itself(self, process: RenderProcess, place: WorkerSlot, job: Job, reply: ReadReply) -> None:
        """A share that was mounted again after a process was confined is closed to that process only."""
        if await asyncio.to_thread(os.access, job.request.path, os.R_OK):
            await self._in_fresh(process, place, job)
        else:
            await self._fail(job, reply)

    async def _in_fresh(self, process: RenderProcess, place: WorkerSlot, job: Job) -> None:
        """Ends a process whose word is in doubt, and tries the job once more in the one that takes its place."""
        process.dismiss()
        self._replace_unfit(process)
        if job.doubted:
            await self._fail_dead(process, job, Died(by_kill=False))
        else:
            job.doubted = True
            await self._move(process, place, job)

    async def _move(self, process: RenderProcess, place: WorkerSlot, job: Job) -> None:
        """Tries a job in the process that takes the place of a dismissed one; any other may know no more than that."""
        await self._bury_once(process, job)
        if not self._closing:
            self._give_to_next(place, job)

    def _give_to_next(self, place: WorkerSlot, job: Job) -> None:
        if place.starting:
            place.first_jobs.append(job)
        elif place.process is not None and place.process.fit:
            place.process.give(job)
        else:
            self._begin_start(place, job)

    def _settle(self, job: Job, end: ReadReply | ImportServiceError) -> None:
        self._unfinished.discard(job)
        if job is self._alone:
            self._alone = None
        if self._closing:
            return
        if self._believed and isinstance(end, ReadReply):
            self._believed.discard(_kind_of(job.request))
        if job.reply.done():  # nobody waits for it any more
            self._beside(asyncio.to_thread(_remove_pictures, job.request))
        elif isinstance(end, ReadReply):
            job.reply.set_result(end)
        else:
            job.reply.set_exception(end)

    def _failure(self, ending: Died | TimedOut | OutOfMemory | Defect) -> ReadReply:
        match ending:
            case OutOfMemory():
                detail = f"渲染所需内存超过 {self._options.memory_mb} MB；可增大 RENDER_MEMORY_MB 后重试"
                return _failed(RenderOutOfMemoryError(detail))
            case TimedOut():
                detail = f"渲染超过 {self._options.timeout_s:g} 秒，已终止；可增大 RENDER_TIMEOUT_SECONDS 后重试"
                return _failed(RenderTimeoutError(detail))
            case Defect(place=place):
                _log.error("defect in a render process: %s", place)
                return _failed(RenderCrashedError(f"程序内部错误（{place}），请将此信息报告给维护者"))
            case Died():
                return _failed(RenderCrashedError("渲染进程在处理此文件时两次崩溃或应答有误，文件很可能已损坏"))

    # --- what dead jobs leave ----------------------------------------------------------------------------------------

    async def _bury_once(self, process: RenderProcess, job: Job) -> None:
        """What comes late of the first try, from a process stuck in the disk, does not meet the second's pictures."""
        await self._bury(process, job)
        job.request = replace(job.request, output_prefix=f"{job.request.output_prefix}+")

    async def _bury(self, process: RenderProcess, job: Job) -> None:
        """Removes the pictures of a job whose process was killed, once it can write no more.

        One stuck in the file system is waited for beside the other work.
        """
        await asyncio.wait({self._beside(_clear_up_after(process, job.request))}, timeout=_BURIAL_S)

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return _keep(self._side_work, work)


def _keep(kept: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Starts a task that is held by reference until it is done."""
    task = asyncio.create_task(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


def _failed(error: FileError) -> ReadReply:
    return ReadReply(failure=Failure(error.code, error.detail))


async def _clear_up_after(process: RenderProcess, request: ReadRequest) -> None:
    await process.ended()
    await asyncio.to_thread(_remove_pictures, request)


def _may_be_blind(process: RenderProcess, job: Job, reply: ReadReply) -> bool:
    """Whether the process may lack a right to the file that a fresh one would have."""
    unreadable = reply.failure is not None and reply.failure.code == UnreadableFileError.code
    confined = process.confinement in (ConfinementState.CONFINED, ConfinementState.EXPOSED)
    return unreadable and confined and not job.doubted


def _kind_of(request: ReadRequest) -> tuple[str, bool]:
    """A file's header may be read where its pictures cannot be made, so that it tells nothing of them."""
    return request.path, request.render is not None


def _shows_here(code: str, request: ReadRequest) -> bool:
    """Whether this process meets the fault, too."""
    if code == OutOfDescriptorsError.code:
        return not are_left(1)
    return not _takes_an_image(request)


def _takes_an_image(request: ReadRequest) -> bool:
    """Whether a large image can be written where this job's are to be."""
    probe = f"{request.output_prefix}-probe"
    try:
        with open(probe, "xb") as file:
            file.write(bytes(_LARGE_IMAGE_BYTES))
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.remove(probe)
    return True


def _remove_pictures(request: ReadRequest) -> None:
    for path in glob.glob(glob.escape(request.output_prefix) + "-*"):
        with suppress(OSError):  # what stays is cleared away at the next start
            os.remove(path)
