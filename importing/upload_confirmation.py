"""After the last file: the ids of images that XieHe did not tell on upload (C1, C2), and proof that it lists them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import groupby

from importing.run_context import RunContext
from models import FileWarning, ImportedImage, RemotePatient, Sex


async def confirm_uploads(context: RunContext) -> None:
    """Lists each patient once who got images without an id, and writes the ids down; warns of what is not listed.

    Raises:
        TaskStopped: cancelled or stopping.
    """
    unlisted = 0
    async for page in _pages(context):
        for row_id, images in groupby(page, key=lambda image: image.row_id):
            unlisted += await _confirm(context, row_id, list(images))
    if unlisted:
        message = f"{unlisted} 个影像上传时 XieHe 已应答成功，但现在没有列出，请在 XieHe 中核对"
        context.task.add_warnings([FileWarning("upload_not_listed", message)])


async def _pages(context: RunContext) -> AsyncIterator[list[ImportedImage]]:
    after = ("", "")
    while page := await context.tools.history.images_without_id(context.task.task_id, after):
        yield page
        after = (page[-1].patient_id, page[-1].name_key)


async def _identify(context: RunContext, images: list[ImportedImage]) -> None:
    await asyncio.gather(*(context.tools.history.identify_image(image) for image in images))


async def _confirm(context: RunContext, row_id: int, images: list[ImportedImage]) -> int:
    """How many of a patient's images are not listed."""
    patient = RemotePatient(row_id, images[0].patient_id, Sex.UNKNOWN, None)
    listed = await context.steadily(lambda: context.tools.client.list_images(patient))
    ids = {image.filename: image.image_file_id for image in listed}
    known = [replace(image, image_file_id=ids[image.stored_name]) for image in images if image.stored_name in ids]
    await context.steadily(lambda: _identify(context, known))
    return len(images) - len(known)
