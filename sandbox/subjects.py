"""The patient and file of a request, found outside its handler, so that a fault can pick one of them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_plus

from sandbox.database import Database
from sandbox.journal import Entry

_MULTIPART_FILENAME = re.compile(rb'filename="((?:[^"\\]|\\.)*)"')
_MULTIPART_PATIENT = re.compile(rb'name="patient_id"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)')


def describe(database: Database, entry: Entry, query: str, content_type: str, body: bytes) -> str:
    """Fill the journal entry's file name and patient, and answer all there is to match on, as one text."""
    about: list[str] = [entry.path, unquote_plus(query)]
    if content_type.startswith("multipart/"):
        about += _from_form(database, entry, body)
    elif body and content_type.startswith("application/json"):
        about += _from_json(database, entry, body)
    about += _from_path(database, entry)
    return "\n".join(about)


def _from_form(database: Database, entry: Entry, body: bytes) -> list[str]:
    name, patient = _MULTIPART_FILENAME.search(body), _MULTIPART_PATIENT.search(body)
    if name is not None:
        entry.filename = name[1].decode(errors="replace")
    if patient is not None:
        entry.patient_id = _hospital_number(database, patient[1].decode(errors="replace"))
    return [entry.filename or "", entry.patient_id or ""]


def _from_json(database: Database, entry: Entry, body: bytes) -> list[str]:
    try:
        sent: Any = json.loads(body)
    except ValueError:
        return []
    if not isinstance(sent, dict):
        return []
    entry.filename = str(sent["filename"]) if "filename" in sent else None
    if "patient_id" in sent:
        is_row_id = entry.filename is not None
        number = str(sent["patient_id"])
        entry.patient_id = _hospital_number(database, number) if is_row_id else number
    return [entry.filename or "", entry.patient_id or "", str(sent.get("name", ""))]


def _from_path(database: Database, entry: Entry) -> list[str]:
    """The file behind a session, a part or a download; the patient behind a list."""
    steps = entry.path.strip("/").split("/")
    if entry.operation == "list_images" and steps[-2] == "patient":
        entry.patient_id = _hospital_number(database, steps[-1])
        return [entry.patient_id]
    found = _file_behind(database, entry.operation, steps)
    if found is None:
        return []
    entry.filename = found["filename"]
    entry.patient_id = _hospital_number(database, str(found["patient_row"]))
    return [entry.filename or "", entry.patient_id]


def _file_behind(database: Database, operation: str, steps: list[str]) -> Any:
    columns = "SELECT filename, patient_row FROM"
    if operation in ("complete_session", "get_session"):
        where = "upload_sessions WHERE session_id = ?1 OR CAST(image_id AS TEXT) = ?1"
        return database.one(f"{columns} {where}", steps[4])
    if operation in ("put_part", "fetch_object"):
        return database.one(f"{columns} upload_sessions WHERE file_uuid = ?", steps[2] if len(steps) > 2 else "")
    if operation == "download":
        return database.one(f"{columns} images WHERE CAST(id AS TEXT) = ?", steps[-2])
    return None


def _hospital_number(database: Database, row_id: str) -> str:
    """The row id itself if no patient has it."""
    row = database.one("SELECT patient_id FROM patients WHERE id = ?", int(row_id)) if row_id.isdecimal() else None
    return row_id if row is None else str(row["patient_id"])
