"""The FastAPI application: ``create_app(settings)``, and ``python main.py`` to serve it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from config import Settings, load_settings
from errors import ImportServiceError
from import_service import open_import_service
from version import NAME, VERSION
from web import problem_details
from web.guard import Guard, GuardOptions, allowed_hosts
from web.log_setup import set_up_logging
from web.routes import router

_log = logging.getLogger(__name__)
STOP_CONNECTIONS_WITHIN_S = 5


def create_app(settings: Settings) -> FastAPI:
    """The application; its rooms are opened by the lifespan, nothing happens before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_import_service(settings) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="DICOM 批量导入服务",
        version=VERSION,
        description=f"{NAME}: DICOM → XieHe",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere; /openapi.json opens in any viewer
        redoc_url=None,
    )
    app.state.settings = settings
    app.include_router(router)
    problem_details.install(app)
    key = settings.service_api_key
    options = GuardOptions(
        key.get_secret_value() if key else None, allowed_hosts(settings.allowed_hosts, settings.host)
    )
    app.add_middleware(Guard, options=options)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-API-Key", "Authorization"],
            expose_headers=["Location"],
        )
    return app


def main() -> int:
    """Serves until it is told to stop; 1 where it cannot start."""
    os.umask(0o077)  # history, pictures and logs are for this account alone
    try:
        settings = load_settings()
        set_up_logging(settings)
    except ImportServiceError as error:
        print(f"{error.code}: {error.detail}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 1
    if not settings.dicom_source_path:
        _log.warning("DICOM_SOURCE_PATH is empty: any folder of this machine may be imported")
    if not settings.loopback_only and not settings.allowed_hosts:
        _log.warning("ALLOWED_HOSTS is empty: requests that name this machine otherwise than HOST are refused")
    try:
        return asyncio.run(serve(settings))
    except ImportServiceError as error:
        _log.critical("%s: %s", error.code, error.detail)
        return 1


async def serve(settings: Settings) -> int:
    """Opens the service, then the port; closes them in the other order. 1 where the port is not to be had.

    Raises:
        ImportServiceError: the service cannot start.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_CONNECTIONS_WITHIN_S,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has closed: not before we have
        signal.signal(number, lambda *_: None)
    async with app.router.lifespan_context(app):
        with suppress(SystemExit):  # uvicorn's way to say that the port is taken; it has logged why
            await server.serve()
    return 0 if server.started else 1


if __name__ == "__main__":
    raise SystemExit(main())
