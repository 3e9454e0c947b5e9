"""Routes for looking before and after an import: folders that could be imported, pictures that were."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from importing.picture_view import PictureView, PictureWish
from importing.service_settings import tree_rules
from models import display_path
from source_tree import browse
from web import api_models as api
from web.board import Number
from web.routes import PROBLEMS, Service

router = APIRouter()

SourcePath = Annotated[
    api.PlainText | None, Query(max_length=4096, description="要查看的文件夹；省略时列出允许的根目录")
]
Frame = Annotated[int, Query(ge=1, le=1_000_000, description="第几帧，从 1 起")]
Size = Annotated[int | None, Query(ge=32, le=2048, description="最长边的像素数；省略时为原尺寸")]
SOURCE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": api.Problem, "description": "文件夹不存在或无法读取"},
    403: {"model": api.Problem, "description": "文件夹不在允许的根目录之内"},
    422: {"model": api.Problem, "description": "请求不符合要求"},
}


@router.get("/sources", summary="可导入的文件夹", responses=SOURCE_PROBLEMS)
async def sources(service: Service, path: SourcePath = None) -> api.SourcesAnswer:
    found = await asyncio.to_thread(browse, path or None, tree_rules(service.settings))
    return api.SourcesAnswer(
        path=found.path and display_path(found.path),
        kind=found.kind.value,
        parent=found.parent and display_path(found.parent),
        importable=found.importable,
        roots=[display_path(root) for root in found.roots],
        folders=[api.SourceFolder(**asdict(folder)) for folder in found.folders],
        truncated=found.truncated,
    )


@router.get(
    "/import/{task_id}/files/{number}/picture",
    summary="文件的图像",
    response_class=Response,
    responses={**PROBLEMS, 200: {"description": "图像", "content": {"image/jpeg": {}, "image/png": {}}}},
)
async def picture(request: Request, task_id: str, number: Number, size: Size = None, frame: Frame = 1) -> Response:
    view: PictureView = request.app.state.pictures
    found = await view.picture(PictureWish(task_id, number, frame, size))
    headers = {"X-Picture-Source": "kept" if found.kept else "rendered"}
    return Response(found.content, media_type=found.media_type, headers=headers)
