"""C3: the second completion of a finished image is a 400, and a storage fault leaves the row UPLOADING for ever."""

from __future__ import annotations

import time

from models import Contract, UploadIntent, UploadReceipt
from xiehe.contracts import unknown_form
from xiehe.http.responses import BackendResponse, Delivery, TransientError, payload_of
from xiehe.http.transport import Call, Transport
from xiehe.lists import ListReader
from xiehe.uploads.sessions import Completion, SessionGoneError


class ThirdCompletion:
    """Completes C3's sessions."""

    def __init__(self, transport: Transport, lists: ListReader) -> None:
        self._transport = transport
        self._lists = lists

    async def complete(self, completion: Completion) -> UploadReceipt:
        """Completes, and looks at the list if the answer leaves a doubt.

        Raises:
            SessionGoneError: not complete, and it never will be.
        """
        answer = await self._transport.retried("complete_session", lambda: self._once(completion.call))
        if isinstance(answer, TransientError):
            wait_s = self._transport.policy.late_commit_window_s if answer.delivery is Delivery.IN_FLIGHT else 0.0
            return await self._found(completion, time.monotonic() + wait_s, answer)
        if answer.status in (400, 404):
            return await self._found(completion, time.monotonic(), TransientError(answer.evidence, Delivery.NOT_SENT))
        image_id = payload_of(answer).get("image_file_id")
        if str(image_id) != completion.session.key:
            raise unknown_form(answer.evidence)
        return completion.receipt(int(completion.session.key))

    async def settle(self, intent: UploadIntent) -> UploadReceipt | None:
        """The intent's row, once complete; waits until a completion under way at our start can no longer land."""
        image, until_s = intent.image, self._transport.late_commit_deadline
        if not await self._is_complete(image.row_id, intent.session or "", until_s):
            return None
        return UploadReceipt(int(intent.session or 0), image.stored_name, image.jpg_size or 0, found=True)

    async def _once(self, call: Call) -> BackendResponse | TransientError:
        """One attempt. A fault that may have completed it is returned, since the list decides."""
        try:
            return await self._transport.attempt(call)
        except TransientError as fault:
            if fault.delivery is Delivery.NOT_SENT:
                raise
            return fault

    async def _found(self, completion: Completion, until_s: float, fault: TransientError) -> UploadReceipt:
        if await self._is_complete(completion.request.patient.row_id, completion.session.key, until_s):
            return completion.receipt(int(completion.session.key), found=True)
        raise SessionGoneError(fault.call) from fault

    async def _is_complete(self, row_id: int, key: str, until_s: float) -> bool:
        async for images in self._lists.watched(row_id, Contract.C3, until_s):
            if any(str(image.image_file_id) == key for image in images):
                return True
        return False
