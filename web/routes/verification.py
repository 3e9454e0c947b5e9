"""Routes of verification: whether XieHe has everything that a task uploaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from import_service import ImportService
from models import Verification, VerifiedRow, VerifyResult
from web.api import schemas as api
from web.api.language import in_language
from web.api.report_turns import ReportTurns
from web.api.report_writer import MEDIA_TYPES, Cell, ReportFormat, ReportPage, write_report
from web.routes.imports import PROBLEMS, STEERING_PROBLEMS, Service

router = APIRouter()
_COLUMNS = tuple(api.VerifyRow.model_fields)


@router.post(
    "/import/{task_id}/verify", status_code=202, summary="核对：逐个向 XieHe 查询影像", responses=STEERING_PROBLEMS
)
async def verify(task_id: str, service: Service) -> api.VerifyStarted:
    await service.verifications.start((await service.view(task_id)).record)
    return api.VerifyStarted(task_id=task_id, message="核对已开始，请用 GET 查询结果")


@router.get("/import/{task_id}/verify", summary="核对的进度与结果", responses=PROBLEMS)
async def verification(task_id: str, service: Service) -> api.VerifyResponse:
    await service.view(task_id)
    found = await service.verifications.of(task_id)
    return api.VerifyResponse(task_id=task_id, status="none") if found is None else _answer(task_id, found)


@router.get(
    "/import/{task_id}/verify/report",
    summary="逐个影像的核对结果",
    response_class=StreamingResponse,
    responses={**PROBLEMS, 200: {"description": "每个影像一行", "content": {"application/x-ndjson": {}}}},
)
async def verify_report(
    request: Request,
    task_id: str,
    service: Service,
    form: Annotated[ReportFormat, Query(alias="format")] = ReportFormat.NDJSON,
    result: Annotated[VerifyResult | None, Query(description="只要这一结果的影像")] = None,
) -> StreamingResponse:
    await service.view(task_id)
    turns: ReportTurns = request.app.state.reports
    pages = in_language(request, _pages(service, task_id, result))
    return StreamingResponse(
        turns.in_turn(await write_report(pages, form, _COLUMNS)),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'inline; filename="{task_id}-verify.{form.value}"'},
    )


async def _pages(service: ImportService, task_id: str, result: VerifyResult | None) -> AsyncIterator[ReportPage]:
    async for rows in service.verifications.rows(task_id, result):
        yield ReportPage(_COLUMNS, map(_values, rows))


def _values(row: VerifiedRow) -> tuple[Cell, ...]:
    """In the order of VerifyRow."""
    image = row.image
    return (
        image.number,
        row.source_path,
        row.patient_id,
        image.frame,
        image.upload_filename,
        image.image_file_id,
        image.result.value,
        image.detail,
    )


def _answer(task_id: str, found: Verification) -> api.VerifyResponse:
    counts = {result.value: found.found.get(result, 0) for result in VerifyResult}
    return api.VerifyResponse(
        task_id=task_id,
        status=found.status.value,
        started_at=found.started_at,
        completed_at=found.completed_at,
        images_total=found.images_total,
        images_checked=sum(counts.values()),
        detail=found.detail,
        **counts,
    )
