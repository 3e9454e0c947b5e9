"""Warm render processes behind one method: a decoder that crashes, hangs or devours memory costs exactly its own file.

What happens to a file whose process does not answer as it should:

- it takes longer than the time limit: the process is killed, ``render_timeout``;
- it asks for more memory than allowed: ``render_out_of_memory``, and the process is replaced;
- its process dies: the file is tried once more in a fresh one, and only a second death is its own, ``render_crashed``.
  After a SIGKILL that was not ours (the kernel frees memory that way, and may have chosen a bystander) the second try
  has the whole pool to itself.

A process that dies idle is replaced and nobody is blamed. Whatever a dead process left of its pictures is removed.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from errors import (
    FileError,
    HostError,
    RenderCrashedError,
    RenderOutOfMemoryError,
    RenderTimeoutError,
    ServiceStoppingError,
)
from models import Failure, ReadReply, ReadRequest
from render.process import Died, Outcome, RenderProcess
from render.protocol import Defect, Done, OutOfMemory, Raised, WorkerSetup

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_STOPPING = "服务正在停止，渲染已中断"
_BURIAL_S = 5.0
"""How long a killed process is waited for; one stuck in the file system is buried in the background."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many processes, and what a job may cost.

    Attributes:
        workers: processes.
        timeout_s: wall-clock seconds that one file may take.
        memory_mb: address space, MiB, that one file may take beyond a warm process's own.
        entry: ``module:function`` that does a job (ReadRequest → ReadReply).
        recycle_rss_mb: a process that holds more resident memory than this after a job is replaced.
        check: ``module:function`` that a process calls once when it starts; raises where a decoder is missing.
    """

    workers: int
    timeout_s: float
    memory_mb: int
    entry: str = "dicom_processor:read_file"
    recycle_rss_mb: int = 768
    check: str | None = "dicom_processor:check_decoders"


@dataclass(frozen=True, slots=True)
class RenderHealth:
    """Whether rendering works; ``detail`` is Chinese."""

    ready: bool
    workers: int
    alive: int
    detail: str


class RenderExecutor(Protocol):
    """Whoever reads and renders files: the local pool, or a cluster."""

    async def run(self, request: ReadRequest) -> ReadReply:
        """Reads and renders one file. A file's failure is a value in the reply.

        Raises:
            HostError: rendering cannot go on on this machine (disk full, processes do not start); no file's fault.
            ServiceStoppingError: the executor is being closed.
        """

    def check(self) -> RenderHealth:
        """Whether rendering works now."""

    async def close(self) -> None:
        """Ends every process; jobs under way end in ServiceStoppingError."""


@dataclass(frozen=True, slots=True)
class _TimedOut:
    """The process was killed for the time limit."""


@dataclass(slots=True)
class _Slot:
    """A place in the pool. Whoever has taken the slot owns its process."""

    process: RenderProcess | None = None
    worn: bool = False

    @property
    def fit(self) -> bool:
        """Whether the next job can go straight in."""
        return self.process is not None and self.process.alive and not self.worn


class RenderPool:
    """The local :class:`RenderExecutor`. Jobs wait for a free process in the order in which they came.

    A cancelled :meth:`run` returns at once; its process finishes the job (or meets the time limit), its pictures are
    removed, and the process goes on to the next job.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._setup = WorkerSetup(options.entry, options.memory_mb * 2**20, options.check)
        self._slots = [_Slot() for _ in range(options.workers)]
        self._idle = deque(self._slots)
        self._free = asyncio.Semaphore(options.workers)
        self._queued = 0
        self._exclusive = asyncio.Lock()
        self._jobs: set[asyncio.Task[Any]] = set()
        self._burials: set[asyncio.Task[Any]] = set()
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
            started = await asyncio.gather(*map(pool._warm, pool._slots), return_exceptions=True)
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
        alive = sum(slot.process is not None and slot.process.alive for slot in self._slots)
        detail = self._start_problem or f"{alive}/{len(self._slots)} 个渲染进程就绪"
        return RenderHealth(ready=alive > 0 and not self._closing, workers=len(self._slots), alive=alive, detail=detail)

    async def run(self, request: ReadRequest) -> ReadReply:
        """See :class:`RenderExecutor`."""
        slot = await self._take()
        job = _keep(self._jobs, self._serve(slot, request))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            if job.cancelled():
                raise ServiceStoppingError(_STOPPING) from None
            _keep(self._burials, _forget(job, request))
            raise

    async def close(self) -> None:
        """Kills every process; jobs under way or waiting end in ServiceStoppingError."""
        self._closing = True
        for _ in range(self._queued):
            self._free.release()
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.kill()
        for task in self._jobs:
            task.cancel()
        leaving = [*self._jobs, *self._burials, *(asyncio.create_task(process.ended()) for process in processes)]
        if leaving:
            await asyncio.wait(leaving, timeout=_BURIAL_S)

    # --- slots -------------------------------------------------------------------------------------------------------

    async def _take(self) -> _Slot:
        if not self._closing:
            self._queued += 1
            try:
                await self._free.acquire()
            finally:
                self._queued -= 1
        if self._closing:
            raise ServiceStoppingError(_STOPPING)
        return self._idle.popleft()

    def _give_back(self, slot: _Slot) -> None:
        if slot.fit or self._closing:
            self._idle.append(slot)
            self._free.release()
        else:
            _keep(self._jobs, self._renew(slot))

    async def _renew(self, slot: _Slot) -> None:
        """Replaces a slot's process before the slot is free again; a failure shows at the next job."""
        try:
            with suppress(HostError):
                await self._warm(slot)
        finally:
            self._idle.append(slot)
            self._free.release()

    async def _warm(self, slot: _Slot) -> RenderProcess:
        """The slot's process, replaced where it is not fit."""
        if slot.process is not None and slot.fit:
            return slot.process
        if slot.process is not None:
            slot.process.kill()
            _keep(self._burials, slot.process.ended())
            slot.process = None
        try:
            slot.process = process = await RenderProcess.start(self._setup)
        except HostError as error:
            self._start_problem = error.detail
            raise
        slot.worn, self._start_problem = False, ""
        return process

    # --- jobs --------------------------------------------------------------------------------------------------------

    async def _serve(self, slot: _Slot, request: ReadRequest) -> ReadReply:
        try:
            outcome = await self._attempt(slot, request)
            bystander = isinstance(outcome, Died) and outcome.by_kill
            if isinstance(outcome, Died) and not bystander:
                outcome = await self._attempt(slot, request)
        finally:
            self._give_back(slot)
        if bystander:
            outcome = await self._attempt_alone(request)
        return self._reply(outcome)

    async def _attempt_alone(self, request: ReadRequest) -> Outcome | Died | _TimedOut:
        """Tries a file while no other is being rendered, in the process that has done least."""
        async with self._exclusive:
            taken: list[_Slot] = []
            try:
                for _ in self._slots:
                    taken.append(await self._take())
                return await self._attempt(min(taken, key=_jobs_done), request)
            finally:
                for slot in taken:
                    self._give_back(slot)

    async def _attempt(self, slot: _Slot, request: ReadRequest) -> Outcome | Died | _TimedOut:
        process = await self._warm(slot)
        outcome = await self._work(process, request)
        match outcome:
            case Done(rss_bytes=rss_bytes):
                slot.worn = rss_bytes > self._options.recycle_rss_mb * 2**20
            case Died() | _TimedOut():
                slot.process = None
                await asyncio.wait({_keep(self._burials, _bury(process, request))}, timeout=_BURIAL_S)
            case OutOfMemory() | Raised() | Defect():
                slot.worn = isinstance(outcome, OutOfMemory)
                await asyncio.to_thread(_remove_pictures, request)
        return outcome

    async def _work(self, process: RenderProcess, request: ReadRequest) -> Outcome | Died | _TimedOut:
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await process.work(request)
        except TimeoutError:
            process.kill()
            return _TimedOut()

    def _reply(self, outcome: Outcome | Died | _TimedOut) -> ReadReply:
        match outcome:
            case Done(reply=reply):
                return reply
            case Raised(error=error):
                raise error
            case OutOfMemory():
                detail = f"渲染所需内存超过 {self._options.memory_mb} MB；可增大 RENDER_MEMORY_MB 后重试"
                return _failed(RenderOutOfMemoryError(detail))
            case _TimedOut():
                detail = f"渲染超过 {self._options.timeout_s:g} 秒，已终止；可增大 RENDER_TIMEOUT_SECONDS 后重试"
                return _failed(RenderTimeoutError(detail))
            case Defect(place=place):
                _log.error("defect in a render process: %s", place)
                return _failed(RenderCrashedError(f"程序内部错误（{place}），请将此信息报告给维护者"))
            case Died():
                return _failed(RenderCrashedError("渲染进程在处理此文件时两次崩溃，文件很可能已损坏"))


def _failed(error: FileError) -> ReadReply:
    return ReadReply(failure=Failure(error.code, error.detail))


def _jobs_done(slot: _Slot) -> int:
    return slot.process.jobs_done if slot.process is not None else 0


def _keep(kept: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Starts a task that is held by reference until it is done."""
    task = asyncio.create_task(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


# --- what dead jobs leave --------------------------------------------------------------------------------------------


async def _bury(process: RenderProcess, request: ReadRequest) -> None:
    """Removes the pictures of a job whose process was killed, once it can write no more."""
    await process.ended()
    await asyncio.to_thread(_remove_pictures, request)


async def _forget(job: asyncio.Task[ReadReply], request: ReadRequest) -> None:
    """Waits for a job that nobody waits for any more, and removes its pictures."""
    await asyncio.wait({job})
    await asyncio.to_thread(_remove_pictures, request)


def _remove_pictures(request: ReadRequest) -> None:
    for path in glob.glob(glob.escape(request.output_prefix) + "-*"):
        with suppress(FileNotFoundError):
            os.remove(path)
