"""Uploads that an earlier process began and nobody heard the end of: looked up in XieHe before the task goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from api_client import UploadIntent as UnsettledUpload
from errors import FileError
from importing.run_context import RunContext
from models import RemotePatient, Sex, UploadIntent, UploadReceipt, UploadRequest


async def settle_intents(context: RunContext) -> None:
    """Each open intent of the task becomes a row of the index (it landed) or is dropped (it did not).

    Raises:
        TaskStopped: cancelled or stopping; the intents stay open.
    """
    intents = await context.tools.history.open_intents(context.task.task_id)
    await asyncio.gather(*(_settle(context, intent) for intent in intents))


async def _settle(context: RunContext, intent: UploadIntent) -> None:
    history, image = context.tools.history, intent.image
    try:
        receipt: UploadReceipt | None = await context.steadily(lambda: context.tools.client.settle(unsettled(intent)))
    except FileError:
        receipt = None
    if receipt is None:
        await context.steadily(lambda: history.drop_intent(intent.intent_id))
        return
    landed = replace(image, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
    await context.steadily(lambda: history.record_image(landed, intent.intent_id))


def unsettled(intent: UploadIntent, path: str = "") -> UnsettledUpload:
    """The intent as the XieHe client asks for it; with the picture at ``path``, C4 settles at once."""
    image = intent.image
    patient = RemotePatient(image.row_id, image.patient_id, Sex.UNKNOWN, None)
    request = UploadRequest(path, image.stored_name, patient, None)
    return UnsettledUpload(request, image.jpg_size, intent.session, frozenset(intent.known_ids))
