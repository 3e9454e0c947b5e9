"""C3 and C4: create a session, put its parts, complete it; a session that is beyond help is followed by a new one."""

from __future__ import annotations

import asyncio

from models import Contract, UploadReceipt, UploadRequest
from xiehe.http.options import MaySend, OnBegin, RetryPolicy, UploadIntent
from xiehe.http.responses import ExhaustedError
from xiehe.http.transport import Transport
from xiehe.lists import ListReader
from xiehe.uploads.completion_c3 import ThirdCompletion
from xiehe.uploads.completion_c4 import FourthCompletion
from xiehe.uploads.sessions import Completion, SessionGoneError, SessionOpener
from xiehe.uploads.upload_body import UploadImage, picture_of
from xiehe.uploads.upload_limiter import UploadLimiter


class SessionUploads:
    """Uploads by session: create, put, complete; a session that is beyond help is followed by a new one."""

    def __init__(self, transport: Transport, lists: ListReader, limiter: UploadLimiter, policy: RetryPolicy) -> None:
        self._transport = transport
        self._limiter = limiter
        self._policy = policy
        self._opener = SessionOpener(transport)
        self._third = ThirdCompletion(transport, lists, policy)
        self._fourth = FourthCompletion(transport, policy)

    async def upload(
        self, request: UploadRequest, contract: Contract, on_begin: OnBegin | None, may_send: MaySend | None
    ) -> UploadReceipt:
        """Upload once.

        Raises:
            ExhaustedError: all attempts at one of the calls failed, or no session could be completed.
            UploadRejectedError: refused for good.
            UploadUnconfirmedError: C4 is still completing it.
            BackendError: not now.
        """
        picture = picture_of(request)
        for _ in range(self._policy.attempts):
            try:
                async with self._limiter.slot():
                    return await self._round(request, picture, contract, on_begin, may_send)
            except SessionGoneError as error:
                gone = error
                await asyncio.sleep(self._policy.first_wait_s)
        raise ExhaustedError(gone, self._policy.attempts) from gone

    async def try_out(self, row_id: int) -> None:
        """C4: a session is made and filled, and left to expire; no image can come of it.

        Raises:
            ExhaustedError: it failed.
            UploadRejectedError: this session is refused, which says nothing of others.
        """
        await self._opener.try_out(row_id)

    async def settle(self, intent: UploadIntent, contract: Contract) -> UploadReceipt | None:
        """What became of the session of a process that died. Raises UploadUnconfirmedError where that is open."""
        if intent.session_id is None:
            return None
        if contract is Contract.C3:
            return await self._third.settle(intent)
        return await self._fourth.settle(intent)

    async def _round(
        self,
        request: UploadRequest,
        picture: UploadImage,
        contract: Contract,
        on_begin: OnBegin | None,
        may_send: MaySend | None,
    ) -> UploadReceipt:
        session = await self._opener.create(request, picture.size_bytes, contract, may_send)
        if on_begin is not None:
            await on_begin(session.key)
        parts = await self._opener.put(session, picture)
        completion = Completion(session, parts, request, picture.size_bytes)
        if contract is Contract.C3:
            return await self._third.complete(completion)
        return await self._fourth.complete(completion)
