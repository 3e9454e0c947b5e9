"""C3 and C4: creates a session, puts its parts into the object storage, completes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from errors import BackendContractError
from models import Contract, RemotePatient, Sex, UploadIntent, UploadReceipt, UploadRequest
from xiehe.http.options import MaySend, OnBegin
from xiehe.http.responses import BackendResponse, ExhaustedError, Json, refused_upload
from xiehe.http.transport import Call, Transport
from xiehe.lists import ListReader
from xiehe.uploads.completion_c3 import ThirdCompletion
from xiehe.uploads.completion_c4 import FourthCompletion
from xiehe.uploads.sessions import Completion, SessionGoneError, SessionPart, UploadSession, session_of
from xiehe.uploads.single_upload import check_may_send
from xiehe.uploads.upload_body import UploadImage, checked_image
from xiehe.uploads.upload_limiter import UploadLimiter

_TRIAL_NAME = "upload-check.jpg"
_TRIAL_CONTENT = b"\xff\xd8\xff\xd9"


class SessionUploads:
    """Uploads by session. A session that cannot become an image any more is followed by a new one."""

    def __init__(self, transport: Transport, lists: ListReader, limiter: UploadLimiter) -> None:
        self._transport = transport
        self._limiter = limiter
        self._third = ThirdCompletion(transport, lists)
        self._fourth = FourthCompletion(transport)

    async def upload(
        self, request: UploadRequest, contract: Contract, on_begin: OnBegin | None, may_send: MaySend | None
    ) -> UploadReceipt:
        """Uploads once. Raises as :meth:`api_client.XieHeClient.upload`, and ExhaustedError."""
        image = checked_image(request)
        for _ in range(self._transport.policy.attempts):
            try:
                async with self._limiter.slot():
                    return await self._round(request, image, contract, on_begin, may_send)
            except SessionGoneError as error:
                gone = error
                await asyncio.sleep(self._transport.policy.first_wait_s)
        raise ExhaustedError(gone, self._transport.policy.attempts) from gone

    async def try_out(self, row_id: int) -> None:
        """Makes and fills a C4 session in one attempt, and lets it expire: no image can come of it.

        Raises:
            ExhaustedError: it failed.
            UploadRejectedError: this session is refused, which means nothing for others.
        """
        request = UploadRequest("", _TRIAL_NAME, RemotePatient(row_id, "", Sex.UNKNOWN, None), None)
        session = await self._create(request, len(_TRIAL_CONTENT), Contract.C4, attempts=1)

        async def content() -> AsyncIterator[bytes]:
            yield _TRIAL_CONTENT

        await self._put(session.parts[0], content, len(_TRIAL_CONTENT))

    async def settle(self, intent: UploadIntent, contract: Contract, image_path: str) -> UploadReceipt | None:
        """What became of an earlier process's session. Raises UploadUnconfirmedError if that is open."""
        if contract is Contract.C3:
            return await self._third.settle(intent)
        return await self._fourth.settle(intent, image_path)

    async def _round(
        self,
        request: UploadRequest,
        image: UploadImage,
        contract: Contract,
        on_begin: OnBegin | None,
        may_send: MaySend | None,
    ) -> UploadReceipt:
        session = await self._create(request, image.size_bytes, contract, may_send)
        if on_begin is not None:
            await on_begin(session.key)
        parts: list[Json] = [
            {"part_number": part.number, "etag": await self._put_part(session, part, image)} for part in session.parts
        ]
        completion = Completion(session, parts, request, image.size_bytes)
        return await (self._third if contract is Contract.C3 else self._fourth).complete(completion)

    async def _create(
        self,
        request: UploadRequest,
        size_bytes: int,
        contract: Contract,
        may_send: MaySend | None = None,
        attempts: int | None = None,
    ) -> UploadSession:
        """A new session. One with a lost answer is an orphan and does no harm."""
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
        return session_of(answer, contract, size_bytes)

    async def _put_part(self, session: UploadSession, part: SessionPart, image: UploadImage) -> str:
        offset = (part.number - 1) * session.part_size
        end = min(offset + session.part_size, image.size_bytes)
        return await self._put(part, lambda: image.pieces(offset, end), end - offset)

    async def _put(self, part: SessionPart, content: Callable[[], AsyncIterator[bytes]], size_bytes: int) -> str:
        """Puts one part; returns its ETag.

        Raises:
            SessionGoneError: the storage refuses the link (expired after 900 s, or unknown).
            UploadRejectedError: a proxy does not let a body of that size pass.
            ExhaustedError: all attempts failed.
        """
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
