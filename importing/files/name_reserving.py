"""The step of a file's import that finds or creates its patient and reserves its names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from domain.patient_identity import FORM_DIFFERS_CODE, form_key
from errors import FileError, TooManyFramesError
from importing.files.file_progress import FileProgress
from importing.files.reading import error_of, render
from importing.naming.stored_names import NameChoices, name_choices
from importing.patients.identity_rules import check_demographics, new_patient
from importing.patients.patient_cache import NameReservation, PatientEntry
from importing.runs.run_context import RunContext
from models import DicomHeader, FileWarning, PatientMismatchPolicy

PENDING_POLL_S = 1.0


async def reserve_names(
    context: RunContext, entry: PatientEntry, progress: FileProgress, header: DicomHeader
) -> FileProgress:
    """Returns the progress with a reservation or an error. A patient is created only for an image that renders."""
    choices = None
    if header.image.frames <= context.render.max_frames:  # a false number of frames must not become as many names
        choices = name_choices(os.path.basename(progress.source.path), progress.instance, header.image.frames)
    try:
        while progress.reservation is None and progress.error is None:
            step = partial(_try_to_reserve, context, entry, progress, header, choices)
            progress, pending = await context.with_patient_lock(entry, step)
            if pending:
                await _wait_for(context, pending)
            elif progress.reservation is None and progress.error is None:
                progress = await render(context, progress)
        return progress
    except FileError as error:
        return replace(progress, error=error)


async def _try_to_reserve(
    context: RunContext,
    entry: PatientEntry,
    progress: FileProgress,
    header: DicomHeader,
    choices: NameChoices | None,
) -> tuple[FileProgress, Sequence[NameReservation]]:
    """Under the entry's lock. Also returns reservations that have to end before; without any, rendering comes first."""
    if entry.refusal is not None:
        raise type(entry.refusal)(entry.refusal.detail)
    if entry.patient is not None:
        if context.options.on_patient_mismatch is not PatientMismatchPolicy.TRUST_FOLDER:
            policy = context.options.on_demographics_mismatch
            progress = progress.warned(check_demographics(header.patient, entry.patient, policy))
        await context.count_patient(entry, created=False)
    if (failure := progress.reply.failure) is not None:
        return replace(progress, error=error_of(failure)), ()
    if entry.patient is None:
        if not progress.reply.images:
            return progress, ()
        await _create_patient(context, entry, header)
    if entry.form_differs and entry.patient is not None:
        message = f"XieHe 中的患者ID写作 {entry.patient.patient_id}，仅大小写或全半角不同"
        progress = progress.warned([FileWarning(FORM_DIFFERS_CODE, message)])
    if choices is None:
        limit = context.render.max_frames
        error = TooManyFramesError(f"共 {header.image.frames} 帧，超过 MAX_FRAMES_PER_FILE={limit}")
        return replace(progress, error=error), ()
    if pending := entry.pending(choices, progress.instance):
        return progress, pending
    reupload = context.options.reupload_removed
    reservation = entry.reserve(choices, progress.instance, reupload_removed=reupload)
    return replace(progress, reservation=reservation), ()


async def _create_patient(context: RunContext, entry: PatientEntry, header: DicomHeader) -> None:
    tools, task_id, key = context.tools, context.task.task_id, form_key(entry.patient_id)
    new = new_patient(entry.patient_id, header.patient, context.options.on_patient_mismatch)
    await tools.history.intend_patient(task_id, key)
    try:
        created = await entry.create(new, tools.backend_url, tools.client, tools.history)
    except FileError:
        await tools.history.drop_patient_intent(task_id, key)
        raise
    if not created:
        await tools.history.drop_patient_intent(task_id, key)
    await context.count_patient(entry, created=created)


async def _wait_for(context: RunContext, pending: Sequence[NameReservation]) -> None:
    """Polls the task's own end meanwhile: the reservations may be another task's that is paused for long."""
    for reservation in pending:
        with suppress(TimeoutError):
            async with asyncio.timeout(PENDING_POLL_S):
                await reservation.done.wait()
    await context.task.gate()
