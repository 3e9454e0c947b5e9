"""The four contracts: what differs between them, and the shapes of their answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from fastapi.responses import JSONResponse

Row = dict[str, Any]


class Contract(IntEnum):
    """Four points of XieHe's history, oldest first."""

    C1 = 1
    """Bare JSON, one multipart request per upload; refusals inside an upload are masked as 500."""
    C2 = 2
    """As C1 in an envelope, refusals carry their own codes."""
    C3 = 3
    """Upload sessions whose image row exists, and is listed, before the upload is complete."""
    C4 = 4
    """Durable upload sessions: the image row appears with an idempotent complete."""

    @property
    def enveloped(self) -> bool:
        return self >= Contract.C2

    @property
    def has_sessions(self) -> bool:
        """C3/C4 also brought per-owner lists, cached lists and storage_etag."""
        return self >= Contract.C3


class Refusal(Exception):  # noqa: N818 - an answer of the backend, not a defect of the sandbox
    """The request is refused with a status and a sentence; the dialect puts it into the contract's shape."""

    def __init__(self, status: int, message: str, error_code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code


class UnhandledBackendError(Exception):
    """A defect of the real backend that nothing in it catches: 500 text/plain, then the connection is dropped."""


@dataclass(frozen=True)
class Page:
    """One page of a list and how many rows there are in all."""

    rows: Sequence[Row]
    total: int
    page: int
    page_size: int

    @property
    def total_pages(self) -> int:
        return -(-self.total // self.page_size)


def success(contract: Contract, data: Row, message: str = "操作成功", code: int = 200) -> JSONResponse:
    """A success is HTTP 200 always; a created patient's 201 is in the enveloped body only."""
    if not contract.enveloped:
        return JSONResponse(data)
    return JSONResponse({"code": code, "message": message, "data": data, "timestamp": _iso_now()})


def listing(contract: Contract, page: Page, bare_key: str) -> JSONResponse:
    """`bare_key` names the rows in C1, where patients and images were listed under different names."""
    numbers = {"total": page.total, "page": page.page, "page_size": page.page_size}
    if contract.enveloped:
        pagination = {**numbers, "total_pages": page.total_pages}
        return success(contract, {"items": page.rows, "pagination": pagination}, "查询成功")
    if bare_key == "patients":
        numbers["total_pages"] = page.total_pages
    return JSONResponse({bare_key: page.rows, **numbers})


def refused(contract: Contract, method: str, path: str, refusal: Refusal) -> JSONResponse:
    """The error body of the contract."""
    if contract.enveloped:
        body = _enveloped_error(refusal.status, refusal.message, refusal.error_code or "UNKNOWN_ERROR", path)
        return JSONResponse(body, refusal.status)
    body = _bare_error(refusal.status, refusal.message, method, path)
    if refusal.error_code is not None:
        body["error_code"] = refusal.error_code
    return JSONResponse(body, refusal.status)


def invalid(contract: Contract, method: str, path: str, errors: Sequence[Any]) -> JSONResponse:
    """The 422 body. C1 echoes the input, so it can hold names and birth dates."""
    details = [
        {"field": ".".join(str(step) for step in error["loc"]), "message": error["msg"], "type": error["type"]}
        for error in errors
    ]
    if contract.enveloped:
        body = _enveloped_error(422, "请求数据验证失败", "VALIDATION_ERROR", path)
        return JSONResponse({**body, "details": details}, 422)
    for detail, error in zip(details, errors, strict=True):
        detail["input"] = _plain(error.get("input"))
    body = _bare_error(422, "请求数据验证失败", method, path)
    return JSONResponse({**body, "error_code": "VALIDATION_ERROR", "errors": details}, 422)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool | list | dict) else str(value)


def _bare_error(status: int, message: str, method: str, path: str) -> Row:
    return {
        "error": True,
        "message": message,
        "status_code": status,
        "path": path,
        "method": method,
        "timestamp": time.time(),
    }


def _enveloped_error(status: int, message: str, error_code: str, path: str) -> Row:
    return {"code": status, "message": message, "error_code": error_code, "timestamp": _iso_now(), "path": path}


def _iso_now() -> str:
    return datetime.now().isoformat()
