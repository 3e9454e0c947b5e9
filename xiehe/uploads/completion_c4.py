"""C4: completion is idempotent; after a storage fault it is 409 until a lease ends."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from tenacity import RetryCallState

from errors import CallEvidence, FileError, UploadUnconfirmedError
from models import Contract, RemotePatient, Sex, UploadIntent, UploadReceipt, UploadRequest
from xiehe.contracts import unknown_form
from xiehe.http.options import RetryPolicy
from xiehe.http.responses import Delivery, ExhaustedError, Json, TransientError, payload_of
from xiehe.http.transport import Call, Transport
from xiehe.uploads.sessions import Completion, SessionGoneError, UploadSession
from xiehe.uploads.upload_body import UploadImage, checked_image

_PART_SIZE = 8_388_608
_UNFINISHED = frozenset({"INITIALIZING", "READY", "COMPLETING"})


class FourthCompletion:
    """Completes C4's durable sessions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def complete(self, completion: Completion) -> UploadReceipt:
        """Calls until the answer is definite, through the lease.

        Raises:
            SessionGoneError: the session has failed, expired or vanished.
            UploadUnconfirmedError: XieHe was still completing it after ``lease_total_s``.
            ExhaustedError: no definite answer.
        """
        try:
            return await self._transport.retried(
                "complete_session", lambda: self._once(completion), stop=_after_lease(self._transport.policy)
            )
        except ExhaustedError as error:
            state = await self._state(completion.session.key)
            if state is not None and state.get("status") == "COMPLETED":
                return completion.receipt(_image_id(state, error.last.call), found=True)
            if state is not None and state.get("status") == "COMPLETING":
                raise _unconfirmed(error.last.call) from error
            raise

    async def settle(self, intent: UploadIntent, image_path: str) -> UploadReceipt | None:
        """What became of the session of a process that died.

        A session that XieHe is completing can become an image hours later. It is waited for, and completed again if
        the file is still there. A session that XieHe is not completing is left alone: a call could start that.

        Raises:
            UploadUnconfirmedError: XieHe is still completing it.
        """
        key = intent.session or ""
        completion = await _completion_again(intent, image_path)
        age_s = (datetime.now(UTC) - intent.created_at).total_seconds()
        patience_s = time.monotonic() + max(0.0, self._transport.policy.lease_total_s - age_s)
        while (state := await self._state(key)) is not None and state.get("status") in _UNFINISHED:
            leased = state.get("status") == "COMPLETING"
            receipt = await self._tried(completion) if leased and completion is not None else None
            if receipt is not None:
                return receipt
            left_s = (patience_s if leased else self._transport.late_commit_deadline) - time.monotonic()
            if left_s <= 0:
                if leased:
                    raise _unconfirmed(CallEvidence("GET", "/upload/sessions", 200, "COMPLETING"))
                return None
            await asyncio.sleep(min(self._transport.policy.look_every_s, left_s))
        return _found(intent, state) if state is not None and state.get("status") == "COMPLETED" else None

    async def _tried(self, completion: Completion) -> UploadReceipt | None:
        """One call; its faults show in the session's state."""
        try:
            return replace(await self._once(completion), found=True)
        except TransientError:
            return None

    async def _once(self, completion: Completion) -> UploadReceipt:
        answer = await self._transport.attempt(completion.call)
        if answer.ok:
            return completion.receipt(_image_id(payload_of(answer), answer.evidence))
        if answer.status not in (400, 404, 409, 410):
            payload_of(answer)
        state = await self._state(completion.session.key)
        if state is not None and state.get("status") == "COMPLETED":
            return completion.receipt(_image_id(state, answer.evidence), found=True)
        if answer.status == 409 and state is not None and state.get("status") in _UNFINISHED:
            raise TransientError(answer.evidence, Delivery.IN_FLIGHT)
        raise SessionGoneError(answer.evidence)

    async def _state(self, key: str) -> Json | None:
        """The session as XieHe shows it, or None if there is none."""
        answer = await self._transport.send(Call("get_session", "GET", f"/upload/sessions/{quote(key, safe='')}"))
        return None if answer.status in (400, 404, 410) else payload_of(answer)


def _unconfirmed(evidence: CallEvidence) -> UploadUnconfirmedError:
    return UploadUnconfirmedError(
        f"XieHe 仍在完成该图像的上传（{evidence}），它随时可能成为影像，所以没有再传一次；本服务会在后台继续查询。"
    )


def _after_lease(policy: RetryPolicy) -> Callable[[RetryCallState], bool]:
    """Stops after the policy's attempts; after a 409 not before the lease can have ended."""
    leased = False

    def stop(state: RetryCallState) -> bool:
        nonlocal leased
        error = state.outcome.exception() if state.outcome is not None else None
        leased = leased or (isinstance(error, TransientError) and error.call.status == 409)
        waited = (state.seconds_since_start or 0.0) >= policy.lease_total_s
        return state.attempt_number >= policy.attempts and (waited or not leased)

    return stop


async def _completion_again(intent: UploadIntent, image_path: str) -> Completion | None:
    """The completing call made again from the file alone, since a part's etag is the md5 of its bytes."""
    image = intent.image
    patient = RemotePatient(image.row_id, image.patient_id, Sex.UNKNOWN, None)
    request = UploadRequest(image_path, image.stored_name, patient, None)
    try:
        stored = checked_image(request)
        parts = await _parts_of(stored)
    except FileError:
        return None
    if image.jpg_size not in (None, stored.size_bytes):
        return None
    session = UploadSession(Contract.C4, intent.session or "", None, _PART_SIZE, ())
    return Completion(session, parts, request, stored.size_bytes)


def _found(intent: UploadIntent, state: Json) -> UploadReceipt:
    image_id = state.get("image_file_id")
    known = image_id if isinstance(image_id, int) else None
    return UploadReceipt(known, intent.image.stored_name, intent.image.jpg_size or 0, found=True)


async def _parts_of(image: UploadImage) -> list[Json]:
    parts: list[Json] = []
    for number, offset in enumerate(range(0, image.size_bytes, _PART_SIZE), 1):
        content = await image.read(offset, min(_PART_SIZE, image.size_bytes - offset))
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        parts.append({"part_number": number, "etag": f'"{digest}"'})
    return parts


def _image_id(data: Json, evidence: CallEvidence) -> int:
    image_id = data.get("image_file_id")
    if not isinstance(image_id, int) or isinstance(image_id, bool):
        raise unknown_form(evidence)
    return image_id
