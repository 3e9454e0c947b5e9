"""Completing an upload in C4: durable and idempotent, with a lease that outlives a fault."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from sandbox.backend import Call, CallDep
from sandbox.contracts import Refusal, success
from sandbox.images import insert_image
from sandbox.storage import object_path
from sandbox.upload_sessions import (
    Completion,
    StorageUnavailableError,
    check_owner,
    complete_object,
    note_session,
    set_status,
    storage_down,
)

router = APIRouter(prefix="/api/v1/upload/sessions")


@router.get("/{session_id}")
async def get_session(call: CallDep, session_id: str) -> Response:
    return success(call.contract, _shown(_open(call, session_id)))


@router.post("/{session_id}/complete")
async def complete(call: CallDep, session_id: str, completion: Completion) -> Response:
    session = _open(call, session_id)
    if session["status"] == "COMPLETED":
        return success(call.contract, _shown(session), "文件上传完成")
    _take_lease(call, session, completion)
    etag = _object_etag(call, session, completion)
    if call.fault == "completion_stalls":
        raise storage_down()
    if call.backend.storage.object_size(session["file_uuid"]) != session["expected_size"]:
        set_status(call, session, "FAILED")
        raise Refusal(400, "对象大小校验失败", "BUSINESS_ERROR")
    make_image(call, session, etag)
    return success(call.contract, _shown(_open(call, session_id)), "文件上传完成")


def _open(call: Call, session_id: str) -> Any:
    session = call.database.one("SELECT * FROM upload_sessions WHERE session_id = ?", session_id)
    if session is None:
        raise Refusal(404, "上传会话不存在", "RESOURCE_NOT_FOUND")
    check_owner(call, session["uploaded_by"])
    note_session(call, session)
    return session


def _take_lease(call: Call, session: Any, completion: Completion) -> None:
    """While the lease runs, any other completion gets 409, also one by the account whose own attempt failed."""
    if session["status"] == "COMPLETING" and session["lease_until"] > call.backend.clock.now():
        raise Refusal(409, "上传正在确认，请稍后查询", "BUSINESS_ERROR")
    if session["status"] not in ("READY", "COMPLETING"):
        raise Refusal(409, "当前上传会话不允许完成", "BUSINESS_ERROR")
    if completion.file_hash and completion.file_hash != session["file_hash"]:
        raise Refusal(400, "文件哈希与创建会话时不一致", "BUSINESS_ERROR")
    call.database.run(
        "UPDATE upload_sessions SET status = 'COMPLETING', lease_until = ? WHERE upload_id = ?",
        call.backend.clock.now() + call.backend.options.lease_seconds,
        session["upload_id"],
    )


def _object_etag(call: Call, session: Any, completion: Completion) -> str:
    """A fault keeps COMPLETING and the lease; after it an object that was made is found, not made again."""
    if call.fault == "storage_fault":
        raise storage_down()
    if session["object_etag"] is not None:
        return str(session["object_etag"])
    try:
        return complete_object(call, session, completion.parts)
    except StorageUnavailableError as error:
        raise storage_down() from error


def make_image(call: Call, session: Any, etag: str) -> None:
    with call.database.transaction():
        image_id = insert_image(
            call,
            file_uuid=session["file_uuid"],
            filename=session["filename"],
            mime_type=session["mime_type"],
            file_size=session["expected_size"],
            status="UPLOADED",
            patient_row=session["patient_row"],
            description=session["description"],
            stored_path=object_path(session["file_uuid"]),
            storage_etag=etag,
        )
        call.database.run(
            "UPDATE upload_sessions SET status = 'COMPLETED', image_id = ? WHERE upload_id = ?",
            image_id,
            session["upload_id"],
        )


def _shown(session: Any) -> dict[str, Any]:
    return {
        "session_id": session["session_id"],
        "file_uuid": session["file_uuid"],
        "status": session["status"],
        "image_file_id": session["image_id"],
        "upload_progress": 100 if session["status"] == "COMPLETED" else 0,
    }
