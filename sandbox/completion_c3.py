"""Completing an upload in C3: the image row is there already, and a fault half-way leaves it UPLOADING for ever."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from sandbox.backend import Call, CallDep
from sandbox.contracts import Refusal, success
from sandbox.upload_sessions import (
    Completion,
    StorageUnavailableError,
    check_owner,
    complete_object,
    note_session,
    storage_down,
)

router = APIRouter(prefix="/api/v1/upload/sessions")


@router.post("/{image_id}/complete")
async def complete(call: CallDep, image_id: int, completion: Completion) -> Response:
    image, session = _open(call, image_id)
    note_session(call, session)
    if image["status"] not in ("UPLOADING", "FAILED"):
        raise Refusal(400, "当前影像状态不允许完成上传")
    etag = _object_etag(call, session, completion)
    if call.backend.storage.object_size(session["file_uuid"]) != session["expected_size"]:
        _set(call, image_id, "FAILED", None)
        raise Refusal(400, "对象大小校验失败")
    _set(call, image_id, "UPLOADED", etag)
    data = {
        "image_file_id": image_id,
        "file_uuid": session["file_uuid"],
        "status": "UPLOADED",
        "upload_progress": 100,
    }
    return success(call.contract, data, "文件上传完成")


def _open(call: Call, image_id: int) -> tuple[Any, Any]:
    image = call.database.one("SELECT * FROM images WHERE id = ? AND deleted = 0", image_id)
    session = call.database.one("SELECT * FROM upload_sessions WHERE image_id = ?", image_id)
    if image is None or session is None:
        raise Refusal(404, "影像文件不存在")
    check_owner(call, image["uploaded_by"])
    return image, session


def _object_etag(call: Call, session: Any, completion: Completion) -> str:
    """The storage forgets an upload once its object is made, so every later try is refused there: 502 for good."""
    if session["object_etag"] is not None or completion.upload_id != session["upload_id"]:
        raise storage_down()
    try:
        etag = complete_object(call, session, completion.parts)
    except StorageUnavailableError as error:
        raise storage_down() from error
    if call.fault == "storage_fault":
        raise storage_down()
    return etag


def _set(call: Call, image_id: int, status: str, etag: str | None) -> None:
    uploaded_at = int(time.time()) if status == "UPLOADED" else None
    call.database.run(
        "UPDATE images SET status = ?, storage_etag = ?, uploaded_at = ? WHERE id = ?",
        status,
        etag,
        uploaded_at,
        image_id,
    )
    call.backend.lists.clear()
