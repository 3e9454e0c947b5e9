"""The four contracts of XieHe: how to detect them, and how to read their rows and lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, TypeGuard

from errors import BackendContractError, BackendUnavailableError, CallEvidence
from models import Contract, RemoteImage, RemotePatient, Sex
from xiehe.http.options import ATTEMPTS
from xiehe.http.responses import (
    NOT_JSON,
    BackendResponse,
    Delivery,
    ExhaustedError,
    Json,
    TransientError,
    enveloped,
    is_proxys_404,
    payload_of,
    unread,
)
from xiehe.http.transport import Call, Transport

PAGE_SIZE = 100
"""XieHe's largest; smaller pages can lose rows, since its order has no tie-break."""

_COMPLETE = frozenset({"UPLOADED", "PROCESSING", "PROCESSED", "ARCHIVED"})
"""Statuses that only an uploaded image gets. FAILED is set on dead sessions, and by the AI worker on intact images."""
_SEXES = {"男": Sex.MALE, "女": Sex.FEMALE, "其他": Sex.OTHER, "未知": Sex.UNKNOWN}
_SERVER_CRASHING = (
    *("ct", "mr", "us", "断层", "磁共振", "超声"),
    *("head", "brain", "头", "颅", "脑", "chest", "lung", "胸", "肺"),
    *("abdomen", "腹", "肝", "肾", "spine", "脊柱", "椎"),
)
"""Substrings from which C1/C2 guess a modality or body part that their database does not know."""

SESSION_CONTRACTS = frozenset({Contract.C3, Contract.C4})


# --- which contract ------------------------------------------------------------------------------------------------


async def detect(transport: Transport, attempts: int | None = None) -> Contract:
    """Which contract XieHe speaks, by its answers without a token; nothing is written.

    Raises:
        BackendUnavailableError: no usable answer; a proxy's 404 is none.
        BackendContractError: none of the four.
        BackendAuthError: a proxy hides the bodies of C1 and C2, and XieHe refuses the log-in that would decide.
    """
    probe = _Probe(transport, attempts)
    single = await probe.answer("POST", "/upload/single")
    sessions = await probe.answer("POST", "/upload/sessions")
    if _present(single) and await probe.absent(sessions):
        return await _first_or_second(transport, single, attempts)
    if _present(sessions) and await probe.absent(single):
        session = await probe.answer("GET", "/upload/sessions/0")
        if _present(session):
            return Contract.C4
        if await probe.absent(session):
            return Contract.C3
    if single.status in (400, 497) and single.is_page:  # nginx's answer to plain HTTP on a port with TLS
        raise BackendContractError(
            f"代理以网页拒绝了请求（{single.evidence}）："
            "该端口可能是 https，请把 BACKEND_URL 改为以 https:// 开头的地址。",
            single.evidence,
        )
    for answer in (single, sessions):
        if is_proxys_404(answer):
            raise ExhaustedError(TransientError(unread(answer.evidence), Delivery.NOT_SENT), attempts or ATTEMPTS)
    raise BackendContractError(
        f"BACKEND_URL 处没有已知的 XieHe 接口（{single.evidence}；{sessions.evidence}），"
        "请检查 BACKEND_URL 是否指向 XieHe 后端。",
        sessions.evidence,
    )


class _Probe:
    """Asks without a token whether routes exist.

    A proxy's 404 (no JSON) means a rate limit or a dead backend, so it is asked again. If it persists, and a route that
    never existed gets the same, the proxy replaces XieHe's own 404 by its page.
    """

    def __init__(self, transport: Transport, attempts: int | None) -> None:
        self._transport = transport
        self._attempts = attempts

    async def answer(self, method: str, path: str) -> BackendResponse:
        """The answer after retries. Raises BackendUnavailableError."""
        call = Call("detect", method, path, wants_json=False, authorised=False)
        try:
            return await self._transport.send(call, self._attempts)
        except BackendUnavailableError as error:
            seen = error.evidence
            if seen is None or (seen.status, seen.error_code) != (404, NOT_JSON):
                raise
            return BackendResponse(404, None, {}, seen)

    async def absent(self, answer: BackendResponse) -> bool:
        """Whether XieHe lacks the route.

        Raises:
            ExhaustedError: a proxy's 404 that does not mean that.
        """
        if not is_proxys_404(answer):
            return answer.status in (404, 405)
        if is_proxys_404(await self.answer("GET", "/upload/no-such-route")):
            return True
        raise ExhaustedError(TransientError(answer.evidence, Delivery.NOT_SENT), self._attempts or ATTEMPTS)


def _present(answer: BackendResponse) -> bool:
    return answer.status in (401, 403, 422)


async def _first_or_second(transport: Transport, refused: BackendResponse, attempts: int | None) -> Contract:
    """C1's errors have ``error: true``, C2's ``code``. If a proxy shows neither, a success decides."""
    if isinstance(refused.body, dict):
        if refused.body.get("error") is True:
            return Contract.C1
        if "code" in refused.body:
            return Contract.C2
    listed = await transport.send(
        Call("search_patients", "GET", "/patients", params={"page": "1", "page_size": "1"}), attempts
    )
    payload_of(listed)
    return Contract.C2 if enveloped(listed.body) else Contract.C1


# --- rows and lists ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list: its rows, and how many rows the list has."""

    rows: tuple[Json, ...]
    total: int


def page_of(answer: BackendResponse) -> ListPage:
    """Reads a list answer of any contract. Raises as :func:`payload_of`."""
    payload = payload_of(answer)
    rows = payload.get("items", payload.get("patients"))
    paging = payload.get("pagination", payload)
    total = paging.get("total") if isinstance(paging, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not _is_int(total):
        raise unknown_form(answer.evidence)
    return ListPage(tuple(rows), total)


def patient_of(row: Json, evidence: CallEvidence) -> RemotePatient:
    """A patient row of any contract."""
    row_id, patient_id = row.get("id"), row.get("patient_id")
    if not _is_int(row_id) or not isinstance(patient_id, str):
        raise unknown_form(evidence)
    return RemotePatient(row_id, patient_id, _sex_of(row.get("gender")), _date_of(row.get("birth_date")))


def _sex_of(value: Any) -> Sex:
    text = value if isinstance(value, str) else ""
    known = _SEXES.get(text)
    if known is not None:
        return known
    return Sex(text.upper()) if text.upper() in Sex.__members__ else Sex.UNKNOWN


def _date_of(value: Any) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def image_of(row: Json, contract: Contract, evidence: CallEvidence) -> RemoteImage | None:
    """An image row, or None if it has no content: a session that C3 left incomplete (C4 may still list it).

    A row of C1/C2 always has content. Since C3 a ``storage_etag`` proves it, whatever the status; a row without one
    (uploaded before an upgrade, or a session) has content if its status is that of a complete image.
    """
    status, etag = row.get("status"), row.get("storage_etag")
    if contract in SESSION_CONTRACTS and not etag and isinstance(status, str) and status.upper() not in _COMPLETE:
        return None
    image_id, name = row.get("id"), row.get("original_filename")
    if not _is_int(image_id) or not isinstance(name, str):
        raise unknown_form(evidence)
    size = row.get("file_size")
    return RemoteImage(
        image_file_id=image_id,
        filename=name,
        size_bytes=size if _is_int(size) else None,
        storage_etag=etag.strip('"') if isinstance(etag, str) and etag else None,
    )


def _is_int(value: Any) -> TypeGuard[int]:
    return type(value) is int  # what JSON gives; a bool is none


def unknown_form(evidence: CallEvidence) -> BackendContractError:
    """The answer lacks what each contract's has."""
    return BackendContractError(f"XieHe 的应答不属于已知的四种接口形式（{evidence}）", evidence)


def safe_description(exam_type: str | None) -> str | None:
    """The exam type, or None if it holds a word that makes C1/C2 fail."""
    if exam_type is None or any(word in exam_type.casefold() for word in _SERVER_CRASHING):
        return None
    return exam_type
