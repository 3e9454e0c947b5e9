"""The HTTP routes: read the request, ask the service, answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from import_service import ImportService, TaskView
from models import ImportOptions
from web.api import schemas as api
from web.api import serializers
from web.api.language import in_language
from web.api.report_turns import ReportTurns
from web.api.report_writer import MEDIA_TYPES, ReportFormat, ReportPage, write_report
from web.live.push import LivePush, status_of
from web.server.sub_path import link

router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=500, description="每页任务数")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="跳过的任务数")]
Wait = Annotated[
    float | None,
    Query(ge=0, le=60, allow_inf_nan=False, description="最多等待的秒数：任务有变化（seq 不同于 since）即答"),
]
Since = Annotated[int | None, Query(ge=0, le=2**53, description="已知的 seq；省略时等到下一次变化")]
ExtraRows = Literal["ignored", "skipped"]
Include = Annotated[
    Sequence[ExtraRows], Query(description="另加：ignored 被忽略的文件，skipped 没有进入的文件夹；可重复")
]
Problems = dict[int | str, dict[str, Any]]


def problems(descriptions: Mapping[int, str]) -> Problems:
    """OpenAPI's responses: problem documents with these descriptions, by status."""
    return {status: {"model": api.Problem, "description": text} for status, text in descriptions.items()}


PROBLEMS: Problems = problems({404: "没有这个任务", 422: "请求不符合要求", 503: "历史数据库无法使用"})
STEERING_PROBLEMS: Problems = {**PROBLEMS, **problems({409: "与任务当前状态冲突"})}
START_PROBLEMS: Problems = problems(
    {
        400: "源目录不存在或未给出",
        403: "源目录不在允许的根目录之内",
        409: "同一或重叠的目录正在导入",
        422: "请求不符合要求",
        503: "源目录没有及时响应，服务正在停止，或历史库不可用",
    }
)


def service_of(request: Request) -> ImportService:
    """The open service."""
    service: ImportService = request.app.state.service
    return service


Service = Annotated[ImportService, Depends(service_of)]


@router.get("/health", summary="健康检查")
async def health() -> api.HealthResponse:
    return api.HealthResponse(timestamp=datetime.now(UTC))


@router.get(
    "/health/ready",
    summary="就绪检查",
    response_model=api.ReadyResponse,
    responses={503: {"model": api.ReadyResponse, "description": "现在不能导入"}},
)
async def ready(service: Service) -> JSONResponse:
    found = await service.readiness()
    answer = api.ReadyResponse(
        status="ready" if found.ready else "not_ready",
        timestamp=datetime.now(UTC),
        contract=found.contract,
        checks=[api.Check(**asdict(check)) for check in found.checks],
        background=[api.BackgroundResponse(**asdict(job)) for job in found.jobs],
    )
    return JSONResponse(answer.model_dump(mode="json"), status_code=200 if found.ready else 503)


@router.post("/import", status_code=202, summary="启动导入任务", responses=START_PROBLEMS)
async def start_import(
    request: Request, response: Response, service: Service, body: Annotated[api.ImportRequest | None, Body()] = None
) -> api.ImportStarted:
    body = body or api.ImportRequest()
    options = _with_overrides(service.default_options, body)
    options = replace(options, description=body.description, dry_run=body.dry_run)
    view = await service.start(body.source_path, options)
    response.headers["Location"] = link(request, f"/import/{view.record.task_id}/status")
    what = "试运行任务已受理，不会写入 XieHe" if body.dry_run else "DICOM 导入任务已受理"
    return serializers.started(view, f"{what}，请用状态查询接口查看进度")


@router.get("/import/tasks", summary="任务列表")
async def list_tasks(service: Service, limit: Limit = 50, offset: Offset = 0) -> api.TaskListResponse:
    total, views = await service.archive.tasks(offset, limit)
    return api.TaskListResponse(total=total, tasks=[serializers.summary(view) for view in views])


@router.get(
    "/import/{task_id}/status",
    summary="任务状态",
    response_model=api.TaskStatusResponse,
    responses={**PROBLEMS, 503: {"model": api.Problem, "description": "等待变化的请求过多，或历史数据库无法使用"}},
)
async def task_status(
    request: Request, task_id: str, service: Service, wait: Wait = None, since: Since = None
) -> api.TaskStatusResponse | Response:
    if wait is None:
        return await status_of(service, task_id)
    push: LivePush = request.app.state.live
    update = await push.wait_for_change(task_id, since, wait)
    return Response(update.text, media_type="application/json")


@router.get("/import/{task_id}/stats", summary="详细统计", responses=PROBLEMS)
async def task_stats(task_id: str, service: Service) -> api.TaskStatsResponse:
    view = await service.view(task_id)
    return serializers.stats(view, await service.archive.breakdown(task_id), await service.plan(view))


@router.get(
    "/import/{task_id}/report",
    summary="逐个文件的结果",
    response_class=StreamingResponse,
    responses={**PROBLEMS, 200: {"description": "每个文件一行", "content": {"application/x-ndjson": {}}}},
)
async def task_report(
    request: Request,
    task_id: str,
    service: Service,
    form: Annotated[ReportFormat, Query(alias="format")] = ReportFormat.NDJSON,
    include: Include = (),
) -> StreamingResponse:
    await service.view(task_id)
    ending = form.value
    turns: ReportTurns = request.app.state.reports
    pages = in_language(request, _report_pages(service, task_id, include))
    pieces = await write_report(pages, form, tuple(api.ReportEntry.model_fields))
    return StreamingResponse(
        turns.in_turn(pieces),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'inline; filename="{task_id}.{ending}"'},
    )


async def _report_pages(
    service: ImportService, task_id: str, include: Collection[ExtraRows]
) -> AsyncIterator[ReportPage]:
    columns = tuple(api.ReportEntry.model_fields)
    async for lines in service.archive.report(task_id):
        yield ReportPage(columns, map(serializers.report_values, lines))
    if "ignored" in include:
        async for rows in service.archive.ignored(task_id):
            yield ReportPage(tuple(api.IgnoredReportRow.model_fields), map(serializers.ignored_values, rows))
    if "skipped" in include:
        async for folders in service.archive.skipped(task_id):
            yield ReportPage(tuple(api.SkippedReportRow.model_fields), map(serializers.skipped_values, folders))


@router.post("/import/{task_id}/pause", status_code=202, summary="暂停", responses=STEERING_PROBLEMS)
async def pause(task_id: str, service: Service) -> api.TaskChanged:
    return _changed(await service.pause(task_id), "已暂停；正在处理的文件会先完成")


@router.post("/import/{task_id}/resume", status_code=202, summary="继续", responses=STEERING_PROBLEMS)
async def resume(task_id: str, service: Service) -> api.TaskChanged:
    return _changed(await service.resume(task_id), "任务继续")


@router.post("/import/{task_id}/cancel", status_code=202, summary="取消", responses=STEERING_PROBLEMS)
async def cancel(task_id: str, service: Service) -> api.TaskChanged:
    return _changed(await service.cancel(task_id), "已取消；正在处理的文件会先完成，已上传的影像保留")


@router.post(
    "/import/{task_id}/retry",
    status_code=202,
    summary="重试失败的文件",
    responses={**STEERING_PROBLEMS, **START_PROBLEMS, 409: STEERING_PROBLEMS[409]},
)
async def retry(
    request: Request,
    task_id: str,
    response: Response,
    service: Service,
    body: Annotated[api.RetryRequest | None, Body()] = None,
) -> api.ImportStarted:
    body = body or api.RetryRequest()
    parent = (await service.view(task_id)).record
    options = replace(_with_overrides(parent.options, body), retry_code=body.code)
    view = await service.retry(task_id, options)
    response.headers["Location"] = link(request, f"/import/{view.record.task_id}/status")
    return serializers.started(view, "重试任务已受理：只处理上次失败的文件")


def _with_overrides(base: ImportOptions, overrides: api.ImportOverrides) -> ImportOptions:
    """The request's options over the given ones."""
    asked_window = overrides.window_center is not None
    return replace(
        base,
        window_center=overrides.window_center if asked_window else base.window_center,
        window_width=overrides.window_width if asked_window else base.window_width,
        on_patient_mismatch=overrides.on_patient_mismatch or base.on_patient_mismatch,
        on_demographics_mismatch=overrides.on_demographics_mismatch or base.on_demographics_mismatch,
        reupload_removed=overrides.reupload_removed or base.reupload_removed,
        run_now=overrides.run_now,
    )


def _changed(view: TaskView, message: str) -> api.TaskChanged:
    return api.TaskChanged(task_id=view.record.task_id, status=view.record.status, message=message)
