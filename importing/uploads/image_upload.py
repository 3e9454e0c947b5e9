"""Uploads the images of one file under reserved names: keep → intent → upload → index row."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from domain.descriptors import check_descriptors
from domain.regular_files import regular_size
from errors import (
    DiskFullError,
    FileError,
    OutputUnusableError,
    UnreadableFileError,
    UnstableFileError,
    UploadRejectedError,
    UploadUnconfirmedError,
)
from importing.images.kept_files import keep
from importing.naming.name_decision import NameState
from importing.naming.stored_names import MAX_FOLDER_BYTES, safe_local_name
from importing.patients.patient_cache import NameReservation, PatientEntry
from importing.runs.run_context import RunContext
from importing.uploads.upload_rounds import upload_in_rounds
from models import (
    DicomHeader,
    ImportedImage,
    RenderedImage,
    SourceFile,
    UploadIntent,
    UploadReceipt,
    UploadRequest,
    display_path,
)

_MIME_TYPES = {"jpg": "image/jpeg", "png": "image/png"}
_VANISHED = "转换出的图片在上传完成前从 OUTPUT_DIR 消失，将在任务末尾重试"
_REPLACED = "转换出的图片在上传完成前被改动，将在任务末尾重试"


@dataclass(frozen=True, slots=True)
class UploadJob:
    """What one file's images are uploaded as, and for whom."""

    context: RunContext
    source: SourceFile
    entry: PatientEntry
    header: DicomHeader
    instance: str
    reservation: NameReservation

    @property
    def missing_frames(self) -> tuple[int, ...]:
        """Numbers of the frames that XieHe lacks, 1-based."""
        wanted = {NameState.FREE, NameState.OTHERS}
        if self.context.options.reupload_removed:
            wanted.add(NameState.REMOVED)
        return tuple(number for number, state in enumerate(self.reservation.decision.states, 1) if state in wanted)

    @property
    def has_frames(self) -> bool:
        """Whether the file has several frames: each row is recorded at once, not with the file's outcome."""
        return len(self.reservation.decision.keys) > 1


@dataclass(frozen=True, slots=True)
class UploadedImages:
    """What became of one file's images.

    Attributes:
        new_frames, new_bytes: uploaded by this task.
        first: index row of the first frame, if there is one; its image is kept at ``jpg_path``.
        by_name: XieHe had at least one name before us, content not verified.
        removed: at least one frame was imported once and is not listed any more.
        failure: error of the first of ``missing_frames``.
        new_name: what XieHe calls the first frame's image by now, or None if that is its stored name.
        unrecorded: index rows that the history gets together with the file's outcome.
    """

    new_frames: int = 0
    first: ImportedImage | None = None
    by_name: bool = False
    removed: bool = False
    jpg_path: str | None = None
    failure: FileError | None = None
    missing_frames: tuple[int, ...] = ()
    new_bytes: int = 0
    new_name: str | None = None
    unrecorded: tuple[ImportedImage, ...] = ()


@dataclass(frozen=True, slots=True)
class _UploadedFrame:
    row: ImportedImage
    kept_path: str | None


async def upload_images(job: UploadJob, images: Sequence[RenderedImage]) -> UploadedImages:
    """Uploads the frames that XieHe lacks. A frame that it refuses does not stop the others."""
    rows = [_row(job, number, key) for number, key in enumerate(job.reservation.decision.keys, 1)]
    await _claim_listed(job, rows)
    by_number = {image.frame_number: image for image in images}
    frames = job.missing_frames
    uploads = [_upload_frame(job, by_number[number], rows[number - 1]) for number in frames]
    results = await asyncio.gather(*uploads, return_exceptions=True)
    return _summary(job, rows, dict(zip(frames, results, strict=True)))


async def _claim_listed(job: UploadJob, rows: Sequence[ImportedImage]) -> None:
    """Records which instance took a name that XieHe had before us, so that another instance gets a new one."""
    for row in rows:
        if image := job.reservation.found.get(row.name_key):
            claimed = replace(
                row,
                uploaded_by_us=False,
                stored_name=image.filename,
                image_file_id=image.image_file_id,
                storage_etag=image.storage_etag,
            )
            await _record(job, claimed)
            job.entry.remember(claimed)


async def _record(job: UploadJob, row: ImportedImage, intent_id: str | None = None) -> None:
    await job.context.retry_after_pause(partial(job.context.tools.history.record_image, row, intent_id))


# --- one frame


async def _upload_frame(job: UploadJob, image: RenderedImage, row: ImportedImage) -> _UploadedFrame:
    if job.reservation.decision.states[row.frame_number - 1] is NameState.OTHERS:
        raise UploadRejectedError(f"文件名 {row.stored_name} 及其加后缀的形式都被其他影像占用")
    try:
        kept_path = await _keep_image(job, image, row)  # before the upload, so that a kill in between loses neither
        return _UploadedFrame(await _upload_row(job, image, row), kept_path)
    finally:
        if job.has_frames:  # a single image is removed with its file
            await asyncio.to_thread(_remove, image.path)


async def _keep_image(job: UploadJob, image: RenderedImage, row: ImportedImage) -> str | None:
    """Raises UnstableFileError: the rendered file is missing."""
    _require_there(image.path, image.size_bytes)
    tools = job.context.tools
    if not tools.keep_jpg:
        return None
    patient_folder = safe_local_name(job.entry.patient_id, MAX_FOLDER_BYTES)
    folder = os.path.join(tools.output_dir, job.source.month, patient_folder)
    step = partial(asyncio.to_thread, _keep, image.path, folder, row.stored_name)
    return await job.context.retry_after_pause(step)


async def _upload_row(job: UploadJob, image: RenderedImage, row: ImportedImage) -> ImportedImage:
    row = replace(row, jpg_size=image.size_bytes, storage_etag=image.storage_etag)
    known_ids = job.entry.names.ids_at(row.name_key)
    intent = UploadIntent(intent_id=uuid.uuid4().hex, image=row, known_ids=known_ids, created_at=datetime.now(UTC))
    receipt = await _upload(job, intent, image.path)
    row = replace(row, image_file_id=receipt.image_file_id, uploaded_at=datetime.now(UTC))
    if job.has_frames:
        await _record(job, row, intent.intent_id)
    job.entry.remember(row)
    return row


async def _upload(job: UploadJob, intent: UploadIntent, path: str) -> UploadReceipt:
    context = job.context
    request = UploadRequest(
        path=path,
        stored_name=intent.image.stored_name,
        patient=job.reservation.patient,
        exam_type=job.header.image.exam_type,
        mime_type=_MIME_TYPES[context.render.output_format],
    )
    try:
        return await upload_in_rounds(context, intent, request)
    except UploadUnconfirmedError:
        raise  # it can still become an image
    except FileError as error:
        await context.retry_after_pause(partial(context.tools.history.drop_intent, intent.intent_id))
        if isinstance(error, UnreadableFileError):
            job.entry.invalidate()  # an attempt before this one may have arrived
            _require_there(path)
        raise


# --- values


def _row(job: UploadJob, number: int, key: str) -> ImportedImage:
    patient, source, context = job.reservation.patient, job.source, job.context
    return ImportedImage(
        backend_url=context.tools.backend_url,
        patient_id=patient.patient_id,
        row_id=patient.row_id,
        name_key=key,
        stored_name=f"{key}.{context.render.output_format}",
        instance=job.instance,
        sop_instance_uid=job.header.image.sop_instance_uid,
        frame_number=number,
        source_path=display_path(source.path),
        size_bytes=source.size_bytes,
        mtime_ns=source.mtime_ns,
        uploaded_by_us=True,
        task_id=context.task.task_id,
        image_file_id=None,
        jpg_size=None,
        uploaded_at=datetime.now(UTC),
    )


def _summary(
    job: UploadJob, rows: Sequence[ImportedImage], results: Mapping[int, _UploadedFrame | BaseException]
) -> UploadedImages:
    """Raises the first error that is not a file's own."""
    failures = {number: result for number, result in results.items() if isinstance(result, BaseException)}
    for error in failures.values():
        if not isinstance(error, FileError):
            raise error
    names, states = job.entry.names, job.reservation.decision.states
    uploaded = {number: result for number, result in results.items() if isinstance(result, _UploadedFrame)}
    arrived = tuple(frame.row for frame in uploaded.values())
    earlier = [names.row_of(row.name_key) for row in rows if _came_earlier(job, row)]
    new = [*arrived, *filter(None, earlier)]
    first = None if 1 in failures else uploaded[1].row if 1 in uploaded else names.row_of(rows[0].name_key)
    return UploadedImages(
        new_frames=len(new),
        new_bytes=sum(row.jpg_size or 0 for row in new),
        first=first,
        new_name=names.new_name_of(first) if first else None,
        by_name=bool({NameState.UNKNOWN, NameState.CLAIMED_BEFORE}.intersection(states)),
        removed=NameState.REMOVED in states and not job.context.options.reupload_removed,
        jpg_path=uploaded[1].kept_path if 1 in uploaded else None,
        failure=next((error for error in failures.values() if isinstance(error, FileError)), None),
        missing_frames=tuple(sorted(failures)),
        unrecorded=() if job.has_frames else arrived,
    )


def _came_earlier(job: UploadJob, row: ImportedImage) -> bool:
    """True if this task brought the frame before the service was interrupted."""
    known = job.entry.names.row_of(row.name_key)
    return (
        job.reservation.decision.states[row.frame_number - 1] is NameState.OURS
        and known is not None
        and (known.task_id, known.source_path) == (row.task_id, row.source_path)
    )


# --- files


def _keep(private: str, folder: str, stored_name: str) -> str:
    """As :func:`importing.images.kept_files.keep`.

    Raises:
        UnstableFileError: the rendered file is missing.
        DiskFullError, OutputUnusableError: OUTPUT_DIR does not take it.
        OutOfDescriptorsError: there is none to write it.
    """
    try:
        return keep(private, folder, stored_name)
    except OSError as error:
        check_descriptors(error)
        _require_there(private)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fault = DiskFullError if full else OutputUnusableError
        raise fault(f"无法写入 OUTPUT_DIR（{errno.errorcode.get(error.errno or 0, '未知错误')}）") from error


def _require_there(path: str, size_bytes: int | None = None) -> None:
    """Raises UnstableFileError: the image is gone or was replaced; it can be rendered again."""
    try:
        size_found = regular_size(path)
    except OSError as error:
        raise UnstableFileError(_VANISHED) from error
    if size_bytes not in (None, size_found):
        raise UnstableFileError(_REPLACED)


def _remove(path: str) -> None:
    with suppress(OSError):  # an image that stays does not fail its file
        os.unlink(path)
