"""One file's import: read → identify → reserve names → render → upload → outcome.

The steps are functions over frozen values. :func:`import_file` and :func:`_import_for` replace the file's
:class:`FileProgress` step by step, and turn an error into an outcome with all that was known before it.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from domain.patient_identity import check_patient_id, form_key, normal_patient_id
from errors import FileError, MisplacedFileError, PatientDeletedInXieHeError, PatientUnavailableError
from history import SeenSource
from importing.files.file_outcome import failed, seen_source, uploaded
from importing.files.file_progress import FileProgress
from importing.files.name_reserving import reserve_names
from importing.files.reading import error_of, read, remove_images, render
from importing.naming.stored_names import stem_of
from importing.naming.ticket_lock import Ticket
from importing.patients.identity_rules import identify
from importing.patients.patient_cache import PatientEntry
from importing.runs.run_context import RunContext
from importing.telemetry import Stage
from importing.uploads.image_upload import UploadJob, upload_images
from models import DicomHeader, FileOutcome, IgnoredFile, ImportedImage, PatientMismatchPolicy, SourceFile


@dataclass(frozen=True, slots=True)
class FileResult:
    """An outcome and what the history keeps beside it.

    Attributes:
        outcome: how the file ended.
        seen: what lets a later run skip the file unread, or None.
        recorded: None until it is recorded; then whether it was new to the history.
    """

    outcome: FileOutcome
    seen: SeenSource | None = None
    recorded: bool | None = None


def issue_ticket(context: RunContext, source: SourceFile) -> Ticket:
    """The file's place among files whose names may meet: same stem, same patient. To be called in scan order."""
    stem = stem_of(os.path.basename(source.path))
    if context.options.on_patient_mismatch is PatientMismatchPolicy.TRUST_DICOM:  # a folder may hold any patient's
        return context.name_order.issue(stem)
    return context.name_order.issue(f"{form_key(source.patient_dir)}/{stem}")


async def import_file(
    context: RunContext, source: SourceFile, ticket: Ticket, *, misplaced: bool = False
) -> FileResult | IgnoredFile:
    """Imports a file. A failure of the file is its outcome. Raises TaskStopped; nothing is recorded then."""
    tools = context.tools
    progress = FileProgress(source, time.monotonic(), f"{tools.partial_dir}/{uuid.uuid4().hex}")
    try:
        with tools.telemetry.in_flight(Stage.FILE):
            header_only = misplaced or await _is_probably_uploaded(context, source)
            progress = await read(context, progress, with_images=not header_only)
            if progress.reply.ignored is not None:
                return IgnoredFile(source.path, progress.reply.ignored)
            if misplaced:
                raise MisplacedFileError("文件不在 <月份>/<患者ID>/ 目录之内；未导入")
            if (header := progress.header) is None:
                raise error_of(progress.reply.failure)
            progress = replace(progress, patient_id=header.patient.patient_id or normal_patient_id(source.patient_dir))
            identity = identify(source.patient_dir, header.patient, context.options.on_patient_mismatch)
            progress = replace(progress, patient_id=identity.patient_id).warned(identity.warnings)
            with tools.patient_cache.acquire(identity.patient_id) as entry:
                return await _import_for(context, progress, header, entry, ticket)
    except PatientUnavailableError as error:  # the folder's patient, asked for before the file was read
        return FileResult(failed(replace(progress, patient_id=normal_patient_id(source.patient_dir)), error))
    except FileError as error:
        return FileResult(failed(progress, error))
    finally:
        context.name_order.discard(ticket)
        remove_images(progress)


async def _import_for(
    context: RunContext, progress: FileProgress, header: DicomHeader, entry: PatientEntry, ticket: Ticket
) -> FileResult:
    """The steps that concern the patient."""
    instances, uid = context.tools.instances, header.image.sop_instance_uid
    try:
        with ExitStack() as stack:
            stack.enter_context(instances.hold(uid, entry.patient_id))
            await context.retry_after_pause(partial(instances.check, uid, entry.patient_id))
            await ticket.wait()
            progress = await reserve_names(context, entry, progress, header)
            progress.raise_error()
            reservation = progress.reservation
            assert reservation is not None
            stack.callback(entry.release, reservation)
            ticket.release()
            progress = progress.warned(instances.add_name(uid, entry.patient_id, reservation.decision.keys[0]))
            job = UploadJob(context, progress.source, entry, header, progress.instance, reservation)
            if job.missing_frames and not progress.reply.images:
                progress = await render(context, progress)
                progress.raise_error()
            progress = await _upload(context, progress, job)
            return await _finish(context, progress, job)
    except FileError as error:
        return FileResult(failed(progress, error))
    finally:
        remove_images(progress)


async def record(context: RunContext, result: FileResult, images: Sequence[ImportedImage] = ()) -> FileResult:
    """Writes the outcome into the history, once."""
    if result.recorded is not None:
        return result
    task_id, write = context.task.task_id, context.tools.history.record_outcome
    step = partial(write, task_id, result.outcome, images, result.seen)
    return replace(result, recorded=await context.retry_after_pause(step))


async def _is_probably_uploaded(context: RunContext, source: SourceFile) -> bool:
    """Whether XieHe lists the plain name already, so that the header alone will probably do."""
    folder_id = normal_patient_id(source.patient_dir)
    try:
        check_patient_id(folder_id)
    except FileError:
        return False  # XieHe cannot have such a patient
    with context.tools.patient_cache.acquire(folder_id) as entry:

        async def is_listed() -> bool:
            return entry.probably_uploaded(os.path.basename(source.path))

        return await context.with_patient_lock(entry, is_listed)


# --- upload and outcome


async def _upload(context: RunContext, progress: FileProgress, job: UploadJob) -> FileProgress:
    begun = time.monotonic()
    try:
        with context.tools.telemetry.in_flight(Stage.UPLOAD):
            done = await upload_images(job, progress.reply.images)
    finally:
        remove_images(progress)  # before anything waits: the history may need the space
    seconds = {**progress.stage_seconds, "upload": time.monotonic() - begun}
    return replace(progress, uploaded=done, stage_seconds=seconds)


async def _finish(context: RunContext, progress: FileProgress, job: UploadJob) -> FileResult:
    """The outcome. Rows of images that are not recorded yet are recorded with it, while the instance is held."""
    done, options = progress.uploaded, context.options
    if isinstance(done.failure, PatientDeletedInXieHeError):
        job.entry.invalidate()
    outcome = uploaded(progress, job.reservation.decision, dry_run=options.dry_run)
    result = FileResult(outcome, seen_source(progress, outcome, context.tools.backend_url))
    if done.unrecorded:
        result = await record(context, result, done.unrecorded)
        for row in done.unrecorded:  # names that were read anew since the upload lack them
            job.entry.remember(row)
    return result
