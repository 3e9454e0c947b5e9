"""The FastAPI application: ``create_app(settings)``, and ``python main.py`` to serve it."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # the imports below may take seconds, and nothing is open yet
    for _name in {"SIGINT", "SIGTERM", "SIGBREAK"} & set(dir(signal)):
        signal.signal(getattr(signal, _name), lambda *_: os._exit(0))

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI
from uvicorn.server import HANDLED_SIGNALS

from config import Settings, doubtful_names, load_settings
from domain.descriptors import raise_limit
from domain.version import NAME, VERSION
from errors import ImportServiceError
from import_service import open_import_service
from importing.settings_mapping import confinement_state
from monitoring.logging_setup import set_up_logging
from monitoring.metrics import Metrics
from web import dashboard
from web.api import problem_details
from web.api.language import EnglishTexts, asked_language
from web.api.report_turns import ReportTurns
from web.live import push as live_push
from web.live.push import LivePush, PushLimits, open_live_push
from web.routes import files_and_months, sources_and_pictures, verification
from web.routes import metrics as metrics_routes
from web.routes.imports import problems, router
from web.security.middleware import (
    API_KEY_HEADER,
    CrossOrigin,
    SecurityMiddleware,
    SecurityOptions,
    allowed_hosts,
    allowed_origins,
    declare_key,
)
from web.server.http_protocol import (
    BACKLOG,
    KEEP_ALIVE_S,
    MAX_CONNECTIONS,
    BoundedHttpProtocol,
    closed_connections,
    connection_limit,
)
from web.server.private_memory import keep_memory_private
from web.server.sockets import listening_sockets
from web.server.sub_path import SubPath, SubPathOptions
from web.server.websocket_protocol import MAX_MESSAGE_BYTES, BoundedSocketProtocol

_log = logging.getLogger(__name__)
STOP_CONNECTIONS_WITHIN_S = 5
ROUTERS = (
    router,
    live_push.router,
    metrics_routes.router,
    sources_and_pictures.router,
    files_and_months.router,
    verification.router,
    dashboard.router,
)


def create_app(settings: Settings, push_limits: PushLimits = PushLimits()) -> FastAPI:  # noqa: B008 - frozen
    """The application. Its lifespan opens the service; nothing happens before."""

    key = settings.service_api_key.get_secret_value() if settings.service_api_key else None

    metrics = Metrics(VERSION)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_import_service(settings, metrics) as service,
            open_live_push(service, key, push_limits) as push,
        ):
            app.state.service, app.state.live = service, push
            app.state.reports = ReportTurns(service.registry.is_working)
            metrics.watch(lambda: replace(service.gauges(), connections_closed=closed_connections))
            metrics.resume(await service.last_success())
            yield

    app = _Application(
        title="DICOM 批量导入服务",
        version=VERSION,
        description=f"{NAME}: DICOM → XieHe",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere; /openapi.json opens in any viewer
        redoc_url=None,
    )
    app.state.settings, app.state.metrics = settings, metrics
    for each in ROUTERS:
        app.include_router(each, dependencies=[Depends(asked_language)], responses=problems({422: "请求不符合要求"}))
    dashboard.install(app)
    problem_details.install(app)
    options = SecurityOptions(
        key, allowed_hosts(settings.allowed_hosts, settings.host), allowed_origins(settings.cors_origins)
    )
    app.add_middleware(SecurityMiddleware, options=options)
    app.add_middleware(EnglishTexts)
    if settings.cors_origins:
        app.add_middleware(
            CrossOrigin,
            allow_origins=options.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", API_KEY_HEADER, "Authorization", "X-Request-ID"],
            allow_private_network=True,
            expose_headers=["Location"],
        )
    routes = (route for each in ROUTERS for route in each.routes)
    app.add_middleware(SubPath, options=SubPathOptions.of(settings, routes))
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; declares the key if the service has one."""
        known = self.openapi_schema is not None
        document = super().openapi()
        if not known and self.state.settings.service_api_key is not None:
            declare_key(document)
        return document


def main() -> int:
    """Serves until a signal stops it. Returns 1 if it cannot start."""
    _on_stop_signals(_leave)
    os.umask(0o077)  # history, images and logs are for this account alone
    keep_memory_private()
    try:
        settings = load_settings()
        log_listener = set_up_logging(settings)
    except ImportServiceError as error:
        print(f"{error.code}: {error.detail}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 1
    try:
        _warn(settings)
        return asyncio.run(serve(settings))
    except ImportServiceError as error:
        _log.critical("%s: %s", error.code, error.detail)
        return 1
    finally:
        log_listener.stop()


def _warn(settings: Settings) -> None:
    """Warns of settings that are probably wrong."""
    for _, english in doubtful_names():
        _log.warning("%s", english)
    for root in settings.dicom_source_path:
        if not os.path.isdir(root):
            _log.warning("a root of DICOM_SOURCE_PATH is not there (any more, or not yet): %s", root)
    if not settings.dicom_source_path:
        _log.warning("DICOM_SOURCE_PATH is empty: any folder of this machine may be imported")
    if settings.dask_address is None:
        state = confinement_state(settings)
        _log.log(logging.INFO if state.sound else logging.WARNING, "confinement=%s: %s", state.value, state.english)
    if not settings.loopback_only and not settings.allowed_hosts:
        _log.warning("ALLOWED_HOSTS is empty: requests that name this machine otherwise than HOST are refused")


async def serve(settings: Settings) -> int:
    """Takes the port, opens the service, serves, and closes in reverse order. Returns 1 if it could not serve.

    Raises:
        ImportServiceError: the service cannot start, or the port is not available.
    """
    app = create_app(settings)
    server = _Server(uvicorn_config(app, connection_limit(raise_limit())), app)
    with _stopped_by_signals(server) as stop, listening_sockets(settings.host, settings.port) as sockets:
        try:
            async with app.router.lifespan_context(app):
                stop.opened = True
                gc.freeze()  # what has been imported never becomes garbage
                _log.info("listening on %s", ", ".join(str(listener.getsockname()[:2]) for listener in sockets))
                await server.serve(sockets)
            _log.info("stopped")
        except asyncio.CancelledError:
            if not server.should_exit:
                raise
            _log.info("stopped during the start")
    return 0 if server.started or server.should_exit else 1


def uvicorn_config(app: FastAPI, connections: int = MAX_CONNECTIONS) -> uvicorn.Config:
    """uvicorn's settings. The lifespan is entered around the server, not by it."""
    return uvicorn.Config(
        app,
        lifespan="off",
        proxy_headers=False,  # SubPath reads those of TRUSTED_PROXY
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_CONNECTIONS_WITHIN_S,
        http=BoundedHttpProtocol,
        limit_concurrency=connections,
        backlog=BACKLOG,
        ws=BoundedSocketProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # it would cost each client memory, and the event loop time
    )


class _Stop:
    """Handles stop signals while the event loop runs.

    A signal cancels a start in progress, once: a second one must not interrupt the clean-up. Later, it ends uvicorn.
    """

    def __init__(self, server: uvicorn.Server) -> None:
        self.opened = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._start = asyncio.current_task()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._server.should_exit:
            self._loop.call_soon_threadsafe(self._cancel_start)
        self._server.handle_exit(number, frame)

    def _cancel_start(self) -> None:
        if not self.opened and self._start is not None:
            self._start.cancel()


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[_Stop]:
    """A stop signal cancels the running task or ends ``server``; signals after the context do nothing."""
    stop = _Stop(server)
    _on_stop_signals(stop)
    try:
        yield stop
    finally:
        _on_stop_signals(lambda *_: None)


def _on_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in HANDLED_SIGNALS:
        signal.signal(number, handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Ends the process before anything is open."""
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Closes WebSockets with 1001 before uvicorn shuts down; leaves the signals to :class:`_Stop`."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        push: LivePush = self._app.state.live
        await push.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


if __name__ == "__main__":
    raise SystemExit(main())
