"""What runs on a Dask worker: our own pool of render processes, one for each thread of the worker.

A decoder that crashes, hangs or needs too much memory ends its own process, and the job's reply reports it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import tempfile
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from errors import (
    ConfigurationError,
    DiskFullError,
    HostError,
    ServiceStoppingError,
    UnreadableFileError,
    UnstableFileError,
)
from models import ReadReply, ReadRequest, display_path
from render.cluster.protocol import PREPARING, HostSetup
from render.pool import RenderPool
from render.protocol import Raised, WorkerReply, encoded

_RECHECK_S = 30.0
_PERHAPS_UNSEEN = (UnstableFileError.code, UnreadableFileError.code)
_hosts: dict[str, RenderHost] = {}
"""Each service's processes on this worker, by owner."""


class RenderHost:
    """The processes of one service on this worker. It checks itself and reports its problem with Dask's heartbeats."""

    def __init__(self, worker: Any, setup: bytes, report: dict[str, Any]) -> None:
        self._worker = worker
        self._setup: HostSetup = pickle.loads(setup)
        self._report = report
        self._report["problem"] = PREPARING
        self._pool: RenderPool | None = None
        self._failed = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name="render processes")
        _hosts[self._setup.owner] = self

    async def close(self) -> None:
        """Ends the processes."""
        if _hosts.get(self._setup.owner) is self:
            del _hosts[self._setup.owner]
        self._task.cancel()
        await asyncio.wait({self._task})

    async def run(self, request: ReadRequest, *, exists: bool) -> WorkerReply:
        """Runs one job. ``exists`` says that the service sees the file."""
        if self._pool is None or self._report["problem"]:
            return WorkerReply()
        mark = f"-{uuid.uuid4().hex[:8]}"
        try:
            reply = await self._pool.run(replace(request, output_prefix=request.output_prefix + mark))
        except (DiskFullError, ConfigurationError) as error:
            return WorkerReply(raised=Raised(error.code, display_path(error.detail)))
        except ServiceStoppingError:
            return WorkerReply()
        except HostError as error:
            return await self._fail(error.detail)
        unseen = reply.failure is not None and reply.failure.code in _PERHAPS_UNSEEN
        sees = not unseen or await asyncio.to_thread(os.access, request.path, os.R_OK)
        if exists and not sees:
            return await self._fail(f"看不到 {os.path.dirname(request.path)} 中的文件，或无权读取")
        return WorkerReply(reply, sees_source=sees, mark=_mark_of(reply, request.output_prefix))

    async def _fail(self, problem: str) -> WorkerReply:
        """Takes no more jobs until the next check; the scheduler knows before the job's answer arrives."""
        self._report["problem"] = display_path(problem)
        self._failed.set()
        await self._worker.heartbeat()
        return WorkerReply()

    async def _keep(self) -> None:
        """Checks this worker at first, and some time after each failure."""
        async with AsyncExitStack() as stack:
            while True:
                self._failed.clear()
                problem = await asyncio.to_thread(_problem_here, self._setup)
                if not problem and self._pool is None:
                    options = replace(self._setup.pool, workers=self._worker.state.nthreads)
                    try:
                        self._pool = await stack.enter_async_context(RenderPool.open(options))
                    except HostError as error:
                        problem = error.detail
                self._report["problem"] = display_path(problem)  # a heartbeat holds valid text only
                if not problem:
                    await self._failed.wait()
                await asyncio.sleep(_RECHECK_S)


async def work(body: bytes) -> bytes:
    """Runs one job: bytes of ours in, a WorkerReply out."""
    owner, request, exists = pickle.loads(body)
    host = _hosts.get(owner)
    return encoded(WorkerReply() if host is None else await host.run(request, exists=exists))


def _mark_of(reply: ReadReply, output_prefix: str) -> str:
    """What the images' names have between the prefix and the frame number."""
    return reply.images[0].path.removeprefix(output_prefix).rpartition("-")[0] if reply.images else ""


def _problem_here(setup: HostSetup) -> str:
    """What is wrong with this worker's view of the shared storage; empty if nothing."""
    folder = os.path.dirname(setup.probe)
    try:
        with open(setup.probe, encoding="ascii") as file:
            if file.read() != setup.token:
                return f"OUTPUT_DIR 不是同一个共享目录（{folder}）"
    except OSError as error:
        return f"看不到 OUTPUT_DIR（{folder}，{error.strerror}）：须以相同路径挂载同一共享存储"
    try:
        tempfile.NamedTemporaryFile(dir=folder, prefix="probe-").close()
    except OSError as error:
        return f"不能写入 OUTPUT_DIR（{folder}，{error.strerror}）：worker 须以与本服务相同的账号运行"
    for root in setup.roots:
        if not has_content(root):
            return f"看不到 {root} 中的内容：须以相同路径挂载同一共享存储，且可读"
    for path, digest in setup.files:
        if file_digest(path) != digest:
            return f"{path} 与本服务的内容不同"
    return ""


def has_content(folder: str) -> bool:
    """Whether a folder can be read and is not empty, as an unused mount point is."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def file_digest(path: str) -> str:
    """SHA-256 of a file's content; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
