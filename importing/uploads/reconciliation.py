"""Reconciles uploads whose end is unknown: asks XieHe what became of them, and writes that into the index.

An intent is written before the first byte of an upload. It stays open until the image's row is written, or until the
upload is known to have failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from errors import (
    BackendError,
    DiskFullError,
    FileError,
    HistoryError,
    TaskNotFoundError,
    UnstableFileError,
    UploadUnconfirmedError,
)
from importing.runs.run_context import ImportTools, RunContext, RunTools
from models import FileWarning, ImportedImage, RemotePatient, Sex, UploadIntent, UploadReceipt

_log = logging.getLogger(__name__)

EVERY_S = 60.0


# --- at the start of a run, and before each upload


async def reconcile_task(context: RunContext) -> None:
    """Each open intent of the task becomes a row of the index (the image arrived) or is dropped (it did not)."""
    tools = context.tools
    intents = await tools.history.open_intents(context.task.task_id)
    await asyncio.gather(*(context.retry_after_pause(partial(_reconcile_or_keep, tools, intent)) for intent in intents))


async def reconcile_name(tools: RunTools, wanted: ImportedImage, image_path: str) -> UploadReceipt | None:
    """The receipt of an earlier upload under this image's name, if one arrived.

    Raises:
        UploadUnconfirmedError: XieHe is still completing one, so that a second upload could double it.
        UnstableFileError: one of another instance arrived, so the name is taken.
        BackendError, DiskFullError, HistoryError: not now.
    """
    for intent in await tools.history.intents_of_name(wanted):
        same = intent.image.instance == wanted.instance
        receipt = await _reconcile(tools, intent, image_path if same else "")
        if receipt is not None and not same:
            raise UnstableFileError(f"文件名 {wanted.stored_name} 刚被另一影像占用，将在任务末尾重试")
        if receipt is not None:
            return receipt
    return None


async def _reconcile(tools: RunTools, intent: UploadIntent, image_path: str = "") -> UploadReceipt | None:
    """Raises UploadUnconfirmedError if XieHe is still completing it; the intent stays open then."""
    try:
        receipt = await tools.client.settle(intent, image_path)
    except UploadUnconfirmedError:
        raise
    except FileError:
        receipt = None
    if receipt is None:
        await tools.history.drop_intent(intent.intent_id)
        return None
    arrived = replace(intent.image, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
    await tools.history.record_image(arrived, intent.intent_id)
    return receipt


async def _reconcile_or_keep(tools: RunTools, intent: UploadIntent) -> None:
    """Safe to repeat. Raises BackendError, DiskFullError, HistoryError."""
    with suppress(UploadUnconfirmedError):
        await _reconcile(tools, intent)


# --- at the end of a run


async def confirm_uploads(context: RunContext) -> None:
    """Looks up the ids that XieHe did not return on upload (C1, C2); warns of images that it does not list."""
    unlisted = 0
    async for images in _images_without_id(context.tools, context.task.task_id):
        unlisted += await context.retry_after_pause(partial(_identify, context.tools, images))
    if unlisted:
        message = f"{unlisted} 个影像上传时 XieHe 已应答成功，但现在没有列出，请在 XieHe 中核对"
        context.task.add_warnings([FileWarning("upload_not_listed", message)])


async def _images_without_id(tools: RunTools, task_id: str) -> AsyncIterator[list[ImportedImage]]:
    """Those of one patient together."""
    after = ("", "")
    while page := await tools.history.images_without_id(task_id, after):
        for _, images in groupby(page, key=lambda image: image.row_id):
            yield list(images)
        after = (page[-1].patient_id, page[-1].name_key)


async def _identify(tools: RunTools, images: list[ImportedImage]) -> int:
    """Writes down the ids of one patient's images; returns how many XieHe does not list. Safe to repeat."""
    patient = RemotePatient(images[0].row_id, images[0].patient_id, Sex.UNKNOWN, None)
    ids = {image.filename: image.image_file_id for image in await tools.client.list_images(patient)}
    known = [replace(image, image_file_id=ids[image.stored_name]) for image in images if image.stored_name in ids]
    await asyncio.gather(*(tools.history.identify_image(image) for image in known))
    return len(images) - len(known)


# --- in the background, and before a new run


class OrphanedUploadRecovery:
    """Reconciles the uploads of cancelled and failed tasks, so that a later import knows their images.

    The counts of such a task stay as they were reported.
    """

    def __init__(self, tools: ImportTools) -> None:
        self._tools = tools
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Repeats :meth:`reconcile` until cancelled; a fault leaves the rest to the next round."""
        while True:
            try:
                await self.reconcile()
            except (BackendError, DiskFullError, HistoryError) as error:
                _log.warning("uploads of ended tasks not reconciled yet: %s", error.code)
            await asyncio.sleep(EVERY_S)

    async def reconcile(self) -> None:
        """Waits for uploads that may still arrive. Safe to repeat. Raises BackendError, DiskFullError, HistoryError."""
        async with self._lock:
            for task_id in await self._tools.history.tasks_left_in_doubt():
                with suppress(TaskNotFoundError):  # pruned meanwhile
                    await self._reconcile_ended(task_id)

    async def _reconcile_ended(self, task_id: str) -> None:
        tools = self._tools
        mine = [i for i in await tools.history.open_intents(task_id) if i.image.backend_url == tools.backend_url]
        if not mine:
            return
        async for images in _images_without_id(tools, task_id):
            try:
                await _identify(tools, images)
            except FileError as error:
                _log.warning("task=%s ids of a patient's images not learnt: %s", task_id, error.code)
        results = await asyncio.gather(*(_reconcile_or_keep(tools, intent) for intent in mine), return_exceptions=True)
        for fault in filter(None, results):
            raise fault
        _log.info("task=%s uploads of unknown end reconciled: %d", task_id, len(mine))
