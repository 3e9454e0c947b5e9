"""C3 and C4: a session is created, its parts are put into the object storage, and it is completed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote

from errors import BackendContractError, CallEvidence
from models import Contract, RemotePatient, Sex, UploadReceipt, UploadRequest
from xiehe.contracts import unknown_form
from xiehe.http.options import Buffer, MaySend
from xiehe.http.responses import BackendResponse, Delivery, Json, TransientError, payload_of
from xiehe.http.transport import Call, Transport
from xiehe.uploads.single_upload import check_may_send
from xiehe.uploads.upload_body import UploadImage
from xiehe.uploads.upload_errors import refused_upload

_TRIAL_NAME = "upload-check.jpg"
_TRIAL_CONTENT = b"\xff\xd8\xff\xd9"


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


class SessionOpener:
    """Creates sessions and fills them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        request: UploadRequest,
        size_bytes: int,
        contract: Contract,
        may_send: MaySend | None = None,
        attempts: int | None = None,
    ) -> UploadSession:
        """A new session; one whose answer was lost is an orphan and does no harm.

        Raises:
            UploadsHeldError: ``may_send`` says no.
            ExhaustedError: all attempts failed.
            UploadRejectedError: refused for good.
            NotFoundAnswerError: the patient or the route is gone.
        """
        body: Json = {
            "filename": request.stored_name,
            "size": size_bytes,
            "mime_type": request.mime_type,
            "patient_id": request.patient.row_id,
            "description": request.exam_type,
            "team_ids": [],
            "file_hash": None,
        }
        call = Call("create_session", "POST", "/upload/sessions", json=body)

        async def attempt() -> BackendResponse:
            check_may_send(may_send)
            return await self._transport.attempt(call)

        answer = await self._transport.retried(call.operation, attempt, attempts=attempts)
        if answer.status in (400, 403, 413, 415, 422):
            raise refused_upload(answer)
        return _session_of(answer, contract, size_bytes)

    async def try_out(self, row_id: int) -> None:
        """A C4 session for a patient is made in one attempt, filled, and left to expire: no image can come of it.

        Raises:
            ExhaustedError: that failed.
            UploadRejectedError: this session is refused.
        """
        patient = RemotePatient(row_id, "", Sex.UNKNOWN, None)
        request = UploadRequest("", _TRIAL_NAME, patient, None)
        session = await self.create(request, len(_TRIAL_CONTENT), Contract.C4, attempts=1)

        async def content() -> AsyncIterator[Buffer]:
            yield _TRIAL_CONTENT

        await self._put_one(session.parts[0], content, len(_TRIAL_CONTENT))

    async def put(self, session: UploadSession, picture: UploadImage) -> list[Json]:
        """Put every part, and answer what completion wants to be told of them.

        Raises:
            SessionGoneError: the storage refuses the link (expired after 900 s, or unknown).
            UploadRejectedError: a proxy does not let a body of that size pass.
            ExhaustedError: all attempts failed.
        """
        return [
            {"part_number": part.number, "etag": await self._put_part(session, part, picture)} for part in session.parts
        ]

    async def _put_part(self, session: UploadSession, part: SessionPart, picture: UploadImage) -> str:
        offset = (part.number - 1) * session.part_size
        end = min(offset + session.part_size, picture.size_bytes)
        return await self._put_one(part, lambda: picture.pieces(offset, end), end - offset)

    async def _put_one(self, part: SessionPart, content: Callable[[], AsyncIterator[Buffer]], size_bytes: int) -> str:
        call = Call(
            "put_part",
            "PUT",
            part.url,
            content=content,
            headers={"Content-Length": str(size_bytes)},
            wants_json=False,
            authorised=False,
        )
        answer = await self._transport.retried(call.operation, lambda: self._transport.attempt(call))
        if answer.status == 413:
            raise refused_upload(answer)
        if not answer.ok:
            raise SessionGoneError(answer.evidence)
        etag = answer.headers.get("etag")
        if not etag:
            raise BackendContractError(f"对象存储的应答缺少 ETag（{answer.evidence}）", answer.evidence)
        return etag


def _session_of(answer: BackendResponse, contract: Contract, size_bytes: int) -> UploadSession:
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
    if not isinstance(number, int) or not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise unknown_form(evidence)
    return SessionPart(number, url)


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
        """The receipt for the image this has become."""
        return UploadReceipt(image_file_id, self.request.stored_name, self.size_bytes, found=found)
