"""Image rows: lists with their unstable order, and the bytes back."""

from __future__ import annotations

import os
import random
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator, BaseModel, StringConstraints

from sandbox.backend import Call, CallDep
from sandbox.contracts import Page, Refusal, Row, listing, success

router = APIRouter(prefix="/api/v1/image-files")
naming_router = APIRouter(prefix="/api/v1/image-files")
"""C3 and C4 only."""

PageNumber = Annotated[int, Query(ge=1)]
PageSize = Annotated[int, Query(ge=1, le=100)]

_FULL_PAGE = 100
_MAX_NAME = 255
_DOWNLOADABLE = ("UPLOADED", "PROCESSED")
_FILE_TYPES = {
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
}
_TIE_MODULUS = 1009
_WITH_PATIENT = (
    "SELECT images.*, patients.patient_id AS patient_identifier"
    " FROM images LEFT JOIN patients ON patients.id = patient_row"
)


@dataclass(frozen=True)
class Asked:
    """Which images, and which page of them. Hashable: a cached list's key."""

    where: str
    values: tuple[int, ...]
    page: int
    page_size: int

    def owned_by(self, user_id: int) -> Asked:
        return replace(self, where=f"{self.where} AND uploaded_by = ?", values=(*self.values, user_id))


@router.get("")
async def list_all(call: CallDep, page: PageNumber = 1, page_size: PageSize = 20) -> Response:
    """No filter: `?patient_id=` and `?filename=` are ignored. An ordinary account sees its own, ever since C1."""
    return _listed(call, Asked("images.deleted = 0", (), page, page_size), own_only=True)


@router.get("/patient/{patient_row}")
async def list_of_patient(call: CallDep, patient_row: int, page: PageNumber = 1, page_size: PageSize = 20) -> Response:
    """In C1/C2 everyone's images, since C3 one's own (a superuser: all). An unknown row id is an empty list."""
    asked = Asked("images.deleted = 0 AND patient_row = ?", (patient_row,), page, page_size)
    return _listed(call, asked, own_only=call.contract.has_sessions)


def _listed(call: Call, asked: Asked, *, own_only: bool) -> Response:
    if own_only and not call.caller.is_superuser:
        asked = asked.owned_by(call.caller.id)
    if call.fault == "shuffle_ties":
        return listing(call.contract, _read(call, asked, random.randrange(1, _TIE_MODULUS)), "items")
    found = call.backend.lists.page(asked, lambda: _read(call, asked, _tie_order(asked)))
    return listing(call.contract, found, "items")


def _tie_order(asked: Asked) -> int:
    """A multiplier that orders rows of one second. The real database gives no order to those, and another one to each
    LIMIT and OFFSET, so small pages show some rows twice and others never; full pages are all but always steady.
    """
    if asked.page_size >= _FULL_PAGE:
        return 0
    return (asked.page * 31 + asked.page_size * 17) % (_TIE_MODULUS - 1) + 1


def _read(call: Call, asked: Asked, tie_order: int) -> Page:
    total = call.database.count(f"SELECT COUNT(*) FROM images WHERE {asked.where}", *asked.values)
    rows = call.database.all(
        f"{_WITH_PATIENT} WHERE {asked.where}"
        f" ORDER BY images.created_at DESC, (images.id * ?) % {_TIE_MODULUS} DESC, images.id DESC LIMIT ? OFFSET ?",
        *asked.values,
        tie_order,
        asked.page_size,
        (asked.page - 1) * asked.page_size,
    )
    return Page([_shown(call, row) for row in rows], total, asked.page, asked.page_size)


@router.get("/{image_id}")
async def get_image(call: CallDep, image_id: int) -> Response:
    return success(call.contract, _shown(call, _image(call, image_id)))


@router.get("/{image_id}/download")
async def download(call: CallDep, image_id: int) -> Response:
    """C1/C2 send the bytes; C3/C4 redirect to a presigned URL, on which an Authorization header is refused."""
    row = _image(call, image_id)
    call.note(row["filename"], row["patient_identifier"])
    if call.contract.has_sessions:
        if row["storage_etag"] is None:
            raise Refusal(404, "影像文件不存在", "RESOURCE_NOT_FOUND")
        if row["status"] not in _DOWNLOADABLE:
            raise Refusal(409, "影像文件尚未完成上传", "BUSINESS_ERROR")
        return RedirectResponse(call.backend.links.url(call.base_url, "GET", row["file_uuid"] + "/object"), 307)
    content = None if call.fault == "storage_fault" else call.backend.storage.read(row["stored_path"])
    if content is None:
        raise Refusal(404, "文件不存在")
    return Response(content, media_type=row["mime_type"])


def _without_separators(name: str) -> str:
    if any(character in "/\\" or unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("文件名不能包含路径分隔符或控制字符")
    return name


class NewName(BaseModel):
    """The name without its extension, which stays."""

    basename: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_without_separators)
    ]


@naming_router.patch("/{image_id}/filename")
async def rename(call: CallDep, image_id: int, wanted: NewName) -> Response:
    """Only the name changes: id, status, content and etag stay."""
    row = _image(call, image_id)
    name = wanted.basename + os.path.splitext(row["filename"])[1]
    if len(name) > _MAX_NAME:
        raise Refusal(422, "文件名过长", "VALIDATION_ERROR")
    call.database.run("UPDATE images SET filename = ? WHERE id = ?", name, image_id)
    call.backend.lists.clear()
    return success(call.contract, _shown(call, _image(call, image_id)))


def _image(call: Call, image_id: int) -> Any:
    row = call.database.one(f"{_WITH_PATIENT} WHERE images.id = ? AND images.deleted = 0", image_id)
    own_only = call.contract.has_sessions and not call.caller.is_superuser
    if row is None or (own_only and row["uploaded_by"] != call.caller.id):
        raise Refusal(404, "影像文件不存在", "RESOURCE_NOT_FOUND" if call.contract.has_sessions else None)
    return row


def insert_image(call: Call, **columns: Any) -> int:
    """A new row, timed to the second as the real one is."""
    now = int(call.backend.clock.now())
    columns |= {"uploaded_by": call.caller.id, "created_at": now}
    columns["uploaded_at"] = now if columns["status"] == "UPLOADED" else None
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    image_id = call.database.run(f"INSERT INTO images ({names}) VALUES ({marks})", *columns.values())
    call.backend.lists.clear()
    return image_id


def _shown(call: Call, row: Any) -> Row:
    shown = {
        "id": row["id"],
        "file_uuid": row["file_uuid"],
        "original_filename": row["filename"],
        "file_type": _FILE_TYPES.get(os.path.splitext(row["filename"])[1].lower(), "OTHER"),
        "mime_type": row["mime_type"],
        "file_size": row["file_size"],
        "thumbnail_path": None,
        "uploaded_by": row["uploaded_by"],
        "uploader_name": None,
        "patient_id": row["patient_row"],
        "modality": None,
        "body_part": None,
        "study_date": _iso(row["created_at"]),
        "description": row["description"],
        "annotation": None,
        "status": row["status"],
        "upload_progress": 0 if row["uploaded_at"] is None else 100,
        "created_at": _iso(row["created_at"]),
        "uploaded_at": _iso(row["uploaded_at"]),
    }
    if call.contract.has_sessions:
        return shown | {"storage_etag": row["storage_etag"], "patient_identifier": row["patient_identifier"]}
    return shown | {"storage_path": row["stored_path"].removeprefix("files/")}


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).isoformat()
