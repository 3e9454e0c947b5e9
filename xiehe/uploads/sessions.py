"""C3 and C4: an upload session and its completing call, as values."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx

from errors import CallEvidence
from models import Contract, UploadReceipt, UploadRequest
from xiehe.contracts import unknown_form
from xiehe.http.responses import BackendResponse, Delivery, Json, TransientError, payload_of
from xiehe.http.transport import Call


@dataclass(frozen=True, slots=True)
class SessionPart:
    """One presigned part."""

    number: int
    url: str


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An open upload session. ``key`` is C4's session_id, C3's image_file_id."""

    contract: Contract
    key: str
    upload_id: str | None
    part_size: int
    parts: tuple[SessionPart, ...]


class SessionGoneError(TransientError):
    """The session can no more become an image; a new one is safe."""

    def __init__(self, evidence: CallEvidence) -> None:
        super().__init__(evidence, Delivery.NOT_SENT)


@dataclass(frozen=True, slots=True)
class Completion:
    """What is to be completed: the session and the etags of its parts."""

    session: UploadSession
    parts: list[Json]
    request: UploadRequest
    size_bytes: int

    @property
    def call(self) -> Call:
        """The completing call in the session's dialect."""
        body: Json = {"parts": self.parts}
        if self.session.contract is Contract.C3:
            body |= {"upload_id": self.session.upload_id, "file_hash": None}
        path = f"/upload/sessions/{quote(self.session.key, safe='')}/complete"
        return Call("complete_session", "POST", path, json=body)

    def receipt(self, image_file_id: int, *, found: bool = False) -> UploadReceipt:
        """The receipt for the image that the session has become."""
        return UploadReceipt(image_file_id, self.request.stored_name, self.size_bytes, found=found)


def session_of(answer: BackendResponse, contract: Contract, size_bytes: int) -> UploadSession:
    """Reads the answer to a created session. Raises BackendContractError."""
    data = payload_of(answer)
    key = data.get("session_id") if contract is Contract.C4 else data.get("image_file_id")
    upload_id = data.get("upload_id") if contract is Contract.C3 else None
    part_size, listed = data.get("part_size"), data.get("parts")
    if not key or not isinstance(part_size, int) or part_size <= 0 or not isinstance(listed, list):
        raise unknown_form(answer.evidence)
    if contract is Contract.C3 and not isinstance(upload_id, str):
        raise unknown_form(answer.evidence)
    parts = tuple(_part_of(row, answer.evidence) for row in listed)
    if sorted(part.number for part in parts) != list(range(1, -(-size_bytes // part_size) + 1)):
        raise unknown_form(answer.evidence)
    return UploadSession(contract, str(key), upload_id, part_size, parts)


def _part_of(row: object, evidence: CallEvidence) -> SessionPart:
    number, url = (row.get("part_number"), row.get("url")) if isinstance(row, dict) else (None, None)
    if not isinstance(number, int) or not isinstance(url, str) or not _can_be_sent_to(url):
        raise unknown_form(evidence)
    return SessionPart(number, url)


def _can_be_sent_to(url: str) -> bool:
    try:
        server = urlsplit(url)  # its port refuses numbers above 65535
        host, port = httpx.URL(f"{server.scheme}://{server.netloc}/").host, server.port
        url.encode()
    except (httpx.InvalidURL, ValueError):
        return False
    return url.startswith(("http://", "https://")) and bool(host) and port != 0
