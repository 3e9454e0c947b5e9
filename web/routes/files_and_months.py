"""Routes of a task's files, page by page, and of the months."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from import_service import FileFilter
from models import OutcomeKind
from web.api import schemas as api
from web.api import serializers
from web.routes.imports import PROBLEMS, Service, problems

router = APIRouter()

MAX_NUMBER = 2**53
"""The largest row number: a JSON number is exact up to here."""

Outcome = Annotated[OutcomeKind | None, Query(description="只要这一结果的文件")]
Code = Annotated[api.PlainText | None, Query(max_length=64, description="只要这一结果代码的文件")]
Month = Annotated[str | None, Query(pattern=r"^(\d{4}-\d{2})?$", description="只要这个月的文件；空：不属于任何月份的")]
After = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="从这个行号之后开始（上一页的 next_after）")]
Limit = Annotated[int, Query(ge=1, le=500, description="每页行数")]
Root = Annotated[
    api.PlainText | None, Query(min_length=1, max_length=4096, description="只要这个根目录的月份；省略时为全部")
]
Number = Annotated[int, Path(ge=0, le=MAX_NUMBER, description="行号")]
ROOT_PROBLEMS = problems(
    {400: "不是路径", 403: "根目录不在允许的范围之内", 422: "请求不符合要求", 503: "根目录没有及时响应，或历史库不可用"}
)


@router.get("/months", summary="月份看板：哪些月份已经导完", responses=ROOT_PROBLEMS)
async def months(service: Service, root: Root = None) -> api.MonthsResponse:
    board = await service.months(root)
    return api.MonthsResponse(months=[serializers.board_month(entry) for entry in board], counted_at=datetime.now(UTC))


def wanted_files(outcome: Outcome = None, code: Code = None, month: Month = None) -> FileFilter:
    """The files that a request selects."""
    return FileFilter(outcome, code, month)


Wanted = Annotated[FileFilter, Depends(wanted_files)]


@router.get("/import/{task_id}/files", summary="任务的文件，可筛选、分页", responses=PROBLEMS)
async def files(
    task_id: str, service: Service, wanted: Wanted, after: After = 0, limit: Limit = 60
) -> api.FilesResponse:
    page = await service.files_page(task_id, wanted, after, limit)
    rows = [serializers.report_row(row) for row in page.rows]
    return api.FilesResponse(total=page.total, files=rows, next_after=page.next_after)


@router.get("/import/{task_id}/files/{number}", summary="任务的一个文件", responses=PROBLEMS)
async def one_file(task_id: str, number: Number, service: Service) -> api.ReportEntry:
    return serializers.report_row(await service.file(task_id, number))
