"""Errors as RFC 9457 problem documents: one table from the error tree to HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from domain.validation_messages import words_for
from errors import (
    BackendError,
    DryRunTaskError,
    FileRowNotFoundError,
    HistoryError,
    HostError,
    ImportServiceError,
    NothingToRetryError,
    PictureNotAvailableError,
    ServiceStoppingError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceUnavailableError,
    TaskNotEndedError,
    TaskNotFoundError,
    TaskOverlapError,
    TaskTransitionError,
    TooManyClientsError,
    VerifyRunningError,
)
from web.api.schemas import Problem

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS_OF_ERROR: Mapping[type[ImportServiceError], int] = {
    SourceNotFoundError: 400,
    SourceNotAllowedError: 403,
    SourceUnavailableError: 503,
    TaskNotFoundError: 404,
    FileRowNotFoundError: 404,
    PictureNotAvailableError: 404,
    TaskTransitionError: 409,
    TaskOverlapError: 409,
    TaskNotEndedError: 409,
    VerifyRunningError: 409,
    DryRunTaskError: 409,
    NothingToRetryError: 409,
    ServiceStoppingError: 503,
    TooManyClientsError: 503,
    HistoryError: 503,
    HostError: 503,
    BackendError: 503,
}
"""The nearest base class in this table counts; other errors are 500."""

_TITLES = {
    400: "请求有误",
    401: "需要密钥",
    403: "不允许",
    404: "未找到",
    405: "方法不允许",
    409: "与当前状态冲突",
    413: "请求体过大",
    421: "主机名不被接受",
    422: "请求内容不符合要求",
    500: "内部错误",
    503: "暂时不可用",
}
_TITLE_OF_CODE = {"query_too_large": "查询参数过长"}
"""For codes that share a status with another cause."""
_DETAILS = {404: "没有这个地址；GET / 列出全部接口", 405: "该地址不支持这种请求方法；GET / 列出全部接口"}
_CODES = {404: "route_not_found", 405: "method_not_allowed", 401: "unauthorized"}


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document."""
    body = Problem(
        type=f"urn:dicom-import:problem:{code}",
        title=_TITLE_OF_CODE.get(code) or _TITLES.get(status, "请求未能完成"),
        status=status,
        detail=detail,
        code=code,
        **more,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answers every error of the service, of validation and of routing with a problem document."""
    app.add_exception_handler(ImportServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


async def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ImportServiceError)
    status = next((STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR), 500)
    more: dict[str, Any] = {"task_id": request.path_params.get("task_id")}
    if isinstance(error, TaskTransitionError):
        more["legal"] = list(error.legal)
    if isinstance(error, TaskOverlapError):
        more["task_id"] = error.task_id
    answer = problem(status, error.code, error.detail, instance=request.url.path, **more)
    if isinstance(error, TooManyClientsError | SourceUnavailableError):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    found = [{"field": _field(item["loc"]), "message": words_for(item), "type": item["type"]} for item in problems]
    detail = "；".join(f"{item['field']}：{item['message']}" for item in found)
    return problem(422, "invalid_request", detail, instance=request.url.path, errors=found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = error.status_code
    if status == 400:  # FastAPI's answer to a body that no parser accepts, such as one nested too deeply
        return problem(422, "invalid_request", "请求体无法解析", instance=request.url.path)
    detail = _DETAILS.get(status, "请求未能完成")
    answer = problem(status, _CODES.get(status, f"http_{status}"), detail, instance=request.url.path)
    answer.headers.update(error.headers or {})
    return answer


async def _defect(request: Request, error: Exception) -> JSONResponse:
    _log.error("defect at %s %s: %s", request.method, request.url.path, type(error).__name__)
    return problem(500, "internal_error", "本服务自身的缺陷；请把时间和日志交给开发者", instance=request.url.path)


def _field(location: Sequence[int | str]) -> str:
    named = [part for part in location if isinstance(part, str) and part not in ("body", "query", "path")]
    return ".".join(named) or "请求体"
