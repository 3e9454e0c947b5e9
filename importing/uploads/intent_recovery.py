"""Uploads that were begun and nobody heard the end of: looked up in XieHe before anything else is uploaded."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from errors import FileError, UnstableFileError, UploadUnconfirmedError
from importing.runs.run_context import RunContext, RunTools
from models import ImportedImage, UploadIntent, UploadReceipt


async def settle_intents(context: RunContext) -> None:
    """Each open intent of the task becomes a row of the index (it landed) or is dropped (it did not).

    Raises:
        TaskStopped: cancelled or stopping; the intents stay open.
    """
    intents = await context.tools.history.open_intents(context.task.task_id)
    await asyncio.gather(
        *(context.retry_after_pause(partial(settle_intent, context.tools, intent)) for intent in intents)
    )


async def settle_intent(tools: RunTools, intent: UploadIntent) -> None:
    """One of them; safe to repeat. It stays open where XieHe is still completing it.

    Raises:
        BackendError, DiskFullError, HistoryError: not now.
    """
    with suppress(UploadUnconfirmedError):
        await _settle(tools, intent, "")


async def settle_earlier(tools: RunTools, wanted: ImportedImage, path: str) -> UploadReceipt | None:
    """Uploads of this picture's name that an earlier run left open: the receipt of one that has landed meanwhile.

    Raises:
        UploadUnconfirmedError: XieHe is still completing one, so that a second upload could double it.
        UnstableFileError: another instance's has landed, so that the name is taken.
        BackendError, DiskFullError, HistoryError: not now.
    """
    for intent in await tools.history.intents_of_name(wanted):
        same = intent.image.instance == wanted.instance
        receipt = await _settle(tools, intent, path if same else "")
        if receipt is not None and not same:
            raise UnstableFileError(f"文件名 {wanted.stored_name} 刚被另一影像占用，将在任务末尾重试")
        if receipt is not None:
            return receipt
    return None


async def _settle(tools: RunTools, intent: UploadIntent, path: str) -> UploadReceipt | None:
    try:
        receipt = await tools.client.settle(intent, path)
    except UploadUnconfirmedError:
        raise
    except FileError:
        receipt = None
    if receipt is None:
        await tools.history.drop_intent(intent.intent_id)
        return None
    landed = replace(intent.image, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
    await tools.history.record_image(landed, intent.intent_id)
    return receipt
