"""Renders on a cluster of machines over shared storage, through the same interface as the local pool.

Each worker of the cluster has a local pool of ours beside it (:mod:`render.cluster.worker`), so a file's crash, hang or
hunger for memory ends there as it does on one machine. What the cluster adds:

- a worker that dies costs a retry: the cluster hands its jobs to another. A file that the cluster gives up, because
  worker after worker died while they had it, is tried once more; only then it is its own, ``render_crashed``;
- no connection, or no worker that may have jobs: HostError after a short patience, so that tasks pause;
- a worker with other code, or that does not see our folders, gets no jobs, and :meth:`RenderCluster.check` says why.

Every execution makes its pictures under a name of its own: a worker that was taken for dead may still be writing.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import pickle
import uuid
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from errors import (
    ConfigurationError,
    DiskFullError,
    HostError,
    ImportServiceError,
    RenderCrashedError,
    RendererUnavailableError,
    ServiceStoppingError,
)
from models import Failure, ReadReply, ReadRequest
from render.cluster.protocol import WORK, ClusterLink, Lost, WorkersDied
from render.cluster.workers import Connect, WorkerRegistry, WorkerRegistryOptions
from render.executor import PoolOptions, RenderHealth
from render.protocol import WorkerReply
from render.replies import BadReplyError, worker_reply_to

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""A worker that its nanny starts again is back within that; tasks need not pause for it."""
_MAX_GIVEN_UP = 2
_MAX_LOST = 5
_LOST_WAIT_S = 1.0
_CLOSE_S = 5.0
_STOPPING = "服务正在停止，渲染已中断"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster, and what its workers need.

    Attributes:
        address: ``host:port`` of the Dask scheduler.
        pool: what a job may cost; the number of processes is each worker's number of threads.
        partial_dir: folder of the shared storage where pictures are made.
        roots: folders that every worker must see.
        exam_rules_path: the hospital's exam-type rules, the same file everywhere, or None.
    """

    address: str
    pool: PoolOptions
    partial_dir: str
    roots: tuple[str, ...] = ()
    exam_rules_path: str | None = None


class RenderCluster:
    """A cluster as :class:`render.executor.RenderExecutor`."""

    def __init__(self, options: ClusterOptions, connect: Connect) -> None:
        self._address = options.address
        self._owner = options.partial_dir
        files = () if options.exam_rules_path is None else (os.path.abspath(options.exam_rules_path),)
        self._fleet = WorkerRegistry(
            connect, WorkerRegistryOptions(self._owner, options.pool, options.partial_dir, options.roots, files)
        )
        self._work: set[asyncio.Task[Any]] = set()
        self._timeout_s = options.pool.timeout_s
        self._keeper = asyncio.create_task(self._fleet.keep(), name="keep the cluster")
        self._keeper.add_done_callback(_tell_defect)
        self._closing = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, options: ClusterOptions) -> AsyncIterator[RenderCluster]:
        """The cluster; that it cannot be reached now is for :meth:`check` and :meth:`run` to say.

        Raises:
            ConfigurationError: dask.distributed is not installed.
        """
        cluster = cls(options, _dask(options.address))
        try:
            yield cluster
        finally:
            await cluster.close()

    def check(self) -> RenderHealth:
        """How many workers may have jobs, and why not all, if so."""
        fit, threads = self._fleet.threads
        ready = fit > 0 and not self._closing.is_set()
        return RenderHealth(ready=ready, workers=threads, alive=fit, detail=self._words())

    async def run(self, request: ReadRequest) -> ReadReply:
        """See :class:`render.executor.RenderExecutor`.

        Raises:
            RendererUnavailableError: no worker may have jobs now.
        """
        request = _absolute(request)
        given_up = lost = 0
        while given_up < _MAX_GIVEN_UP:
            match await self._attempt(request):
                case WorkersDied():
                    given_up += 1
                    self._fleet.hurry()
                case Lost(reason=reason):
                    lost += 1
                    if lost == _MAX_LOST:
                        raise RendererUnavailableError(f"Dask 集群 {self._address} 一再丢失任务：{reason}")
                    await self._look_at_once()
                case WorkerReply() as answer:
                    reply = await self._settled(answer, request)
                    if reply is not None:
                        return reply
        detail = "处理此文件的 worker 一再崩溃，文件很可能已损坏"
        return ReadReply(failure=Failure(RenderCrashedError.code, detail))

    async def close(self) -> None:
        """Leaves the cluster; jobs under way or waiting end in ServiceStoppingError."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._fleet.dismiss()
        for task in (self._keeper, *self._work):
            task.cancel()
        await asyncio.wait([self._keeper, *self._work], timeout=_CLOSE_S)

    def _words(self) -> str:
        fleet, where = self._fleet, f"Dask 集群 {self._address}"
        if fleet.link is None:
            return f"{where} 无法连接：请检查调度器（scheduler）与网络"
        if not fleet.size:
            return f"{where} 没有 worker"
        told = f"{where}：{len(fleet.fit)}/{fleet.size} 个 worker 就绪，共 {fleet.threads[0]} 个渲染进程"
        return "；".join([told, *(f"{address} 不可用：{problem}" for address, problem in fleet.problems.items())])

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, request: ReadRequest) -> WorkerReply | WorkersDied | Lost:
        link, placed = await self._place()
        attempt = replace(request, output_prefix=f"{request.output_prefix}-{uuid.uuid4().hex[:8]}")
        losses, body = self._fleet.losses, pickle.dumps((self._owner, attempt), protocol=pickle.HIGHEST_PROTOCOL)
        work = _keep(self._work, link.submit(WORK, body, placed))
        try:
            came = await self._wait_for(work, placed)
            answer = _answer_of(came, attempt) if isinstance(came, bytes) else came
        except BaseException:
            self._forget(work, attempt)
            raise
        if isinstance(answer, Lost):
            self._forget(work, attempt)
        elif self._fleet.losses != losses or isinstance(answer, WorkersDied):  # perhaps it ran twice
            await asyncio.to_thread(_remove_pictures, attempt, _kept(answer))
        return answer

    async def _place(self) -> tuple[ClusterLink, frozenset[str]]:
        """Where jobs may go now, after a little waiting."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while not self._closing.is_set() and not self._fleet.fit:
                    await self._change()
        if self._closing.is_set():
            raise ServiceStoppingError(_STOPPING)
        if self._fleet.link is None or not self._fleet.fit:
            raise RendererUnavailableError(self._words())
        return self._fleet.link, self._fleet.fit

    async def _look_at_once(self) -> None:
        """The fleet may not know yet why a job was lost."""
        self._fleet.hurry()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOST_WAIT_S):
                await self._change()

    async def _wait_for(
        self, work: asyncio.Task[bytes | WorkersDied | Lost], placed: Collection[str]
    ) -> bytes | WorkersDied | Lost:
        """What came of a job; lost once nobody is left who may do it."""
        while not work.done():
            if self._closing.is_set():
                raise ServiceStoppingError(_STOPPING)
            if self._fleet.fit.isdisjoint(placed):
                return Lost("执行它的 worker 已离开")
            await self._change(work)
        return work.result()

    async def _change(self, *others: asyncio.Task[Any]) -> None:
        """Waits until the fleet changes, the cluster is closed, or one of the others is done."""
        events = [asyncio.create_task(event.wait()) for event in (self._fleet.changed, self._closing)]
        try:
            await asyncio.wait([*events, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in events:
                event.cancel()

    async def _settled(self, answer: WorkerReply, request: ReadRequest) -> ReadReply | None:
        """The reply; None where the fault was the worker's, and the file has to be tried elsewhere.

        Raises:
            ImportServiceError: what the worker met is no fault of its own.
        """
        if answer.reply is not None:
            if answer.sees_source or not await asyncio.to_thread(os.access, request.path, os.R_OK):
                return answer.reply
            self._fleet.must_see(request.path)
            self._fleet.distrust(answer.address, f"看不到 {os.path.dirname(request.path)} 中的文件，或无权读取")
            return None
        match answer.raised and answer.raised.error():
            case None | ServiceStoppingError():
                self._fleet.look_again()
            case DiskFullError() as error:
                raise error
            case HostError() as error:
                self._fleet.distrust(answer.address, error.detail)
            case ImportServiceError() as error:
                raise error
        return None

    def _forget(self, work: asyncio.Task[Any], attempt: ReadRequest) -> None:
        """Nobody waits for a job any more: once it is done, its pictures go.

        Where it was lost it may still be running, out of our reach, until its time is up.
        """
        if not self._closing.is_set():
            _keep(self._work, _bury(work, attempt, self._timeout_s))


def _dask(address: str) -> Connect:
    try:
        from render.cluster.dask_client import DaskLink  # noqa: PLC0415 - optional: only who has a cluster installs it
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise ConfigurationError(
            "RENDER_EXECUTOR=dask://… 需要 Dask，但没有安装：请执行 pip install -r requirements-dask.txt"
        ) from error
    return partial(DaskLink.open, address)


def _absolute(request: ReadRequest) -> ReadRequest:
    """Workers have another working directory."""
    rules = request.exam_rules_path
    return request if rules is None else replace(request, exam_rules_path=os.path.abspath(rules))


def _answer_of(body: bytes, attempt: ReadRequest) -> WorkerReply | WorkersDied:
    """What a worker sent; an answer that cannot be believed counts as the worker's death."""
    try:
        return worker_reply_to(attempt, body)
    except BadReplyError as error:
        _log.error("answer of a worker refused: %s", error)
        return WorkersDied()


def _kept(answer: object) -> frozenset[str]:
    """The pictures that a reply lists."""
    reply = answer.reply if isinstance(answer, WorkerReply) else None
    return frozenset(image.path for image in reply.images) if reply else frozenset()


def _keep(kept: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Starts a task that is held by reference until it is done."""
    task = asyncio.create_task(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


def _tell_defect(keeper: asyncio.Task[None]) -> None:
    """Nobody awaits the keeper while the service runs."""
    if not keeper.cancelled() and (error := keeper.exception()) is not None:
        _log.error("defect while keeping the cluster: %s", type(error).__name__)


async def _bury(work: asyncio.Task[Any], attempt: ReadRequest, timeout_s: float) -> None:
    await asyncio.wait({work})
    await asyncio.to_thread(_remove_pictures, attempt)
    if isinstance(work.result(), Lost):
        await asyncio.sleep(timeout_s)
        await asyncio.to_thread(_remove_pictures, attempt)


def _remove_pictures(attempt: ReadRequest, kept: Collection[str] = ()) -> None:
    for path in glob.glob(glob.escape(attempt.output_prefix) + "-*"):
        if path not in kept:
            with suppress(FileNotFoundError):
                os.remove(path)
