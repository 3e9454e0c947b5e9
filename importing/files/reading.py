"""The steps of a file's import that run in a render process: read its header, render its images."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial

from errors import ConfigurationError, FileError, RenderCrashedError, UnstableFileError, file_error
from importing.files.file_progress import FileProgress
from importing.naming.stored_names import named_dicom, named_image
from importing.runs.run_context import RunContext
from importing.settings_mapping import check_exam_rules
from importing.telemetry import Stage
from models import Failure, PatientMismatchPolicy, ReadReply, ReadRequest


async def read(context: RunContext, progress: FileProgress, *, with_images: bool) -> FileProgress:
    """Reads the header and, if asked for, renders the images in the same parse."""
    tools, source = context.tools, progress.source
    holds = context.options.on_patient_mismatch is PatientMismatchPolicy.HOLD
    name = os.path.basename(source.path)
    request = ReadRequest(
        path=source.path,
        named_dicom=named_dicom(name),
        plain_image=named_image(name, tools.image_extensions),
        output_prefix=progress.output_prefix,
        render=context.render if with_images else None,
        only_if_patient_id=source.patient_dir if holds else None,
        exam_rules_path=tools.exam_rules_path,
        max_file_bytes=tools.max_file_bytes,
        skip_for_processing=tools.skip_for_processing,
        area=tools.sources,
    )
    return progress.after_read(await context.retry_after_pause(partial(_run_renderer, context, request)))


async def _run_renderer(context: RunContext, request: ReadRequest) -> ReadReply:
    """What a renderer replies, unless it rejects exam rules that are in order.

    Raises:
        ConfigurationError: EXAM_RULES_FILE cannot be used any more.
        RenderCrashedError: the renderer reports it, and the rules are in order.
    """
    try:
        with context.tools.telemetry.in_flight(Stage.RENDER if request.render else Stage.READ):
            return await context.tools.renderer.run(request)
    except ConfigurationError as error:
        await asyncio.to_thread(check_exam_rules, context.tools.exam_rules_path)
        raise RenderCrashedError("渲染进程不能使用体位规则，而规则文件无误") from error


async def render(context: RunContext, progress: FileProgress) -> FileProgress:
    """Reads the file again, for its images. ``error`` is set if that fails, or if another file has taken its place."""
    again = await read(context, progress, with_images=True)
    return replace(again, error=_render_error(progress, again))


def _render_error(before: FileProgress, after: FileProgress) -> FileError | None:
    if after.reply.failure is not None:
        return error_of(after.reply.failure)
    if after.reply.ignored is not None or _content(before) != _content(after):
        return UnstableFileError("文件在两次读取之间被替换；未上传")
    return None if after.reply.images else RenderCrashedError("渲染进程没有交出图像，也没有给出原因")


def _content(progress: FileProgress) -> tuple[object, ...]:
    header = progress.header
    return header and (header.patient, header.image), progress.reply.content_sha256


def error_of(failure: Failure | None) -> FileError:
    """A failure of the render process, as the error that it was."""
    assert failure is not None, "a reply without header, images and failure"
    return file_error(failure.code, failure.detail)


def remove_images(progress: FileProgress) -> None:
    """Removes the rendered images; to be called when they are uploaded or not needed."""
    for image in progress.reply.images:
        with suppress(OSError):  # what stays is removed at the next start
            os.unlink(image.path)
