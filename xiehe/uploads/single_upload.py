"""C1 and C2: one multipart request, not idempotent, whose answer does not name the image."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from errors import BackendContractError, BackendError, UploadsHeldError
from models import Contract, RemoteImage, UploadIntent, UploadReceipt, UploadRequest
from xiehe.contracts import SESSION_CONTRACTS, safe_description
from xiehe.http.options import MaySend, OnBegin
from xiehe.http.responses import BackendResponse, Delivery, TransientError, payload_of, refused_upload
from xiehe.http.transport import Call, Transport
from xiehe.lists import ListReader
from xiehe.uploads.name_gate import NameGate, NameLease
from xiehe.uploads.upload_body import Form, checked_image, form_of
from xiehe.uploads.upload_limiter import UploadLimiter

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _Job:
    """One upload that holds its name. ``known`` are images that are not this one."""

    request: UploadRequest
    contract: Contract
    known: frozenset[int]
    form: Form
    lease: NameLease
    may_send: MaySend | None

    @property
    def size_bytes(self) -> int:
        """Size of the image."""
        return self.form.image.size_bytes


class SingleUploads:
    """Uploads that look before they post again, one at a time for each stored name."""

    def __init__(self, transport: Transport, lists: ListReader, limiter: UploadLimiter) -> None:
        self._transport = transport
        self._lists = lists
        self._limiter = limiter
        self._gate = NameGate(transport.policy.same_name_gap_s)
        self._unlisted: OrderedDict[tuple[int, str], None] = OrderedDict()

    async def upload(
        self,
        request: UploadRequest,
        contract: Contract,
        known_ids: frozenset[int] | None,
        on_begin: OnBegin | None,
        may_send: MaySend | None,
    ) -> UploadReceipt:
        """Uploads once. Raises as :meth:`api_client.XieHeClient.upload`, and ExhaustedError."""
        image = checked_image(request)
        form = form_of(image, request, _fields(request))
        if on_begin is not None:
            await on_begin(None)
        async with self._gate.hold(request.stored_name) as lease:
            known = await self._known(request, contract, known_ids)
            job = _Job(request, contract, known, form, lease, may_send)
            receipt = await self._transport.retried("upload_single", lambda: self._once(job))
        self._remember(request)
        return receipt

    async def settle(self, intent: UploadIntent, contract: Contract) -> UploadReceipt | None:
        """Whether an earlier process's upload is there; on C1/C2 waits until it no longer can appear.

        On C3/C4 an upload without a session has sent nothing that could become an image.
        """
        by_session = contract in SESSION_CONTRACTS
        until_s = time.monotonic() if by_session else self._transport.late_commit_deadline
        image = intent.image
        async for images in self._lists.watched(image.row_id, contract, until_s):
            receipt = _among(images, image.stored_name, intent.known_ids, image.jpg_size)
            if receipt is not None:
                return receipt
        return None

    async def _once(self, job: _Job) -> UploadReceipt:
        """One attempt. After a fault that may have stored the image, looks for it first."""
        try:
            return await self._post(job)
        except TransientError as fault:
            if fault.delivery is Delivery.NOT_SENT:
                raise
            found = await self._landed(
                job, self._transport.policy.late_commit_window_s if fault.delivery is Delivery.IN_FLIGHT else 0.0
            )
            if found is None:
                raise
            return found

    async def _post(self, job: _Job) -> UploadReceipt:
        """The POST. Its name stays closed for a second after its end, longer if it may still take effect."""
        call = Call("upload_single", "POST", "/upload/single", content=job.form.body, headers=job.form.headers)
        await job.lease.ready()
        async with self._limiter.slot():
            check_may_send(job.may_send)
            in_doubt = True
            try:
                answer = await self._transport.attempt(call)
                in_doubt = False
            except BackendError as error:
                in_doubt = isinstance(error, TransientError) and error.delivery is Delivery.IN_FLIGHT
                raise
            finally:
                job.lease.ended(self._transport.policy.late_commit_window_s if in_doubt else 0.0)
        return _receipt(job, answer)

    async def _landed(self, job: _Job, wait_s: float) -> UploadReceipt | None:
        until_s = time.monotonic() + wait_s
        found = None
        async for images in self._lists.watched(job.request.patient.row_id, job.contract, until_s):
            found = _among(images, job.request.stored_name, job.known, job.size_bytes)
            if found is not None:
                break
        job.lease.ended()
        return found

    async def _known(
        self, request: UploadRequest, contract: Contract, known_ids: frozenset[int] | None
    ) -> frozenset[int]:
        """Ids that are not this upload's. Lists again if this client stored the same name since."""
        listed = known_ids or frozenset()
        if known_ids is None or _key(request) in self._unlisted:
            listed |= {image.image_file_id for image in await self._lists.images(request.patient.row_id, contract)}
        return listed

    def _remember(self, request: UploadRequest) -> None:
        self._unlisted[_key(request)] = None
        while len(self._unlisted) > _REMEMBERED:
            self._unlisted.popitem(last=False)


def _receipt(job: _Job, answer: BackendResponse) -> UploadReceipt:
    if answer.status in (400, 403, 413, 415, 422):
        raise refused_upload(answer)
    payload = payload_of(answer)
    name = job.request.stored_name
    if (payload.get("filename", name), payload.get("size", job.size_bytes)) != (name, job.size_bytes):
        raise BackendContractError(
            f"XieHe 确认的文件名或大小与上传的不一致（{answer.evidence}），请人工核对该图像。", answer.evidence
        )
    return UploadReceipt(None, name, job.size_bytes)


def _among(
    images: list[RemoteImage], stored_name: str, known: Collection[int], size_bytes: int | None
) -> UploadReceipt | None:
    """The receipt of the one that is not known and has the name and, if both are known, the size."""
    for image in images:
        sizes_agree = size_bytes is None or image.size_bytes in (None, size_bytes)
        if image.image_file_id not in known and image.filename == stored_name and sizes_agree:
            stored_bytes = size_bytes or image.size_bytes or 0
            return UploadReceipt(image.image_file_id, image.filename, stored_bytes, found=True)
    return None


def _fields(request: UploadRequest) -> dict[str, str]:
    """``patient_id`` is XieHe's row id: with anything else the image gets no patient, or another one."""
    row_id = request.patient.row_id
    if isinstance(row_id, bool) or not isinstance(row_id, int) or row_id <= 0:
        raise TypeError("row_id must be XieHe's integer row id")
    description = safe_description(request.exam_type)
    return {"patient_id": str(row_id)} | ({} if description is None else {"description": description})


def _key(request: UploadRequest) -> tuple[int, str]:
    return request.patient.row_id, request.stored_name


def check_may_send(may_send: MaySend | None) -> None:
    """Raises UploadsHeldError if no attempt may be made now."""
    if may_send is not None and not may_send():
        raise UploadsHeldError("XieHe 的图像上传暂停中，本次没有尝试。")
