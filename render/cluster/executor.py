"""Renders on a Dask cluster over shared storage, through the same interface as the local pool.

Each worker of the cluster has a pool of ours beside it (:mod:`render.cluster.worker`), so a file's crash, hang or need
for memory ends there as it does on one machine. The cluster adds:

- A worker dies: Dask gives its jobs to another one. A file that Dask gives up, because worker after worker died with
  it, is tried once more; then it is ``render_crashed``.
- There is no connection, or no usable worker: HostError after a short patience, so that tasks pause.
- A worker has other code, or does not see our folders: it gets no jobs, and :meth:`RenderCluster.check` says why.

Each execution makes its images under a name of its own, because a worker that was taken for dead may still write.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from errors import ConfigurationError, RenderCrashedError, RendererUnavailableError, ServiceStoppingError
from models import Failure, ReadReply, ReadRequest, display_path
from render.cluster.protocol import PREPARING, HostSetup, JobLostError, WorkersDiedError, WorkerState
from render.cluster.worker import file_digest, has_content
from render.executor import PoolOptions, RenderHealth
from render.pool import STOPPING, keep_task, remove_images
from render.protocol import WorkerReply
from render.replies import BadReplyError, worker_reply_to

if TYPE_CHECKING:
    from render.cluster.dask_client import DaskLink

_log = logging.getLogger(__name__)

_POLL_S = 1.0
_PATIENCE_S = 5.0
"""A worker that its nanny starts again is back within that; tasks need not pause for it."""
_MAX_DEATHS = 2
_MAX_LOSSES = 5
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster, and what its workers need.

    Attributes:
        address: ``host:port`` of the Dask scheduler.
        pool: what a job may cost; the number of processes is each worker's number of threads.
        partial_dir: folder of the shared storage where images are made.
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

    def __init__(
        self, options: ClusterOptions, connect: Callable[[str], AbstractAsyncContextManager[DaskLink]]
    ) -> None:
        self._options = options
        owner, token = f"render {display_path(options.partial_dir)}", uuid.uuid4().hex
        self._setup = HostSetup(owner, token, os.path.join(options.partial_dir, f"probe-{token}"), options.pool)
        rules = options.exam_rules_path  # workers have another working directory
        self._rules = None if rules is None else os.path.abspath(rules)
        self._link: DaskLink | None = None
        self._workers: Mapping[str, WorkerState] = {}
        self._has_usable = asyncio.Event()
        self._jobs: dict[asyncio.Task[bytes], frozenset[str]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._keeper = asyncio.create_task(self._keep_connected(connect), name="keep the cluster")
        self._keeper.add_done_callback(_log_defect)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: ClusterOptions) -> AsyncIterator[RenderCluster]:
        """The cluster. If it cannot be reached, :meth:`check` and :meth:`run` say so.

        Raises:
            ConfigurationError: dask.distributed is not installed.
        """
        cluster = cls(options, _connector(options.address))
        try:
            yield cluster
        finally:
            await cluster.close()

    @property
    def _usable(self) -> dict[str, WorkerState]:
        return {address: worker for address, worker in self._workers.items() if not worker.problem}

    def check(self) -> RenderHealth:
        """How many workers are usable, and why the others are not."""
        threads, usable = (sum(each.threads for each in of.values()) for of in (self._workers, self._usable))
        ready = usable > 0 and not self._closing
        return RenderHealth(ready=ready, workers=threads, alive=usable, detail=self._detail(usable))

    async def run(self, request: ReadRequest) -> ReadReply:
        """See :class:`render.executor.RenderExecutor`.

        Raises:
            RendererUnavailableError: no worker is usable now.
        """
        request = replace(request, exam_rules_path=self._rules)
        exists, deaths, losses = False, 0, 0
        while deaths < _MAX_DEATHS:
            try:
                answer = await self._attempt(request, exists=exists)
            except WorkersDiedError:
                deaths += 1
                continue
            except JobLostError as error:
                losses += 1
                if losses == _MAX_LOSSES:
                    detail = f"Dask 集群 {self._options.address} 一再丢失任务：{error}"
                    raise RendererUnavailableError(detail) from error
                await asyncio.sleep(_POLL_S)  # then the workers' states are known
                continue
            exists = not answer.sees_source and await asyncio.to_thread(os.access, request.path, os.R_OK)
            if answer.reply is not None and not exists:
                return answer.reply
        return ReadReply(failure=Failure(RenderCrashedError.code, "处理此文件的 worker 一再崩溃，文件很可能已损坏"))

    async def close(self) -> None:
        """Leaves the cluster; jobs under way or waiting end in ServiceStoppingError."""
        self._closing = True
        self._has_usable.set()
        tasks = {self._keeper, *self._jobs, *self._tasks}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CLOSE_S)
        with suppress(OSError):
            os.unlink(self._setup.probe)

    def _detail(self, processes: int = 0) -> str:
        cluster = f"Dask 集群 {self._options.address}"
        if self._link is None:
            return f"{cluster} 无法连接：请检查调度器（scheduler）与网络"
        if not self._workers:
            return f"{cluster} 没有 worker"
        problems = [f"{at} 不可用：{worker.problem}" for at, worker in self._workers.items() if worker.problem]
        summary = f"{len(self._usable)}/{len(self._workers)} 个 worker 就绪，共 {processes} 个渲染进程"
        return "；".join([f"{cluster}：{summary}", *problems])

    # --- one job -----------------------------------------------------------------------------------------------------

    async def _attempt(self, request: ReadRequest, *, exists: bool) -> WorkerReply:
        """Runs a job on a usable worker. Its images are removed if there is no answer.

        Raises:
            WorkersDiedError, JobLostError: there is no answer.
            ImportServiceError: the worker met a fault that is not its own.
        """
        link, usable = await self._usable_workers()
        attempt = replace(request, output_prefix=f"{request.output_prefix}-{uuid.uuid4().hex[:8]}")
        body = pickle.dumps((self._setup.owner, attempt, exists), protocol=pickle.HIGHEST_PROTOCOL)
        job = asyncio.create_task(link.submit(body, usable))
        self._jobs[job] = usable
        job.add_done_callback(self._jobs.pop)
        with ExitStack() as unanswered:
            unanswered.callback(lambda: keep_task(self._tasks, self._clear(job, attempt)))
            answer = await self._answer_of(job, attempt)
            if answer.raised is not None:
                raise answer.raised.error()
            if answer.reply is None:
                raise JobLostError("the worker takes no jobs now")
            unanswered.pop_all()
        return answer

    async def _answer_of(self, job: asyncio.Task[bytes], attempt: ReadRequest) -> WorkerReply:
        """The worker's answer; one that cannot be true counts as the worker's death."""
        try:
            return worker_reply_to(attempt, await asyncio.shield(job))
        except BadReplyError as error:
            _log.error("answer of a worker refused: %s", error)
            raise WorkersDiedError from error
        except asyncio.CancelledError:
            if not job.cancelled():
                raise
            if self._closing:
                raise ServiceStoppingError(STOPPING) from None
            raise JobLostError("执行它的 worker 已离开") from None

    async def _usable_workers(self) -> tuple[DaskLink, frozenset[str]]:
        """The connection and the addresses for a job, after a little patience."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._has_usable.wait()
        if self._closing:
            raise ServiceStoppingError(STOPPING)
        if self._link is None or not self._usable:
            raise RendererUnavailableError(self._detail())
        return self._link, frozenset(self._usable)

    async def _clear(self, job: asyncio.Task[bytes], attempt: ReadRequest) -> None:
        """Removes the images of a job without answer, again when a worker out of reach has met the time limit."""
        if self._closing:
            return
        await asyncio.wait({job})
        for delay_s in (0.0, self._options.pool.timeout_s):
            await asyncio.sleep(delay_s)
            await asyncio.to_thread(remove_images, attempt)

    # --- the cluster -------------------------------------------------------------------------------------------------

    async def _keep_connected(self, connect: Callable[[str], AbstractAsyncContextManager[DaskLink]]) -> None:
        """Connects, polls, and connects again, until cancelled."""
        reachable = True
        while True:
            try:
                async with connect(self._setup.owner) as link:
                    reachable, self._link = True, link
                    await self._poll(link)
            except ConnectionError as error:
                if reachable:
                    _log.warning("the cluster cannot be reached: %s", error)
                reachable = False
            finally:
                self._link = None
                self._update({})
            await asyncio.sleep(_POLL_S)

    async def _poll(self, link: DaskLink) -> None:
        roots = await asyncio.to_thread(lambda: tuple(filter(has_content, self._options.roots)))
        registered = None
        while True:
            setup = await asyncio.to_thread(self._prepared, roots)
            if setup != registered:  # at first, and when the exam rules have changed
                link.register(setup)
                registered = setup
            self._update(await link.workers())
            await asyncio.sleep(_POLL_S)

    def _update(self, workers: Mapping[str, WorkerState]) -> None:
        """Takes the workers' new states over; a job that no usable worker can have is lost."""
        for address, worker in workers.items():
            before = self._workers.get(address)
            if worker.problem not in ("", PREPARING) and (before is None or before.problem != worker.problem):
                _log.warning("worker %s gets no jobs; /health/ready says why", address)
        self._workers = workers
        if self._usable:
            self._has_usable.set()
        elif not self._closing:
            self._has_usable.clear()
        for job, placed in self._jobs.items():
            if placed.isdisjoint(self._usable):
                job.cancel()

    def _prepared(self, roots: tuple[str, ...]) -> HostSetup:
        """Writes the probe unless it is there. Returns what workers have to see now."""
        with suppress(OSError), open(self._setup.probe, "x", encoding="ascii") as file:
            file.write(self._setup.token)
        files = () if self._rules is None else ((self._rules, file_digest(self._rules)),)
        return replace(self._setup, roots=roots, files=files)


def _connector(address: str) -> Callable[[str], AbstractAsyncContextManager[DaskLink]]:
    try:
        from render.cluster.dask_client import DaskLink  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise ConfigurationError(
            "RENDER_EXECUTOR=dask://… 需要 Dask，但没有安装：请执行 pip install -r requirements-dask.txt"
        ) from error
    return partial(DaskLink.open, address)


def _log_defect(keeper: asyncio.Task[None]) -> None:
    if not keeper.cancelled() and (error := keeper.exception()) is not None:
        _log.error("defect while keeping the cluster: %s", type(error).__name__)
