"""Routes for looking before and after an import: folders that could be imported, pictures that were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from errors import SourceUnavailableError
from importing.images.image_service import ImageRequest, ImageService, OpenedPicture
from importing.settings_mapping import tree_rules
from importing.threads import AT_A_GLANCE_S, SourceLooks
from models import display_path
from source import (
    Folder,
    FolderListing,
    TreeRules,
    beginning,
    beginnings,
    browse,
    level_of_roots,
    unseen_beginning,
)
from web.api import schemas as api
from web.routes.files_and_months import Number
from web.routes.imports import PROBLEMS, Service

router = APIRouter()
_PIECE_BYTES = 256 * 1024

SourcePath = Annotated[
    api.PlainText | None, Query(max_length=4096, description="要查看的文件夹；省略时列出允许的根目录")
]
Frame = Annotated[int, Query(ge=1, le=1_000_000, description="第几帧，从 1 起")]
Size = Annotated[int | None, Query(ge=32, le=2048, description="最长边的像素数；省略时为原尺寸")]
SOURCE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": api.Problem, "description": "文件夹不存在或无法读取"},
    403: {"model": api.Problem, "description": "文件夹不在允许的根目录之内"},
    422: {"model": api.Problem, "description": "请求不符合要求"},
    503: {"model": api.Problem, "description": "文件夹没有及时响应"},
}
PICTURE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    503: {"model": api.Problem, "description": "源文件没有及时响应，查看的人太多，或历史库不可用"},
}


@router.get("/sources", summary="可导入的文件夹", response_model=api.SourcesResponse, responses=SOURCE_PROBLEMS)
async def sources(service: Service, path: SourcePath = None) -> Response:
    looks, rules = service.tools.looks, tree_rules(service.settings)
    text = await looks.look(_level, path, rules) if path else _text_of(await _level_of_roots(looks, rules))
    return Response(text, media_type="application/json")


async def _level_of_roots(looks: SourceLooks, rules: TreeRules) -> FolderListing:
    roots = await looks.look(_beginnings, os.sep, rules)
    return level_of_roots(await asyncio.gather(*(_beginning(looks, root, rules) for root in roots)))


def _beginnings(_: str, rules: TreeRules) -> tuple[str, ...]:
    return beginnings(rules)


async def _beginning(looks: SourceLooks, root: str, rules: TreeRules) -> Folder:
    """A root whose share hangs is shown, too, and hides no other."""
    try:
        return await looks.look(beginning, root, rules, within_s=AT_A_GLANCE_S)
    except SourceUnavailableError:
        return unseen_beginning(root, rules)


def _level(path: str, rules: TreeRules) -> str:
    return _text_of(browse(path, rules))


def _text_of(found: FolderListing) -> str:
    """The answer's JSON, for all who ask for the same."""
    answer = api.SourcesResponse(
        path=found.path and display_path(found.path),
        kind=found.kind.value,
        parent=found.parent and display_path(found.parent),
        importable=found.importable,
        roots=[display_path(root) for root in found.roots],
        folders=[api.SourceFolder(**asdict(folder)) for folder in found.folders],
        truncated=found.truncated,
    )
    return answer.model_dump_json()


async def _opened(
    request: Request, task_id: str, number: Number, size: Size = None, frame: Frame = 1
) -> AsyncIterator[OpenedPicture]:
    """Closed when the answer has been sent, or its client has gone."""
    view: ImageService = request.app.state.pictures
    async with view.opened(ImageRequest(task_id, number, frame, size)) as found:
        yield found


@router.get(
    "/import/{task_id}/files/{number}/picture",
    summary="文件的图像",
    response_class=StreamingResponse,
    responses={**PICTURE_PROBLEMS, 200: {"description": "图像", "content": {"image/jpeg": {}, "image/png": {}}}},
)
async def picture(found: Annotated[OpenedPicture, Depends(_opened)]) -> StreamingResponse:
    headers = {"X-Picture-Source": "kept" if found.kept else "rendered", "Content-Length": str(found.size_bytes)}
    return StreamingResponse(_pieces(found), media_type=found.media_type, headers=headers)


async def _pieces(found: OpenedPicture) -> AsyncIterator[bytes]:
    for offset in range(0, found.size_bytes, _PIECE_BYTES):
        yield await found.read(offset, min(_PIECE_BYTES, found.size_bytes - offset))
