"""The dashboard's page and files, and ``/``: the page for browsers, a list of routes for other clients."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from domain.version import NAME, VERSION
from import_service import ImportService
from web.api import schemas as api
from web.server.sub_path import link

STATIC_FOLDER = Path(__file__).resolve().parent.parent / "static"
_PAGE = STATIC_FOLDER / "index.html"
_REVALIDATE = {"Cache-Control": "no-cache"}
"""The browser revalidates each time, so that page and scripts of two versions never mix."""
_BY_ACCEPT = {**_REVALIDATE, "Vary": "Accept"}
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_LIVE_ROUTES = {"WS /import/ws": "全部任务的实时进度", "WS /import/{task_id}/ws": "一个任务的实时进度"}
"""OpenAPI does not describe WebSockets."""

router = APIRouter()


@router.get(
    "/",
    summary="这是什么（浏览器得到管理界面）",
    response_model=api.ServiceResponse,
    responses={200: {"content": {"text/html": {}}}},
)
async def root(request: Request) -> Response:
    if prefers_page(request.headers.get("accept", "")):
        return FileResponse(_PAGE, media_type="text/html", headers=_BY_ACCEPT)
    service: ImportService = request.app.state.service
    answer = api.ServiceResponse(
        name=NAME,
        version=VERSION,
        documentation=link(request, "/openapi.json"),
        next_scheduled_import=service.next_scheduled_import,
        routes=_routes_of(request.app),
    )
    return JSONResponse(answer.model_dump(mode="json"), headers=_BY_ACCEPT)


@router.get("/dashboard", include_in_schema=False)
async def dashboard() -> FileResponse:
    return FileResponse(_PAGE, media_type="text/html", headers=_REVALIDATE)


def install(app: FastAPI) -> None:
    """Adds the files under ``/static/``."""
    for ending, media_type in _MEDIA_TYPES.items():  # Windows takes them from its registry, where .js may be anything
        mimetypes.add_type(media_type, ending)
    app.mount("/static", _Files(directory=STATIC_FOLDER), name="static")


def prefers_page(accept: str) -> bool:
    """Whether an Accept header names HTML, with at least the weight of JSON; ``*/*`` does not name it."""
    weights = {kind: weight for kind, weight in map(_media_range, accept.split(",")) if weight > 0}
    return "text/html" in weights and weights["text/html"] >= weights.get("application/json", 0.0)


def _media_range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weights = [text[2:] for text in parameters if text.startswith("q=")]
    try:
        return kind, float(weights[0]) if weights else 1.0
    except ValueError:
        return kind, 0.0


def _routes_of(app: FastAPI) -> dict[str, str]:
    """Method and path of each documented route, with its summary."""
    paths: dict[str, dict[str, dict[str, str]]] = app.openapi()["paths"]
    documented = {
        f"{method.upper()} {path}": route.get("summary", "")
        for path, methods in paths.items()
        for method, route in methods.items()
    }
    return documented | _LIVE_ROUTES


class _Files(StaticFiles):
    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers.update(_REVALIDATE)
        return answer
