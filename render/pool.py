"""A pool of warm render processes, each with one job at a time: a decoder's crash, hang or memory costs its own file.

- A job beyond the time limit: its process is killed; ``render_timeout``.
- A job beyond the memory limit: ``render_out_of_memory``; its process is replaced.
- A process dies: its job runs again in a fresh process. A second death is the file's: ``render_crashed``. The kernel
  kills processes to free memory and may choose any, so after a foreign SIGKILL the second try has the pool to itself.
- A reply that cannot be true (:mod:`render.replies`) counts as a death.
- A fault of the machine (a full disk) counts if the service sees it, too. If not, the process may have outdated rights
  or may be taken over: the job runs again in a fresh process. If that reports the same, it counts once a file, so that
  no file pauses a task for ever.
- A process that dies without a job is replaced before the next one.

Images that a dead process left are removed.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

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
from render.worker_process import Died, Ending, RenderProcess, TimedOut

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

STOPPING = "服务正在停止，渲染已中断"
_LARGE_IMAGE_BYTES = 64 * 2**20
_START_GAP_S = 1.0
_EXIT_S = 5.0
"""How long a killed process is waited for; one that is stuck in the file system ends in the background."""


@dataclass(eq=False, slots=True)
class _Job:
    """A request and its reply to come.

    Attributes:
        reply: cancelled if the caller has left; the images are removed then.
        died_once: a process died during it.
        doubted: a process reported what the service does not see, and was replaced.
    """

    request: ReadRequest
    reply: asyncio.Future[ReadReply]
    died_once: bool = False
    doubted: bool = False


@dataclass(eq=False, slots=True)
class _Slot:
    """A place for one process.

    Attributes:
        process: None before its first start, and while it is replaced.
        job: the last one that it took.
    """

    process: RenderProcess | None = None
    job: _Job | None = None

    @property
    def usable(self) -> bool:
        """Whether its process can take a job."""
        return self.process is not None and self.process.usable


class RenderPool:
    """The local :class:`RenderExecutor`. Jobs wait in a queue; a task for each process takes them in order.

    A cancelled :meth:`run` returns at once. If a process has its job, the job runs to its end, and its images are
    removed.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        memory, spent = options.memory_mb * 2**20, options.recycle_rss_mb * 2**20
        self._setup = WorkerSetup(options.entry, memory, spent, options.check, options.confinement)
        self._slots = [_Slot() for _ in range(options.workers)]
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._permits = asyncio.Semaphore(options.workers)
        self._exclusive = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cleanups: set[asyncio.Task[Any]] = set()
        self._unproven_faults: set[tuple[str, bool]] = set()
        self._start_problem = ""
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(cls, options: PoolOptions) -> AsyncIterator[RenderPool]:
        """The pool with every process warm; closed at the end.

        Raises:
            HostError: a process did not start.
        """
        pool = cls(options)
        try:
            await asyncio.gather(*(keep_task(pool._tasks, pool._start(slot)) for slot in pool._slots))
            for slot in pool._slots:
                pool._keep_serving(slot)
            yield pool
        finally:
            await pool.close()

    def check(self) -> RenderHealth:
        """How many processes live, and the last problem of starting one."""
        processes = [slot.process for slot in self._slots if slot.process is not None]
        alive = sum(process.alive for process in processes)
        states = sorted({process.confinement.words for process in processes} - {""})
        detail = self._start_problem or "；".join([f"{alive}/{len(self._slots)} 个渲染进程就绪", *states])
        return RenderHealth(ready=alive > 0 and not self._closing, workers=len(self._slots), alive=alive, detail=detail)

    async def run(self, request: ReadRequest) -> ReadReply:
        """See :class:`RenderExecutor`."""
        if self._closing:
            raise ServiceStoppingError(STOPPING)
        job = _Job(request, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.reply

    async def close(self) -> None:
        """Kills every process; jobs under way or waiting end in ServiceStoppingError."""
        self._closing = True
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.kill()
            keep_task(self._cleanups, process.ended())
        for task in self._tasks:
            task.cancel()
        waiting = [self._jobs.get_nowait() for _ in range(self._jobs.qsize())]
        for job in (*waiting, *(slot.job for slot in self._slots if slot.job is not None)):
            _end(job, ServiceStoppingError(STOPPING))
        if leaving := self._tasks | self._cleanups:
            await asyncio.wait(leaving, timeout=_EXIT_S)

    # --- processes ---------------------------------------------------------------------------------------------------

    def _keep_serving(self, slot: _Slot) -> None:
        keep_task(self._tasks, self._serve(slot)).add_done_callback(partial(self._serve_on, slot))

    def _serve_on(self, slot: _Slot, ended: asyncio.Task[None]) -> None:
        """A defect costs its job, not the slot."""
        if not ended.cancelled() and (defect := ended.exception()) is not None:
            if slot.job is not None:
                _end(slot.job, defect)
            self._keep_serving(slot)

    async def _serve(self, slot: _Slot) -> None:
        """Runs jobs in a slot's process until cancelled. The next job begins in the turn that ends the one before."""
        while True:
            if not slot.usable:
                await self._renew(slot)
            slot.job = await self._jobs.get()
            if not slot.job.reply.done():
                await self._complete(slot, slot.job)

    async def _renew(self, slot: _Slot) -> None:
        """Gives the slot a process. If none starts, other processes take the jobs; without any, a job shows why."""
        while True:
            with suppress(HostError):  # shown by check()
                await self._start(slot)
            if slot.usable or not any(other.usable for other in self._slots):
                return
            await asyncio.sleep(_START_GAP_S)

    async def _start(self, slot: _Slot) -> RenderProcess:
        """A fresh process for a slot. Raises HostError, which :meth:`check` shows until one starts."""
        if slot.process is not None:
            slot.process.kill()
            keep_task(self._cleanups, slot.process.ended())
            slot.process = None
        try:
            process = await RenderProcess.start(self._setup)
        except HostError as error:
            self._start_problem = error.detail
            raise
        slot.process, self._start_problem = process, ""
        return process

    # --- jobs --------------------------------------------------------------------------------------------------------

    async def _complete(self, slot: _Slot, job: _Job) -> None:
        """Runs a job to its end, and passes its reply or error to its caller."""
        try:
            async with self._permits:
                reply = await self._run_in(slot, job)
            if reply is None:
                reply = await self._run_alone(slot, job)
        except ImportServiceError as error:
            _end(job, error)
        else:
            self._unproven_faults.discard(_kind_of(job.request))
            if not job.reply.done():
                job.reply.set_result(reply)
        if job.reply.cancelled():
            await asyncio.to_thread(remove_images, job.request)

    async def _run_alone(self, slot: _Slot, job: _Job) -> ReadReply:
        """Runs a job while no other runs."""
        async with self._exclusive, AsyncExitStack() as permits:
            for _ in self._slots:
                await permits.enter_async_context(self._permits)
            reply = await self._run_in(slot, job)
        assert reply is not None, "the second death is the file's"
        return reply

    async def _run_in(self, slot: _Slot, job: _Job) -> ReadReply | None:
        """Runs a job, again in a fresh process if need be; None after a foreign SIGKILL.

        Raises:
            ImportServiceError: a fault of the machine.
        """
        while True:
            process = slot.process if slot.process is not None and slot.usable else await self._start(slot)
            ending = await process.run(job.request, self._options.timeout_s)
            match ending:
                case Died(by_kill=by_kill) if not job.died_once:
                    await self._discard(process, job)
                    job.died_once = True
                    if by_kill:
                        return None
                case Done() | Raised() if await self._is_doubtful(process, job, ending):
                    await self._discard(process, job)
                    if job.doubted:
                        return self._failure(Died(by_kill=False))
                    job.doubted = True
                case Done(reply=reply):
                    return reply
                case Raised():
                    await asyncio.to_thread(remove_images, job.request)
                    raise ending.error()
                case Defect():
                    await asyncio.to_thread(remove_images, job.request)
                    return self._failure(ending)
                case _:
                    await self._discard(process, job)
                    return self._failure(ending)

    async def _is_doubtful(self, process: RenderProcess, job: _Job, ending: Done | Raised) -> bool:
        """Whether a fresh process may report something else, because the service does not see the fault."""
        if isinstance(ending, Done):
            may_be_blind = not job.doubted and _lacks_right(process, ending.reply)
            return may_be_blind and await asyncio.to_thread(os.access, job.request.path, os.R_OK)
        if ending.code == ConfigurationError.code:  # the importer checks the rules as well
            return not job.doubted
        if await asyncio.to_thread(_shows_here, ending.code, job.request):
            return False
        kind = _kind_of(job.request)
        if not job.doubted or kind in self._unproven_faults:
            return True
        self._unproven_faults.add(kind)
        return False

    def _failure(self, ending: Ending) -> ReadReply:
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
        return _failed(RenderCrashedError("渲染进程在处理此文件时两次崩溃或应答有误，文件很可能已损坏"))

    async def _discard(self, process: RenderProcess, job: _Job) -> None:
        """Kills a process and removes the images of its job once it can write no more.

        The next try gets another prefix: a process that is stuck in the file system may still write.
        """
        process.kill()
        cleanup = keep_task(self._cleanups, _remove_images_after(process, job.request))
        await asyncio.wait({cleanup}, timeout=_EXIT_S)
        job.request = replace(job.request, output_prefix=f"{job.request.output_prefix}+")


def keep_task(kept: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Starts a task that is held by reference until it is done."""
    task = asyncio.create_task(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


def _end(job: _Job, error: BaseException) -> None:
    """Raises the error in the caller, unless it has left."""
    if not job.reply.done():
        job.reply.set_exception(error)


def _failed(error: FileError) -> ReadReply:
    return ReadReply(failure=Failure(error.code, error.detail))


async def _remove_images_after(process: RenderProcess, request: ReadRequest) -> None:
    await process.ended()
    await asyncio.to_thread(remove_images, request)


def _lacks_right(process: RenderProcess, reply: ReadReply) -> bool:
    """Whether the process may lack a right to the file that a fresh one gets."""
    unreadable = reply.failure is not None and reply.failure.code == UnreadableFileError.code
    return unreadable and process.confinement in (ConfinementState.CONFINED, ConfinementState.EXPOSED)


def _kind_of(request: ReadRequest) -> tuple[str, bool]:
    """A file's header may be readable although its images cannot be made; so the two are apart."""
    return request.path, request.render is not None


def _shows_here(code: str, request: ReadRequest) -> bool:
    """Whether this process meets the fault, too."""
    if code == OutOfDescriptorsError.code:
        return not are_left(1)
    return not _takes_an_image(request)


def _takes_an_image(request: ReadRequest) -> bool:
    """Whether a large image can be written beside those of the job."""
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


def remove_images(request: ReadRequest) -> None:
    for path in glob.glob(glob.escape(request.output_prefix) + "-*"):
        with suppress(OSError):  # the next start of the service removes the rest
            os.remove(path)
