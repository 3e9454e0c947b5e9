"""POST /upload/single, C1 and C2: one multipart request, stored under its name and the second it came in."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile

from sandbox.backend import Call, CallDep
from sandbox.contracts import Contract, Refusal, success
from sandbox.images import insert_image

router = APIRouter(prefix="/api/v1/upload")

EXTENSIONS = frozenset({".dcm", ".dicom", ".jpg", ".jpeg", ".png", ".tif", ".tiff"})
MIME_TYPES = frozenset({"application/dicom", "image/jpeg", "image/png", "image/tiff", "image/x-tiff"})

# The real backend guesses a modality and a body part from these, and its database knows none of the guesses.
_DEADLY_WORDS = (
    *("ct", "mr", "us", "断层", "磁共振", "超声"),
    *("head", "brain", "头", "颅", "脑", "chest", "lung", "胸", "肺"),
    *("abdomen", "腹", "肝", "肾", "spine", "脊柱", "椎"),
)


@dataclass(frozen=True)
class Upload:
    """The form of one upload. `patient_id` is a row id when it is all digits, else no patient's: an orphan."""

    filename: str
    mime_type: str
    content: bytes
    patient_id: str | None
    description: str | None


@router.post("/single")
async def upload_single(
    call: CallDep,
    file: Annotated[UploadFile, File()],
    patient_id: Annotated[str | None, Form()] = None,
    description: Annotated[str | None, Form()] = None,
) -> Response:
    upload = Upload(file.filename or "", file.content_type or "", await file.read(), patient_id, description)
    call.note(upload.filename, patient_id)
    try:
        _check_type(upload)
        _store(call, upload)
    except Refusal as refusal:
        if call.contract == Contract.C1:
            raise _masked() from refusal
        raise
    return success(call.contract, _receipt(upload), "文件上传成功")


def _masked() -> Refusal:
    """C1's one answer to every refusal in here, and C2's to what its code didn't expect."""
    return Refusal(500, "文件上传失败")


def _check_type(upload: Upload) -> None:
    if os.path.splitext(upload.filename)[1].lower() not in EXTENSIONS or upload.mime_type not in MIME_TYPES:
        raise Refusal(400, "不支持的文件类型")


def _store(call: Call, upload: Upload) -> None:
    """The bytes are written first. What fails afterwards removes the file of that name and second, of any patient."""
    stored_path = call.backend.storage.named_path(upload.filename)
    try:
        call.backend.storage.write_named(stored_path, upload.content)
        if call.fault == "storage_fault":
            raise OSError("scripted: the disk is full")
        _insert(call, upload, stored_path)
    except (OSError, ValueError, OverflowError, sqlite3.Error) as error:
        call.backend.storage.remove(stored_path)
        raise _masked() from error


def _insert(call: Call, upload: Upload, stored_path: str) -> None:
    if any(word in (upload.description or "").lower() for word in _DEADLY_WORDS):
        raise ValueError("Data truncated for column 'modality'")
    is_row_id = upload.patient_id is not None and upload.patient_id.isdigit()
    insert_image(
        call,
        file_uuid=str(uuid.uuid4()),
        filename=upload.filename,
        mime_type=upload.mime_type,
        file_size=len(upload.content),
        status="UPLOADED",
        patient_row=int(upload.patient_id or "") if is_row_id else None,
        description=upload.description,
        stored_path=stored_path,
    )


def _receipt(upload: Upload) -> dict[str, object]:
    """`file_id` is not the image's id, and no call takes it."""
    now, size = time.time(), len(upload.content)
    file_id = hashlib.md5(f"{upload.filename}_{size}_{now}".encode(), usedforsecurity=False).hexdigest()
    return {
        "file_id": file_id,
        "filename": upload.filename,
        "size": size,
        "mime_type": upload.mime_type,
        "upload_url": f"/api/v1/files/{file_id}",
        "status": "uploaded",
        "created_at": datetime.fromtimestamp(now).isoformat(),
    }
