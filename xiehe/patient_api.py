"""Finds or creates a patient. XieHe's database ignores case, width and accents, and keeps the ids it deleted."""

from __future__ import annotations

from enum import Enum

from domain.patient_identity import IdMatch, collation_key, match_patient_id
from errors import BackendUnavailableError, PatientDeletedInXieHeError, PatientIdCollisionError, PatientRejectedError
from models import Contract, NewPatient, PatientLookup, RemotePatient
from xiehe.contracts import SESSION_CONTRACTS, patient_of
from xiehe.http.responses import BackendResponse, Delivery, ExhaustedError, Json, TransientError, payload_of
from xiehe.http.transport import Call, Transport
from xiehe.lists import ListReader


class _Closeness(Enum):
    """How a listed patient id compares with ours, the closest first."""

    SAME = 0
    FORM_DIFFERS = 1
    COLLIDES = 2
    OTHER = 3


class _ExistsError(TransientError):
    """Create says that the id exists (C1/C2: possibly, by a bare 500), but it was not to be found."""


class PatientApi:
    """The patients' part of the contract."""

    def __init__(self, transport: Transport, lists: ListReader) -> None:
        self._transport = transport
        self._lists = lists

    async def find(self, patient_id: str) -> PatientLookup | None:
        """The patient with this id: exactly, else in another case or width. Other accents are another patient."""
        return _chosen(patient_id, await self._hits(patient_id, 0))

    async def create(self, new: NewPatient, contract: Contract) -> PatientLookup:
        """Creates the patient, or finds the one with that id. Raises as :meth:`api_client.XieHeClient`."""
        attempt = _Creation(self._transport, self, new, contract)
        try:
            return await self._transport.retried("create_patient", attempt.once)
        except ExhaustedError as error:
            if isinstance(error.last, _ExistsError):
                return await self._settled_by_scan(new.patient_id)
            raise BackendUnavailableError(error.detail, error.evidence) from error.last

    async def look(self, patient_id: str, look: int) -> list[tuple[RemotePatient, Json]]:
        """Listed patients that XieHe's database may take for this one; ``look`` counts repeated questions."""
        hits = await self._hits(patient_id, look)
        return [(patient, row) for patient, row in hits if _closeness(patient_id, patient) is not _Closeness.OTHER]

    async def _hits(self, patient_id: str, look: int) -> list[tuple[RemotePatient, Json]]:
        unsearchable = "\\" in patient_id
        return await self._lists.patients(None if unsearchable else patient_id.strip(), look)

    async def _settled_by_scan(self, patient_id: str) -> PatientLookup:
        """Reads all patients: the search compares character by character, the unique index does not (ß, ss)."""
        rows = await self._lists.patients(None, self._transport.policy.attempts + 1)
        found = _chosen(patient_id, rows)
        if found is not None:
            return found
        _raise_if_collision(patient_id, rows)
        raise PatientDeletedInXieHeError(
            f"患者编号 {patient_id} 属于 XieHe 中已被删除的患者，无法通过接口使用：请在 XieHe 数据库中恢复该患者，"
            "或为其换用其他编号。"
        )


class _Creation:
    """The attempts at creating one patient. Each but a clean success is followed by a look."""

    def __init__(self, transport: Transport, patients: PatientApi, new: NewPatient, contract: Contract) -> None:
        self._transport = transport
        self._patients = patients
        self._new = new
        self._contract = contract
        self._looks = 0
        self._in_doubt = False

    async def once(self) -> PatientLookup:
        """One attempt: posts, and looks unless the answer is a clear success."""
        try:
            answer = await self._transport.attempt(self._call())
        except TransientError as fault:
            return await self._after_fault(fault)
        if answer.ok:
            return PatientLookup(patient_of(payload_of(answer), answer.evidence), created=True)
        if answer.status == 400:
            return await self._found(_ExistsError(answer.evidence, Delivery.PROCESSED_UNKNOWN))
        if answer.status == 422:
            raise _rejected(self._new, answer)
        payload_of(answer)
        raise AssertionError("payload_of raises for every refusal")

    def _call(self) -> Call:
        birth_date = self._new.birth_date
        body: Json = {
            "patient_id": self._new.patient_id,
            "name": self._new.name,
            "gender": self._new.sex.value,
            "birth_date": birth_date.isoformat() if birth_date else None,
        }
        return Call("create_patient", "POST", "/patients", json=body)

    async def _after_fault(self, fault: TransientError) -> PatientLookup:
        if fault.delivery is Delivery.NOT_SENT:
            raise fault
        self._in_doubt = True
        masked = fault.call.status == 500 and self._contract not in SESSION_CONTRACTS
        return await self._found(_ExistsError(fault.call, fault.delivery, fault.retry_after_s) if masked else fault)

    async def _found(self, otherwise: TransientError) -> PatientLookup:
        """The patient that the look finds, else raises ``otherwise``. Ours if the answer was lost and the row fits."""
        self._looks += 1
        rows = await self._patients.look(self._new.patient_id, self._looks)
        found = _chosen(self._new.patient_id, rows)
        if found is None:
            if otherwise.call.status == 400:
                _raise_if_collision(self._new.patient_id, rows)
            raise otherwise
        row = next(row for patient, row in rows if patient.row_id == found.patient.row_id)
        ours = self._in_doubt and (row.get("patient_id"), row.get("name")) == (self._new.patient_id, self._new.name)
        return PatientLookup(found.patient, created=ours, differs_in_form=found.differs_in_form)


def _closeness(patient_id: str, listed: RemotePatient) -> _Closeness:
    """Compares ids. A padded id in XieHe is another patient's: its database counts a trailing space."""
    if listed.patient_id.strip(" \0") == listed.patient_id:
        match = match_patient_id(patient_id, listed.patient_id)
        if match is not IdMatch.DIFFERENT:
            return _Closeness.SAME if match is IdMatch.EXACT else _Closeness.FORM_DIFFERS
        if collation_key(patient_id) == collation_key(listed.patient_id):
            return _Closeness.COLLIDES
    return _Closeness.OTHER


def _chosen(patient_id: str, rows: list[tuple[RemotePatient, Json]]) -> PatientLookup | None:
    """The exact one, else the first in another case or width."""
    for wanted in (_Closeness.SAME, _Closeness.FORM_DIFFERS):
        matches = [patient for patient, _ in rows if _closeness(patient_id, patient) is wanted]
        if matches:
            exact = next((patient for patient in matches if patient.patient_id == patient_id), matches[0])
            return PatientLookup(exact, created=False, differs_in_form=wanted is _Closeness.FORM_DIFFERS)
    return None


def _raise_if_collision(patient_id: str, rows: list[tuple[RemotePatient, Json]]) -> None:
    """Raises PatientIdCollisionError if a listed id differs from ours for us, but not for XieHe."""
    taken = [patient for patient, _ in rows if _closeness(patient_id, patient) is _Closeness.COLLIDES]
    if taken:
        raise PatientIdCollisionError(
            f"XieHe 把患者编号 {patient_id} 与已有编号 {taken[0].patient_id} 视为相同（仅重音等写法不同），"
            "但二者可能不是同一患者：请人工核对并更正其中一个编号。"
        )


def _rejected(new: NewPatient, answer: BackendResponse) -> PatientRejectedError:
    fields = "、".join(answer.evidence.fields) or "未说明"
    return PatientRejectedError(
        f"XieHe 拒绝创建患者 {new.patient_id}：字段 {fields} 不符合要求（{answer.evidence}），请在源系统中更正。"
    )
