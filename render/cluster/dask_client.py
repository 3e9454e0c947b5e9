"""The connection to a Dask cluster: the one module that knows dask.distributed, which is an optional package.

What a worker runs travels as a small function by value, with bytes for arguments and for its result. So the scheduler
needs nothing of ours, no path or header passes through Dask's own logs, and a worker without our code says so.
Encryption is Dask's own configuration (``distributed.comm.tls``), hence the address has no scheme.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from concurrent.futures import CancelledError as ConcurrentCancelledError
from contextlib import asynccontextmanager
from typing import Any

from distributed import Client, Future
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from render.cluster.protocol import Lost, WorkersDied

Entry = Callable[[str, bytes], Awaitable[bytes]]

_CONNECT_S = 5.0
_ANSWER_S = 10.0
_CALL_S = 240.0
"""A worker starts its processes from a cold disk, perhaps in three attempts."""
_CLOSE_S = 2.0
_SILENCED = ("distributed", "distributed.client", "distributed.core", "distributed.comm", "distributed.comm.core")
"""They log each failure to connect with its traceback; check() tells it in a sentence."""

_BROKEN = (ClosedClientError, ConcurrentCancelledError, OSError, TimeoutError)
_CAME_TO_NOTHING = (*_BROKEN, RuntimeError)
"""The connection was closed under a job, or somebody emptied the cluster."""


class DaskLink:
    """See :class:`render.cluster.protocol.ClusterLink`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._work: set[asyncio.Task[bytes | WorkersDied | Lost]] = set()
        self._ended = False

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str) -> AsyncIterator[DaskLink]:
        """Raises ConnectionError where no scheduler answers at ``host:port``."""
        for name in _SILENCED:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        connect: Any = Client
        client: Any = connect(address, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
        try:
            try:
                await client
            except (OSError, TimeoutError) as error:
                raise ConnectionError(f"{type(error).__name__}") from error
            link = cls(client)
            try:
                yield link
            finally:
                link._end()
        finally:
            await client.close(timeout=_CLOSE_S)

    async def workers(self) -> Mapping[str, int]:
        """Of the scheduler itself; the client's own copy may be old, and is not told of everyone."""
        self._require_stream()
        scheduler: Any = self._client.scheduler
        try:
            async with asyncio.timeout(_ANSWER_S):
                told: Mapping[str, int] = await scheduler.ncores()
        except _BROKEN as error:
            raise ConnectionError(type(error).__name__) from error
        return told

    async def call(self, address: str, entry: str, body: bytes) -> bytes:
        """Beside the worker's jobs."""
        self._require_stream()
        run: Any = self._client.run
        try:
            async with asyncio.timeout(_CALL_S):
                answers: Mapping[str, object] = await run(_caller(), entry, body, workers=[address], on_error="return")
        except _BROKEN as error:
            raise ConnectionError(type(error).__name__) from error
        answer = answers.get(address)
        if isinstance(answer, bytes):
            return answer
        if answer is None or isinstance(answer, OSError):
            raise ConnectionError(f"worker {address}")
        raise RuntimeError(f"{type(answer).__name__}: {answer}"[:200])

    async def submit(self, entry: str, body: bytes, addresses: Collection[str]) -> bytes | WorkersDied | Lost:
        """A job under a key of its own: each call is another job, whatever its arguments."""
        submit: Any = self._client.submit
        try:
            future: Future[bytes] = submit(
                _caller(), entry, body, workers=list(addresses), pure=False, key=f"render-{uuid.uuid4().hex}"
            )
        except _CAME_TO_NOTHING as error:
            return Lost(type(error).__name__)
        work = asyncio.create_task(_result(future))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._ended:
                work.cancel()
                raise
            return Lost("the connection was closed")

    def _end(self) -> None:
        """Jobs that a closed client has forgotten would be waited for for ever."""
        self._ended = True
        for work in self._work:
            work.cancel()

    def _require_stream(self) -> None:
        if self._client.status != "running":
            raise ConnectionError("the stream to the scheduler has ended")


async def _result(future: Future[bytes]) -> bytes | WorkersDied | Lost:
    handle: Any = future
    try:
        error = await handle.exception()
        if isinstance(error, KilledWorker):
            return WorkersDied()
        if error is not None:
            return Lost(f"{type(error).__name__}: {error}"[:200])
        answer = await handle.result()
    except _CAME_TO_NOTHING as cause:
        return Lost(type(cause).__name__)
    return answer if isinstance(answer, bytes) else Lost(f"a {type(answer).__name__} for an answer")


def _caller() -> Entry:
    """A function that is pickled by value because it is defined within another: nobody needs this module to load it."""

    async def call(entry: str, body: bytes) -> bytes:
        import importlib  # noqa: PLC0415 - this text is all that travels

        module, _, function = entry.partition(":")
        answer: bytes = await getattr(importlib.import_module(module), function)(body)
        return answer

    return call
