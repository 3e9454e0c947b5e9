"""Routes of source folders and of images."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from import_service import FolderListing, ImageRequest, OpenedImage
from models import display_path
from web.api import schemas as api
from web.routes.files_and_months import Number
from web.routes.imports import PROBLEMS, Service, problems

router = APIRouter()
_PIECE_BYTES = 256 * 1024

SourcePath = Annotated[
    api.PlainText | None, Query(max_length=4096, description="要查看的文件夹；省略时列出允许的根目录")
]
Frame = Annotated[int, Query(ge=1, le=1_000_000, description="第几帧，从 1 起")]
Size = Annotated[int | None, Query(ge=32, le=2048, description="最长边的像素数；省略时为原尺寸")]
SOURCE_PROBLEMS = problems(
    {400: "文件夹不存在或无法读取", 403: "文件夹不在允许的根目录之内", 422: "请求不符合要求", 503: "文件夹没有及时响应"}
)
PICTURE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    **problems({503: "源文件没有及时响应，查看的人太多，或历史库不可用"}),
}


@router.get("/sources", summary="可导入的文件夹", response_model=api.SourcesResponse, responses=SOURCE_PROBLEMS)
async def sources(service: Service, path: SourcePath = None) -> Response:
    found = await service.folders(path)
    return Response(await run_in_threadpool(_json_of, found), media_type="application/json")


def _json_of(found: FolderListing) -> str:
    """The answer; of 2,000 folders it takes milliseconds."""
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
    service: Service, task_id: str, number: Number, size: Size = None, frame: Frame = 1
) -> AsyncIterator[OpenedImage]:
    """Closed when the answer has been sent, or its client has gone."""
    async with service.image(ImageRequest(task_id, number, frame, size)) as found:
        yield found


@router.get(
    "/import/{task_id}/files/{number}/picture",
    summary="文件的图像",
    response_class=StreamingResponse,
    responses={**PICTURE_PROBLEMS, 200: {"description": "图像", "content": {"image/jpeg": {}, "image/png": {}}}},
)
async def picture(found: Annotated[OpenedImage, Depends(_opened)]) -> StreamingResponse:
    headers = {"X-Picture-Source": "kept" if found.kept else "rendered", "Content-Length": str(found.size_bytes)}
    return StreamingResponse(_pieces(found), media_type=found.media_type, headers=headers)


async def _pieces(found: OpenedImage) -> AsyncIterator[bytes]:
    for offset in range(0, found.size_bytes, _PIECE_BYTES):
        yield await found.read(offset, min(_PIECE_BYTES, found.size_bytes - offset))
