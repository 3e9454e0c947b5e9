"""Uploads one image in rounds of attempts, as the outage breaker permits, and never twice.

Each round first looks whether an earlier one arrived. The intent is recorded before the first byte is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from errors import BackendError, OutOfDescriptorsError, UploadRejectedError, UploadUnconfirmedError
from importing.runs.run_context import RunContext, pause_reason
from importing.uploads.outage_breaker import OF_THE_BACKEND, Uploader
from importing.uploads.reconciliation import reconcile_name
from models import UploadIntent, UploadReceipt, UploadRequest


@dataclass(frozen=True, slots=True)
class _Upload:
    context: RunContext
    intent: UploadIntent
    request: UploadRequest
    uploader: Uploader


async def upload_in_rounds(context: RunContext, intent: UploadIntent, request: UploadRequest) -> UploadReceipt:
    """Uploads until the image is in XieHe. A fault of XieHe pauses the task.

    Raises:
        FileError: the image cannot be uploaded.
        TaskStopped: cancelled or stopping.
    """
    uploader = Uploader(context.task, intent.image.source_path, partial(_show_waiting, context))
    return await context.retry_after_pause(partial(_run_rounds, _Upload(context, intent, request, uploader)))


async def _run_rounds(upload: _Upload) -> UploadReceipt:
    breaker, uploader = upload.context.tools.outage_breaker, upload.uploader
    while True:
        await breaker.acquire(uploader)
        try:
            receipt = await _run_round(upload)
        except UploadUnconfirmedError:
            breaker.unconfirmed(uploader)
            raise
        except BackendError as error:
            receipt = await _after_failure(upload, error)
            if receipt is None:
                continue
        except OutOfDescriptorsError as error:
            upload.context.pause_for(error)
            await upload.context.task.gate()
            continue
        finally:
            breaker.release(uploader)
        breaker.succeeded(uploader)
        if receipt is not None:
            return receipt


async def _run_round(upload: _Upload) -> UploadReceipt | None:
    """Looks whether an earlier round arrived, then uploads. None if a session was probed instead, and works."""
    context, intent, uploader, tools = upload.context, upload.intent, upload.uploader, upload.context.tools
    if uploader.probes_session:
        works = await tools.client.try_upload(upload.request.patient)
        uploader.no_session_probe = not works
        if works:
            return None
    if uploader.waited and not uploader.probes:
        for reason in OF_THE_BACKEND:
            context.task.release(reason)
        await context.task.gate()

    async def write_intent(session: str | None) -> None:
        """Before anything is sent that can become an image."""
        await tools.history.add_intent(replace(intent, session=session, created_at=datetime.now(UTC)))

    return await reconcile_name(tools, intent.image, upload.request.path) or await tools.client.upload(
        upload.request,
        known_ids=frozenset(intent.known_ids),
        on_begin=write_intent,
        may_send=partial(tools.outage_breaker.may_send, uploader),
    )


async def _after_failure(upload: _Upload, error: BackendError) -> UploadReceipt | None:
    """None if another round follows. Raises UploadRejectedError if the file is the cause, and none arrived."""
    tools = upload.context.tools
    try:
        tools.outage_breaker.failed(upload.uploader, error)
    except UploadRejectedError:
        receipt = await reconcile_name(tools, upload.intent.image, upload.request.path)
        if receipt is None:
            raise
        return receipt
    return None


def _show_waiting(context: RunContext, error: BackendError, detail: str) -> None:
    if pause_reason(error) not in context.task.pause_reasons:
        context.pause_for(error, detail)
