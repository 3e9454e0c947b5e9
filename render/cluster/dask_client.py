"""The connection to a Dask cluster: the one module that imports dask.distributed, an optional package.

A plug-in sets each worker up, also a worker that joins later, and reports its state with Dask's heartbeats. Plug-in and
job function travel by value, since they are defined within functions: the scheduler needs nothing of ours, and a worker
without our code can say so. Jobs and answers are bytes of our own. Encryption is Dask's own configuration
(``distributed.comm.tls``), hence the address has no scheme.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from concurrent.futures import CancelledError as ConcurrentCancelledError
from contextlib import asynccontextmanager, suppress
from typing import Any

from distributed import Client, WorkerPlugin
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from render.cluster.code_stamp import difference, stamp
from render.cluster.protocol import PREPARING, HostSetup, JobLostError, WorkersDiedError, WorkerState

_CONNECT_S = 5.0
_ANSWER_S = 10.0
_CLOSE_S = 2.0
_BROKEN = (ClosedClientError, ConcurrentCancelledError, OSError, TimeoutError)
_SILENCED = ("distributed", "distributed.client", "distributed.core", "distributed.comm", "distributed.comm.core")
"""They log each failure to connect with its traceback; check() reports it in a sentence."""


class DaskLink:
    """A connection to a scheduler, and the plug-in of one service there."""

    def __init__(self, client: Any, owner: str) -> None:
        self._client = client
        self._owner = owner
        self._token = ""
        self._registering: asyncio.Future[Any] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, owner: str) -> AsyncIterator[DaskLink]:
        """Raises ConnectionError if no scheduler answers at ``host:port``."""
        for name in _SILENCED:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        connect: Any = Client
        client = connect(address, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
        try:
            try:
                await client
            except (OSError, TimeoutError) as error:
                raise ConnectionError(type(error).__name__) from error
            link = cls(client, owner)
            try:
                yield link
            finally:
                await link._unregister()
        finally:
            await client.close(timeout=_CLOSE_S)

    def register(self, setup: HostSetup) -> None:
        """Has the scheduler set up all workers, present and future. A worker that hangs delays no other."""
        self._token = setup.token
        plugin = _plugin(setup.owner, setup.token, dict(stamp()), pickle.dumps(setup))
        self._registering = asyncio.ensure_future(self._client.register_plugin(plugin, name=setup.owner))
        self._registering.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def workers(self) -> Mapping[str, WorkerState]:
        """The workers by address, as the scheduler knows them. Raises ConnectionError."""
        if self._client.status != "running":
            raise ConnectionError("the stream to the scheduler has ended")
        try:
            async with asyncio.timeout(_ANSWER_S):
                identity = await self._client.scheduler.identity()
        except _BROKEN as error:
            raise ConnectionError(type(error).__name__) from error
        return {
            address: WorkerState(worker["nthreads"], self._problem_of(worker["metrics"].get(self._owner)))
            for address, worker in identity["workers"].items()
        }

    async def submit(self, body: bytes, addresses: Collection[str]) -> bytes:
        """Runs a job on one of the workers; Dask repeats it on another one if that dies.

        Raises:
            WorkersDiedError: too many workers died.
            JobLostError: there is no result for another reason.
        """
        key = f"render-{uuid.uuid4().hex}"
        try:
            future = self._client.submit(_job(), body, workers=list(addresses), pure=False, key=key)
            error = await future.exception()
            answer = await future.result() if error is None else None
        except (*_BROKEN, RuntimeError) as cause:  # the connection was closed, or the cluster emptied
            raise JobLostError(type(cause).__name__) from cause
        if isinstance(error, KilledWorker):
            raise WorkersDiedError
        if not isinstance(answer, bytes):
            raise JobLostError(f"{type(error).__name__}: {error}"[:200])
        return answer

    def _problem_of(self, report: Mapping[str, Any] | None) -> str:
        if report is None or report["token"] != self._token:
            return PREPARING
        theirs: Mapping[str, str] | None = report["stamp"]
        return (difference(theirs) if theirs is not None else "") or str(report["problem"])

    async def _unregister(self) -> None:
        """Ends our processes on the workers, if the scheduler is still there."""
        if self._registering is None:
            return
        self._registering.cancel()
        with suppress(*_BROKEN, RuntimeError, ValueError):  # a scheduler that was restarted does not know it
            async with asyncio.timeout(_CLOSE_S):
                await self._client.unregister_worker_plugin(self._owner)


def _plugin(owner: str, token: str, ours: dict[str, str], setup: bytes) -> WorkerPlugin:
    """The plug-in. ``stamp`` and ``RenderHost`` are those of the worker's own code."""

    class RenderPlugin(WorkerPlugin):
        host: Any = None

        async def setup(self, worker: Any) -> None:
            from importlib import import_module  # noqa: PLC0415 - only this text travels

            report: dict[str, Any] = {"token": token, "stamp": None, "problem": ""}
            worker.metrics[owner] = lambda _worker: report
            try:
                report["stamp"] = dict(import_module("render.cluster.code_stamp").stamp())
                if report["stamp"] == ours:
                    self.host = import_module("render.cluster.worker").RenderHost(worker, setup, report)
            except ImportError as error:
                report["problem"] = f"没有本服务的程序：请把同一版本放到该机，并使 PYTHONPATH 指向它（{error}）"

        async def teardown(self, worker: Any) -> None:
            worker.metrics.pop(owner, None)
            if self.host is not None:
                await self.host.close()

    return RenderPlugin()


def _job() -> Callable[[bytes], Awaitable[bytes]]:
    async def run_job(body: bytes) -> bytes:
        from importlib import import_module  # noqa: PLC0415 - only this text travels

        answer: bytes = await import_module("render.cluster.worker").work(body)
        return answer

    return run_job
