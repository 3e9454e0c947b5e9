"""The application of one contract."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from sandbox import (
    auth,
    completion_c3,
    completion_c4,
    images,
    inspection,
    object_storage,
    patients,
    upload_sessions,
    uploads_single,
)
from sandbox.backend import Backend, backend_of
from sandbox.contracts import Contract, Refusal, invalid, refused
from sandbox.gate import Gate


def create_app(backend: Backend) -> ASGIApp:
    """Nothing catches an UnhandledBackendError: the server answers 500 text/plain and drops the connection."""
    app = FastAPI(title="XieHe sandbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.backend = backend
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _invalid)
    _include_uploads(app, backend.contract)  # first, since routes are tried in order and these are the busiest
    for router in (auth.router, patients.router, patients.creation_route(backend.contract), images.router):
        app.include_router(router)
    app.include_router(inspection.router)
    for path in ("/", "/health", "/info"):
        app.add_api_route(path, _alive, methods=["GET"])
    return Gate(app, backend)


def _include_uploads(app: FastAPI, contract: Contract) -> None:
    if not contract.has_sessions:
        app.include_router(uploads_single.router)
        return
    app.include_router(upload_sessions.router)
    app.include_router(completion_c4.router if contract == Contract.C4 else completion_c3.router)
    app.include_router(object_storage.router)
    app.include_router(images.naming_router)


async def _alive() -> dict[str, str]:
    """The same in all four: nothing here tells the contracts apart."""
    return {"status": "healthy", "service": "XieHe Medical System"}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(backend_of(request).contract, request.method, request.url.path, error)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, str(error.detail))
    return refused(backend_of(request).contract, request.method, request.url.path, refusal)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return invalid(backend_of(request).contract, request.method, request.url.path, error.errors())
