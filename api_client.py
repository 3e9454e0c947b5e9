"""The XieHe client: patients, image lists, uploads and log-in over all four contracts of its HTTP API.

The door of ``xiehe/``: ``http/`` (one request, retries, log-in), ``contracts``, ``lists``, ``patient_api``;
``uploads/`` has single uploads (C1, C2), sessions (C3, C4) and the limiter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from errors import (
    BackendContractError,
    BackendError,
    BackendUnavailableError,
    OutOfDescriptorsError,
    PatientDeletedInXieHeError,
    UploadRejectedError,
    UploadUnavailableError,
)
from models import (
    Contract,
    NewPatient,
    PatientLookup,
    RemoteImage,
    RemotePatient,
    UploadIntent,
    UploadReceipt,
    UploadRequest,
)
from xiehe.contracts import SESSION_CONTRACTS, detect
from xiehe.http.options import BackendHealth, ClientOptions, Credentials, MaySend, OnBegin, RetryPolicy
from xiehe.http.responses import NOT_JSON, Delivery, ExhaustedError, NotFoundAnswerError, hint_of, payload_of
from xiehe.http.tokens import token_expiry
from xiehe.http.transport import THROTTLING, Call, Transport, open_http
from xiehe.lists import ListReader
from xiehe.patient_api import PatientApi
from xiehe.uploads.session_upload import SessionUploads
from xiehe.uploads.single_upload import SingleUploads
from xiehe.uploads.upload_body import storage_etag
from xiehe.uploads.upload_limiter import UploadLimiter

__all__ = [
    "BackendHealth",
    "ClientOptions",
    "Credentials",
    "MaySend",
    "OnBegin",
    "RetryPolicy",
    "XieHeClient",
    "storage_etag",
    "token_expiry",
]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class XieHeClient:
    """One per backend, shared by all tasks. Made by :meth:`open`.

    Every method raises, beside what it names:
        BackendUnavailableError: no usable answer after all attempts.
        BackendAuthError: token and log-in are refused.
        BackendContractError: answers that none of the four contracts gives.
    """

    def __init__(self, transport: Transport, limiter: UploadLimiter) -> None:
        self._transport = transport
        self._limiter = limiter
        self._lists = ListReader(transport)
        self._patients = PatientApi(transport, self._lists)
        self._singles = SingleUploads(transport, self._lists, limiter)
        self._sessions = SessionUploads(transport, self._lists, limiter)
        self._contract: Contract | None = None
        self._detection: asyncio.Task[Contract] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, options: ClientOptions) -> AsyncIterator[XieHeClient]:
        """A client whose connections are closed at the end; nothing is sent yet."""
        limiter = UploadLimiter(options.upload_concurrency, options.uploads_per_second)
        async with open_http(options) as http:
            client = cls(Transport(http, options, limiter.throttled), limiter)
            try:
                yield client
            finally:
                await client._stop_detecting()

    @property
    def limiter(self) -> UploadLimiter:
        """The limits in force, for metrics."""
        return self._limiter

    @property
    def contract(self) -> Contract | None:
        """The contract that was found last; None before, and after its answers stopped fitting."""
        return self._contract

    def update_credentials(self, credentials: Credentials) -> None:
        """Uses these from the next request on."""
        self._transport.replace_credentials(credentials)

    async def detect_contract(self) -> Contract:
        """The contract XieHe speaks. Callers share one detection; it is repeated after the answers stopped fitting."""
        if self._contract is not None:
            return self._contract
        if self._detection is None or self._detection.done():
            self._detection = asyncio.create_task(self._detected(), name="xiehe-detect-contract")
        return await asyncio.shield(self._detection)

    async def check(self) -> BackendHealth:
        """Asks once, without retries, whether an import could work now. Raises no BackendError."""
        try:
            self._contract = self._contract or await detect(self._transport, attempts=1)
            payload_of(await self._transport.send(Call("me", "GET", "/auth/me"), attempts=1))
        except BackendUnavailableError as error:
            self._contract = None
            return BackendHealth(None, error.code, error.detail)
        except (OutOfDescriptorsError, BackendError) as error:  # neither says that the contract has changed
            return BackendHealth(self._contract, error.code, error.detail)
        return BackendHealth(self._contract)

    async def find_patient(self, patient_id: str) -> PatientLookup | None:
        """The patient of that hospital number, or None; case and width do not count, accents do."""
        return await self._fitting(lambda _: self._patients.find(patient_id))

    async def create_patient(self, new: NewPatient) -> PatientLookup:
        """Creates the patient, or finds the one with that id.

        Raises:
            PatientIdCollisionError: XieHe takes the id for another patient's, which differs in accents.
            PatientDeletedInXieHeError: the id belongs to a deleted patient.
            PatientRejectedError: XieHe finds the fields unfit; the detail names them.
        """
        return await self._fitting(lambda contract: self._patients.create(new, contract))

    async def list_images(self, patient: RemotePatient) -> list[RemoteImage]:
        """The patient's complete images by ascending id; none if XieHe has no such row."""
        return await self._fitting(lambda contract: self._lists.images(patient.row_id, contract))

    async def upload(
        self,
        request: UploadRequest,
        *,
        known_ids: frozenset[int] | None = None,
        on_begin: OnBegin | None = None,
        may_send: MaySend | None = None,
    ) -> UploadReceipt:
        """Uploads one image, once.

        Args:
            request: what to upload.
            known_ids: images of the patient that are not this one (C1/C2); None lists them first.
            on_begin: awaited before anything is sent that can become an image. It gets the session's id (C3, C4; again
                for each new session) or None (C1, C2). After any error but UploadRejectedError, and after a restart,
                settle the last one before uploading again.
            may_send: called before each attempt at a session (C3, C4) or a request (C1, C2).

        Raises:
            UploadRejectedError: XieHe refuses this file.
            UploadUnavailableError: lists work, but no attempt at this upload did.
            UploadUnconfirmedError: C4 is still completing it; its session must be settled.
            UploadsHeldError: ``may_send`` returned False.
            UnreadableFileError: the file to be sent cannot be read.
            PatientDeletedInXieHeError: the patient is gone, or has another row.
        """
        try:
            return await self._fitting(lambda contract: self._upload(request, contract, known_ids, on_begin, may_send))
        except (ExhaustedError, NotFoundAnswerError) as error:
            raise await self._diagnosis(error, request) from error

    async def settle(self, intent: UploadIntent, image_path: str = "") -> UploadReceipt | None:
        """Find out whether an upload of unknown end has landed: its receipt, or None once it no longer can.

        With the image at ``image_path`` a completion of C4 that was begun is called again.

        Raises:
            UploadUnconfirmedError: it still can (C4 is completing it).
        """

        async def settled(contract: Contract) -> UploadReceipt | None:
            if contract in SESSION_CONTRACTS and intent.session is not None:
                return await self._sessions.settle(intent, contract, image_path)
            return await self._singles.settle(intent, contract)

        return await self._fitting(settled)

    async def try_upload(self, patient: RemotePatient) -> bool:
        """Whether a session for the patient can be made and filled; no image comes of it.

        False if a test would leave an image (C1-C3), or XieHe refuses it.

        Raises:
            BackendError: uploads do not work.
        """
        if await self.detect_contract() is not Contract.C4:
            return False
        try:
            await self._sessions.try_out(patient.row_id)
        except (UploadRejectedError, NotFoundAnswerError):
            return False
        return True

    async def _upload(
        self,
        request: UploadRequest,
        contract: Contract,
        known_ids: frozenset[int] | None,
        on_begin: OnBegin | None,
        may_send: MaySend | None,
    ) -> UploadReceipt:
        if contract in SESSION_CONTRACTS:
            return await self._sessions.upload(request, contract, on_begin, may_send)
        return await self._singles.upload(request, contract, known_ids, on_begin, may_send)

    async def _fitting(self, work: Callable[[Contract], Awaitable[_T]]) -> _T:
        """Does the work by the contract's rules; detects the contract again if the answers do not fit."""
        contract = await self.detect_contract()
        try:
            return await work(contract)
        except BackendContractError:
            self._forget(contract)
            if await self.detect_contract() is contract:
                raise
            _log.warning("XieHe no longer speaks %s but %s", contract, self._contract)
            return await work(await self.detect_contract())

    def _forget(self, contract: Contract) -> None:
        if self._contract is contract:
            self._contract = None

    async def _detected(self) -> Contract:
        self._contract = await detect(self._transport)
        _log.info("XieHe speaks %s", self._contract)
        return self._contract

    async def _stop_detecting(self) -> None:
        if self._detection is not None:
            self._detection.cancel()
            await asyncio.gather(self._detection, return_exceptions=True)

    async def _diagnosis(self, error: ExhaustedError | NotFoundAnswerError, request: UploadRequest) -> Exception:
        """What an upload failed of in all attempts: XieHe, the patient's absence, or perhaps the file."""
        if isinstance(error, ExhaustedError) and _surely_not_the_file(error):
            return BackendUnavailableError(error.detail, error.evidence)
        found = await self.find_patient(request.patient.patient_id)
        if found is None or found.patient.row_id != request.patient.row_id:
            return PatientDeletedInXieHeError(
                f"患者 {request.patient.patient_id} 在导入过程中已从 XieHe 删除或被替换，请重新导入该患者。"
            )
        await self.list_images(request.patient)
        if isinstance(error, NotFoundAnswerError):
            return BackendContractError(error.detail, error.evidence)
        seen = error.last.call
        return UploadUnavailableError(
            f"XieHe 能应答其他请求，但图像上传始终失败（{seen}，已多次尝试）。{hint_of(seen)}", seen
        )


def _surely_not_the_file(error: ExhaustedError) -> bool:
    """No connection at all, or a limit of rates."""
    seen = error.last.call
    if seen.status is None:
        return error.last.delivery is Delivery.NOT_SENT
    return seen.status in THROTTLING and (seen.status != 404 or seen.error_code == NOT_JSON)
