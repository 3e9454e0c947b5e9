"""/sandbox/…: what a test may look at and change, none of it part of XieHe's API."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from sandbox.backend import Backend, Call, backend_of
from sandbox.completion_c4 import make_image
from sandbox.contracts import Refusal
from sandbox.faults import FaultRule
from sandbox.tokens import Identity

router = APIRouter(prefix="/sandbox")


class NewStatus(BaseModel):
    """What XieHe's AI worker or its archive sets on an image, whose content stays as it is."""

    status: Literal["UPLOADED", "PROCESSING", "PROCESSED", "FAILED", "ARCHIVED"]


class Revocation(BaseModel):
    """`including_fixed`: the command line's token goes bad as well."""

    including_fixed: bool = True


class Reconciliation(BaseModel):
    """What XieHe's job makes of each session that is COMPLETING."""

    status: Literal["COMPLETED", "FAILED", "EXPIRED", "CANCELLED"] = "COMPLETED"


class ClockChange(BaseModel):
    """`stands`: whether the clock is to stand still from now on; None leaves that as it is."""

    stands: bool | None = None
    seconds_pass: float = 0.0


@router.post("/faults")
async def add_faults(request: Request, rules: list[FaultRule]) -> list[dict[str, Any]]:
    """Adds to the rules in force, and shows them all with how often each has fired."""
    faults = backend_of(request).faults
    faults.add(rules)
    return faults.report()


@router.get("/faults")
async def show_faults(request: Request) -> list[dict[str, Any]]:
    return backend_of(request).faults.report()


@router.delete("/faults")
async def clear_faults(request: Request, keep_held: bool = False) -> dict[str, bool]:
    """Removes all rules; releases what is held, unless it is to stay held."""
    backend_of(request).faults.clear()
    return {"ok": True} if keep_held else await let_go(request)


@router.post("/let-go")
async def let_go(request: Request) -> dict[str, bool]:
    """Releases the requests that are held now."""
    backend_of(request).faults.let_go()
    return {"ok": True}


@router.post("/clock")
async def set_clock(request: Request, change: ClockChange) -> dict[str, float]:
    clock = backend_of(request).clock
    clock.let_pass(change.seconds_pass)
    if change.stands is not None:
        (clock.stop if change.stands else clock.run)()
    return {"now": clock.now()}


@router.get("/state")
async def state(request: Request, hashes: bool = True) -> dict[str, Any]:
    backend = backend_of(request)
    images = _images(backend, hashes)
    return {
        "contract": int(backend.contract),
        "patients": _patients(backend),
        "images": images,
        "sessions": _sessions(backend),
        "orphans": [row for row in images if row["patient_row_id"] is None and row["has_content"]],
        "requests": backend.journal.counts(),
    }


def _patients(backend: Backend) -> list[dict[str, Any]]:
    rows = backend.database.all("SELECT id, patient_id, name, gender, birth_date, deleted FROM patients ORDER BY id")
    return [{**dict(row), "deleted": bool(row["deleted"])} for row in rows]


def _images(backend: Backend, hashes: bool) -> list[dict[str, Any]]:
    rows = backend.database.all(
        "SELECT images.id, patient_row AS patient_row_id, patients.patient_id, filename, status, description,"
        " mime_type, file_size AS size, uploaded_by, images.created_at, stored_path, storage_etag"
        " FROM images LEFT JOIN patients ON patients.id = patient_row WHERE images.deleted = 0 ORDER BY images.id"
    )
    images = [dict(row) for row in rows]
    for image in images:
        path, etag = image.pop("stored_path"), image.pop("storage_etag")
        image["has_content"] = etag is not None or not backend.contract.has_sessions
        content = backend.storage.read(path) if hashes else None
        image["sha256"] = None if content is None else hashlib.sha256(content).hexdigest()
    return images


def _sessions(backend: Backend) -> list[dict[str, Any]]:
    rows = backend.database.all("SELECT session_id, filename, status, image_id FROM upload_sessions ORDER BY rowid")
    return [dict(row) for row in rows]


@router.post("/reconcile")
async def reconcile(request: Request, wanted: Reconciliation) -> dict[str, int]:
    """C4's job that finishes sessions left COMPLETING; the real one comes hours later."""
    backend = backend_of(request)
    stalled = backend.database.all("SELECT * FROM upload_sessions WHERE status = 'COMPLETING'")
    for session in stalled:
        if wanted.status == "COMPLETED":
            owner = Call(backend, request, Identity(session["uploaded_by"], "", False))
            make_image(owner, session, session["object_etag"])
        else:
            change = "UPDATE upload_sessions SET status = ? WHERE upload_id = ?"
            backend.database.run(change, wanted.status, session["upload_id"])
    return {"sessions": len(stalled)}


@router.get("/requests")
async def requests(request: Request) -> list[dict[str, Any]]:
    return backend_of(request).journal.entries()


@router.delete("/requests")
async def clear_requests(request: Request) -> dict[str, bool]:
    backend_of(request).journal.clear()
    return {"ok": True}


@router.get("/images/{image_id}/bytes")
async def image_bytes(request: Request, image_id: int) -> Response:
    """What is stored for this image now, which need not be what was sent for it."""
    backend = backend_of(request)
    row = backend.database.one("SELECT stored_path FROM images WHERE id = ?", image_id)
    content = None if row is None else backend.storage.read(row["stored_path"])
    if content is None:
        raise Refusal(404, "no bytes are stored for this image")
    return Response(content, media_type="application/octet-stream")


@router.post("/images/{image_id}/status")
async def set_status(request: Request, image_id: int, wanted: NewStatus) -> dict[str, bool]:
    backend = backend_of(request)
    backend.database.run("UPDATE images SET status = ? WHERE id = ?", wanted.status, image_id)
    backend.lists.clear()
    return {"ok": True}


@router.delete("/images/{image_id}")
async def delete_image(request: Request, image_id: int, behind_cache: bool = False) -> dict[str, bool]:
    """Deletes it as XieHe's own pages do; `behind_cache` leaves the cached lists of C3/C4 stale."""
    return _changed(backend_of(request), "UPDATE images SET deleted = 1 WHERE id = ?", image_id, behind_cache)


@router.post("/patients/{row_id}/soft-delete")
async def soft_delete_patient(request: Request, row_id: int, behind_cache: bool = False) -> dict[str, bool]:
    return _changed(backend_of(request), "UPDATE patients SET deleted = 1 WHERE id = ?", row_id, behind_cache)


def _changed(backend: Backend, sql: str, row_id: int, behind_cache: bool) -> dict[str, bool]:
    backend.database.run(sql, row_id)
    if not behind_cache:
        backend.lists.clear()
    return {"ok": True}


@router.post("/revoke-tokens")
async def revoke_tokens(request: Request, revocation: Revocation | None = None) -> dict[str, bool]:
    """Every token issued until now is refused; a log-in gives a good one."""
    backend_of(request).tokens.revoke_all((revocation or Revocation()).including_fixed)
    return {"ok": True}


@router.post("/reset")
async def reset(request: Request) -> dict[str, bool]:
    """Empty as on the first start: data, faults, journal, and the fixed token good again."""
    backend = backend_of(request)
    backend.database.wipe()
    backend.storage.wipe()
    backend.lists.clear()
    backend.faults.clear()
    backend.faults.let_go()
    backend.clock.run()
    backend.journal.clear()
    backend.tokens.restore_fixed()
    return {"ok": True}
