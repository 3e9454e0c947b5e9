"""Uploads that were begun and nobody heard the end of: looked up in XieHe before anything else is uploaded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from api_client import UploadIntent as UnsettledUpload
from errors import FileError
from importing.run_context import RunContext, RunTools
from models import RemotePatient, Sex, UploadIntent, UploadReceipt, UploadRequest


async def settle_intents(context: RunContext) -> None:
    """Each open intent of the task becomes a row of the index (it landed) or is dropped (it did not).

    Raises:
        TaskStopped: cancelled or stopping; the intents stay open.
    """
    intents = await context.tools.history.open_intents(context.task.task_id)
    await asyncio.gather(*(context.steadily(partial(settle_intent, context.tools, intent)) for intent in intents))


async def settle_intent(tools: RunTools, intent: UploadIntent) -> None:
    """One of them; safe to repeat.

    Raises:
        BackendError, DiskFullError, HistoryError: not now.
    """
    try:
        receipt: UploadReceipt | None = await tools.client.settle(unsettled(intent))
    except FileError:
        receipt = None
    if receipt is None:
        await tools.history.drop_intent(intent.intent_id)
        return
    landed = replace(intent.image, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
    await tools.history.record_image(landed, intent.intent_id)


def unsettled(intent: UploadIntent, path: str = "") -> UnsettledUpload:
    """The intent as the XieHe client asks for it; with the picture at ``path``, C4 settles at once."""
    image = intent.image
    patient = RemotePatient(image.row_id, image.patient_id, Sex.UNKNOWN, None)
    request = UploadRequest(path, image.stored_name, patient, None)
    return UnsettledUpload(request, image.jpg_size, intent.session, frozenset(intent.known_ids))
