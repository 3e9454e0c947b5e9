"""What runs on a worker of a cluster: our own pool of render processes beside the worker, one for each of its threads.

So a decoder that crashes, hangs or devours memory costs its own process, and the worker hears of it as an ordinary
reply. The worker's event loop only hands paths over and waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from errors import HostError, ImportServiceError, UnreadableFileError, UnstableFileError
from models import ReadReply, ReadRequest, display_path
from render.cluster.protocol import SharedPathProbe, WorkerRegistration
from render.executor import PoolOptions
from render.pool import RenderPool
from render.protocol import Raised, WorkerReply, encoded

_PERHAPS_UNSEEN = (UnstableFileError.code, UnreadableFileError.code)


@dataclass
class _Hosted:
    """The processes that one service has here."""

    address: str
    options: PoolOptions
    pool: RenderPool
    stack: AsyncExitStack

    def serves(self, order: WorkerRegistration) -> bool:
        return self.pool.check().ready and (self.options, self.address) == (order.pool, order.address)


@dataclass
class _Host:
    """All that this worker's process keeps."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hosted: dict[str, _Hosted] = field(default_factory=dict)


_host = _Host()


async def enlist(body: bytes) -> bytes:
    """Checks what the worker sees and warms its processes; empty, or the reason why the worker cannot serve."""
    order: WorkerRegistration = pickle.loads(body)
    problem = await asyncio.to_thread(_look, order.sight)
    if not problem:
        async with _host.lock:
            problem = await _make_room(order)
    return problem.encode()


async def work(body: bytes) -> bytes:
    """One job; the answer is a WorkerReply."""
    owner, request = pickle.loads(body)
    hosted = _host.hosted.get(owner)
    if hosted is None:
        return encoded(WorkerReply("", sees_source=True))
    came = await _read(hosted.pool, replace(request, output_prefix=f"{request.output_prefix}-{uuid.uuid4().hex[:8]}"))
    if isinstance(came, Raised):
        return encoded(WorkerReply(hosted.address, sees_source=True, raised=came))
    doubtful = came.failure is not None and came.failure.code in _PERHAPS_UNSEEN
    sees = not doubtful or await asyncio.to_thread(os.access, request.path, os.R_OK)
    return encoded(WorkerReply(hosted.address, sees, came, mark=_mark_of(came, request.output_prefix)))


async def dismiss(body: bytes) -> bytes:
    """The owner needs its processes no more."""
    async with _host.lock:
        await _end(body.decode())
    return b""


async def _make_room(order: WorkerRegistration) -> str:
    current = _host.hosted.get(order.owner)
    if current is not None and current.serves(order):
        return ""
    await _end(order.owner)
    stack = AsyncExitStack()
    try:
        pool = await stack.enter_async_context(RenderPool.open(order.pool))
    except HostError as error:
        return error.detail
    _host.hosted[order.owner] = _Hosted(order.address, order.pool, pool, stack)
    return ""


async def _end(owner: str) -> None:
    hosted = _host.hosted.pop(owner, None)
    if hosted is not None:
        await hosted.stack.aclose()


async def _read(pool: RenderPool, request: ReadRequest) -> ReadReply | Raised:
    try:
        return await pool.run(request)
    except ImportServiceError as error:
        return Raised(error.code, display_path(error.detail))


def _mark_of(reply: ReadReply, output_prefix: str) -> str:
    """What the images' names have between the prefix and the frame number."""
    return reply.images[0].path.removeprefix(output_prefix).rpartition("-")[0] if reply.images else ""


# --- the shared storage ----------------------------------------------------------------------------------------------


def _look(sight: SharedPathProbe) -> str:
    """Empty, or what is wrong with this worker's view of the shared storage."""
    try:
        with open(os.path.join(sight.folder, sight.probe), encoding="ascii") as file:
            if file.read() != sight.probe:
                return f"OUTPUT_DIR 不是同一个共享目录（{sight.folder}）"
    except OSError as error:
        return f"看不到 OUTPUT_DIR（{sight.folder}，{error.strerror}）：须以相同路径挂载同一共享存储"
    return _cannot_write(sight) or _missing(sight)


def _cannot_write(sight: SharedPathProbe) -> str:
    try:
        with open(os.path.join(sight.folder, sight.answer), "w", encoding="ascii") as file:
            file.write(sight.probe)
    except OSError as error:
        return f"不能写入 OUTPUT_DIR（{sight.folder}，{error.strerror}）：worker 须以与本服务相同的账号运行"
    return ""


def _missing(sight: SharedPathProbe) -> str:
    for path in sight.paths:
        if not os.access(path, os.R_OK):
            return f"看不到 {path}：须以相同路径挂载同一共享存储，且可读"
    for path, digest in sight.same:
        if file_digest(path) != digest:
            return f"{path} 与本服务的内容不同"
    return ""


def file_digest(path: str) -> str:
    """SHA-256 of a file's content; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
