"""Upload sessions, C3 and C4: create, and what both share. Completing differs and has rooms of its own."""

from __future__ import annotations

import os
import re
import sqlite3
import unicodedata
import uuid
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, field_validator

from sandbox.backend import Call, CallDep
from sandbox.contracts import Contract, Refusal, UnhandledBackendError, success
from sandbox.images import insert_image
from sandbox.patients import patient_row
from sandbox.storage import BUCKET, can_sign, multipart_etag, object_path
from sandbox.uploads_single import EXTENSIONS, MIME_TYPES

router = APIRouter(prefix="/api/v1/upload/sessions")

_SESSION_MIME_TYPES = MIME_TYPES | {"application/octet-stream"}


class NewSession(BaseModel):
    filename: str = Field(min_length=1, max_length=255)
    size: int = Field(gt=0)
    mime_type: str = Field(max_length=100)
    patient_id: int | None = None
    description: str | None = None
    team_ids: list[int] = Field(default_factory=list)
    file_hash: str | None = None

    @field_validator("filename")
    @classmethod
    def _printable(cls, value: str) -> str:
        if any(unicodedata.category(character) == "Cc" for character in value):
            raise ValueError("文件名不能包含控制字符")
        return value


class Part(BaseModel):
    part_number: int = Field(ge=1)
    etag: str


class Completion(BaseModel):
    parts: list[Part] = Field(min_length=1)
    upload_id: str | None = None
    file_hash: str | None = None


class StorageUnavailableError(Exception):
    """The object storage said no, for whatever reason."""


def storage_down() -> Refusal:
    return Refusal(502, "对象存储服务不可用")


@router.post("")
async def create_session(call: CallDep, wanted: NewSession) -> Response:
    """Storage down, or a name it cannot sign: 502. An unknown patient: 404 in C4, an unhandled error in C3."""
    call.note(wanted.filename)
    _check_type(wanted)
    _check_patient(call, wanted.patient_id)
    if call.fault == "storage_fault" or not can_sign(wanted.filename):
        if call.contract == Contract.C4:
            _insert(call, wanted, status="FAILED")
        raise storage_down()
    session = _insert(call, wanted, status="READY" if call.contract == Contract.C4 else "UPLOADING")
    key = "session_id" if call.contract == Contract.C4 else "image_file_id"
    data = {
        key: session["session_id"] if call.contract == Contract.C4 else session["image_id"],
        "file_uuid": session["file_uuid"],
        "storage_bucket": BUCKET,
        "object_key": session["object_key"],
        "part_size": call.backend.options.part_size_bytes,
        "expires_in": int(call.backend.options.link_seconds),
        "parts": _part_links(call, session),
    }
    if call.contract == Contract.C3:
        data["upload_id"] = session["upload_id"]
    return success(call.contract, data, "上传会话创建成功")


def _check_type(wanted: NewSession) -> None:
    if os.path.splitext(wanted.filename)[1].lower() not in EXTENSIONS:
        raise Refusal(400, "不支持的文件扩展名")
    if wanted.mime_type not in _SESSION_MIME_TYPES:
        raise Refusal(400, "不支持的文件类型")


def _check_patient(call: Call, row_id: int | None) -> None:
    if row_id is None:
        return
    patient = patient_row(call, row_id)
    if patient is not None:
        call.note(patient_id=patient["patient_id"])
    if call.contract == Contract.C3 and patient is None:
        raise UnhandledBackendError("foreign key constraint fails")
    if call.contract == Contract.C4 and (patient is None or patient["deleted"]):
        raise Refusal(404, "患者不存在", "RESOURCE_NOT_FOUND")


def _insert(call: Call, wanted: NewSession, status: str) -> dict[str, Any]:
    file_uuid = str(uuid.uuid4())
    safe_name = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted.filename)[-180:]
    shared = {
        "file_uuid": file_uuid,
        "filename": wanted.filename,
        "mime_type": wanted.mime_type,
        "patient_row": wanted.patient_id,
        "description": wanted.description,
    }
    session = shared | {
        "upload_id": uuid.uuid4().hex,
        "session_id": uuid.uuid4().hex if call.contract == Contract.C4 else None,
        "image_id": None,
        "expected_size": wanted.size,
        "file_hash": wanted.file_hash,
        "uploaded_by": call.caller.id,
        "object_key": f"{file_uuid}/{safe_name}",
        "status": status,
    }
    with call.database.transaction():
        if call.contract == Contract.C3:
            path = object_path(file_uuid)
            session["image_id"] = insert_image(
                call, **shared, file_size=wanted.size, status="UPLOADING", stored_path=path
            )
        names, marks = ", ".join(session), ", ".join("?" * len(session))
        call.database.run(f"INSERT INTO upload_sessions ({names}) VALUES ({marks})", *session.values())
    return session


def _part_links(call: Call, session: dict[str, Any]) -> list[dict[str, Any]]:
    parts = -(-session["expected_size"] // call.backend.options.part_size_bytes)
    return [
        {
            "part_number": number,
            "url": call.backend.links.url(
                call.base_url, "PUT", session["object_key"], f"&partNumber={number}&uploadId={session['upload_id']}"
            ),
        }
        for number in range(1, parts + 1)
    ]


def note_session(call: Call, session: sqlite3.Row) -> None:
    patient = patient_row(call, session["patient_row"]) if session["patient_row"] is not None else None
    call.note(session["filename"], None if patient is None else patient["patient_id"])


def check_owner(call: Call, uploaded_by: int) -> None:
    if uploaded_by != call.caller.id:
        raise Refusal(403, "无权操作此上传", "PERMISSION_DENIED")


def complete_object(call: Call, session: sqlite3.Row, parts: list[Part]) -> str:
    """Make the object of the uploaded parts, once. Answers its etag; the storage's own refusals all look alike."""
    stored = {
        row["part_number"]: row
        for row in call.database.all("SELECT * FROM parts WHERE upload_id = ?", session["upload_id"])
    }
    numbers = [part.part_number for part in parts]
    if numbers != sorted(set(numbers)) or any(_differs(part, stored) for part in parts):
        raise StorageUnavailableError("InvalidPart")
    if any(stored[number]["size"] != call.backend.options.part_size_bytes for number in numbers[:-1]):
        raise StorageUnavailableError("EntityTooSmall")
    call.backend.storage.join_parts(session["upload_id"], session["file_uuid"], numbers)
    etag = multipart_etag([stored[number]["md5"] for number in numbers])
    call.database.run("UPDATE upload_sessions SET object_etag = ? WHERE upload_id = ?", etag, session["upload_id"])
    call.database.run("DELETE FROM parts WHERE upload_id = ?", session["upload_id"])
    return etag


def _differs(part: Part, stored: dict[int, sqlite3.Row]) -> bool:
    row = stored.get(part.part_number)
    return row is None or row["md5"] != part.etag.strip('"')


def set_status(call: Call, session: sqlite3.Row, status: str) -> None:
    call.database.run("UPDATE upload_sessions SET status = ? WHERE upload_id = ?", status, session["upload_id"])
