"""Patients: substring search, and creation with the database's idea of what is equal."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from sandbox.backend import Call, CallDep
from sandbox.collation import fold, like_pattern
from sandbox.contracts import Contract, Page, Refusal, Row, listing, success

router = APIRouter(prefix="/api/v1/patients")

# Between looking for the id and inserting it the real backend waits for its database, and others come in between.
_RACE_GAP_SECONDS = 0.002

_GENDERS = {
    **dict.fromkeys(("male", "男"), "男"),
    **dict.fromkeys(("female", "女"), "女"),
    **dict.fromkeys(("other", "其他"), "其他"),
}

_EXTRA_FIELDS = ("email", "address", "emergency_contact_name", "emergency_contact_phone", "id_card", "insurance_number")


class NewPatient(BaseModel):
    patient_id: str = Field(max_length=50)
    name: str = Field(max_length=100)
    gender: str
    birth_date: date | None = None
    phone: str | None = Field(default=None, max_length=20)
    email: str | None = Field(default=None, max_length=100)
    address: str | None = Field(default=None, max_length=500)
    emergency_contact_name: str | None = Field(default=None, max_length=100)
    emergency_contact_phone: str | None = Field(default=None, max_length=20)
    id_card: str | None = Field(default=None, max_length=18)
    insurance_number: str | None = Field(default=None, max_length=50)


class NewPatientLenient(NewPatient):
    """C3/C4 take an empty birth date for none."""

    @field_validator("birth_date", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any, _: ValidationInfo) -> Any:
        return None if value == "" else value


@router.get("")
async def search_patients(
    call: CallDep,
    search: str | None = None,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    found = call.backend.lists.page(
        ("patients", search, page, page_size), lambda: _search(call, search or "", page, page_size)
    )
    return listing(call.contract, found, "patients")


def _search(call: Call, search: str, page: int, page_size: int) -> Page:
    where, values = "deleted = 0", []
    if search:
        matches = (f"{column} LIKE ? ESCAPE '\\'" for column in ("patient_id_folded", "name_folded", "phone_folded"))
        where += f" AND ({' OR '.join(matches)})"
        values = [like_pattern(search)] * 3
    total = call.database.count(f"SELECT COUNT(*) FROM patients WHERE {where}", *values)
    rows = call.database.all(
        f"SELECT * FROM patients WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?",
        *values,
        page_size,
        (page - 1) * page_size,
    )
    return Page([_shown(row) for row in rows], total, page, page_size)


@router.get("/{row_id}")
async def get_patient(call: CallDep, row_id: int) -> Response:
    row = call.database.one("SELECT * FROM patients WHERE id = ? AND deleted = 0", row_id)
    if row is None:
        raise Refusal(404, "患者未找到", "RESOURCE_NOT_FOUND")
    return success(call.contract, _shown(row))


async def create_patient_strict(call: CallDep, patient: NewPatient) -> Response:
    return await _create(call, patient)


async def create_patient_lenient(call: CallDep, patient: NewPatientLenient) -> Response:
    return await _create(call, patient)


def creation_route(contract: Contract) -> APIRouter:
    """POST /patients, with the contract's own idea of an empty birth date."""
    creation = APIRouter(prefix="/api/v1/patients")
    handler = create_patient_lenient if contract.has_sessions else create_patient_strict
    creation.add_api_route("", handler, methods=["POST"], response_model=None)
    return creation


async def _create(call: Call, patient: NewPatient) -> Response:
    folded = fold(patient.patient_id)
    call.note(patient_id=patient.patient_id)
    holder = call.database.one("SELECT deleted FROM patients WHERE patient_id_folded = ?", folded)
    if holder is not None and (call.contract.has_sessions or not holder["deleted"]):
        raise _exists(patient.patient_id)
    await asyncio.sleep(_RACE_GAP_SECONDS)
    try:
        row_id = _insert(call, patient, folded)
    except sqlite3.IntegrityError as error:
        raise _lost_race(call, patient.patient_id, folded) from error
    call.backend.lists.clear()
    row = call.database.one("SELECT * FROM patients WHERE id = ?", row_id)
    return success(call.contract, _shown(row), "患者创建成功", code=201)


def _insert(call: Call, patient: NewPatient, folded: str) -> int:
    return call.database.run(
        "INSERT INTO patients (patient_id, patient_id_folded, name, name_folded, gender, birth_date, phone,"
        " phone_folded, extra, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        patient.patient_id,
        folded,
        patient.name,
        fold(patient.name),
        _GENDERS.get(patient.gender.lower(), "未知"),
        patient.birth_date.isoformat() if patient.birth_date else None,
        patient.phone,
        fold(patient.phone) if patient.phone else None,
        json.dumps(patient.model_dump(include=set(_EXTRA_FIELDS))),
        int(time.time()),
    )


def _lost_race(call: Call, patient_id: str, folded: str) -> Refusal:
    """The unique index spoke: always one row. C1 masks it, and C1/C2 didn't think of soft-deleted patients."""
    holder = call.database.one("SELECT deleted FROM patients WHERE patient_id_folded = ?", folded)
    soft_deleted = holder is not None and bool(holder["deleted"])
    if call.contract == Contract.C1 or (soft_deleted and not call.contract.has_sessions):
        return Refusal(500, "患者创建过程中发生错误")
    return _exists(patient_id)


def _exists(patient_id: str) -> Refusal:
    return Refusal(400, f"患者ID {patient_id} 已存在", "BUSINESS_ERROR")


def _shown(row: Any) -> Row:
    created_at = datetime.fromtimestamp(row["created_at"]).isoformat()
    extra = json.loads(row["extra"])
    return {
        **{column: row[column] for column in ("id", "patient_id", "name", "gender", "birth_date", "phone")},
        **{field: extra.get(field) for field in _EXTRA_FIELDS},
        "age": _age(row["birth_date"]),
        "status": "active",
        "created_at": created_at,
        "updated_at": created_at,
    }


def _age(birth_date: str | None) -> int | None:
    if birth_date is None:
        return None
    born, today = date.fromisoformat(birth_date), date.today()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def patient_row(request_call: Call, row_id: int) -> Any:
    """The patient an upload names; soft-deleted ones are still there for C1–C3's foreign key."""
    return request_call.database.one("SELECT * FROM patients WHERE id = ?", row_id)
