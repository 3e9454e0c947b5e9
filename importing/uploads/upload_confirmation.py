"""After the last file: the ids of images that XieHe did not tell on upload (C1, C2), and proof that it lists them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from itertools import groupby

from importing.runs.run_context import RunContext, RunTools
from models import FileWarning, ImportedImage, RemotePatient, Sex


async def confirm_uploads(context: RunContext) -> None:
    """Lists each patient once who got images without an id, and writes the ids down; warns of what is not listed.

    Raises:
        TaskStopped: cancelled or stopping.
    """
    unlisted = 0
    async for images in images_by_patient(context.tools, context.task.task_id):
        unlisted += await context.retry_after_pause(partial(identify_images, context.tools, images))
    if unlisted:
        message = f"{unlisted} 个影像上传时 XieHe 已应答成功，但现在没有列出，请在 XieHe 中核对"
        context.task.add_warnings([FileWarning("upload_not_listed", message)])


async def images_by_patient(tools: RunTools, task_id: str) -> AsyncIterator[list[ImportedImage]]:
    """A task's images without an id, those of one patient together."""
    after = ("", "")
    while page := await tools.history.images_without_id(task_id, after):
        for _, images in groupby(page, key=lambda image: image.row_id):
            yield list(images)
        after = (page[-1].patient_id, page[-1].name_key)


async def identify_images(tools: RunTools, images: list[ImportedImage]) -> int:
    """Writes down the ids of one patient's images; how many XieHe does not list. Safe to repeat.

    Raises:
        BackendError, DiskFullError, HistoryError: not now.
    """
    patient = RemotePatient(images[0].row_id, images[0].patient_id, Sex.UNKNOWN, None)
    ids = {image.filename: image.image_file_id for image in await tools.client.list_images(patient)}
    known = [replace(image, image_file_id=ids[image.stored_name]) for image in images if image.stored_name in ids]
    await asyncio.gather(*(tools.history.identify_image(image) for image in known))
    return len(images) - len(known)
