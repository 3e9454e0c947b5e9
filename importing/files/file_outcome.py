"""Turns the progress of a file into its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from domain import outcome_codes as codes
from errors import FileError, HeldFileError
from history import SeenSource
from importing.files.file_progress import FileProgress
from importing.naming.name_decision import NameDecision
from importing.uploads.image_upload import UploadedImages
from models import FileOutcome, FileWarning, OutcomeKind, display_path

FRAMES_NAMED = 10
"""More missing frames are only counted."""

_ARRIVED: Mapping[str, tuple[OutcomeKind, str]] = MappingProxyType(
    {
        codes.UPLOADED: (OutcomeKind.UPLOADED, "已上传为 {name}"),
        codes.UPLOADED_RENAMED: (OutcomeKind.UPLOADED, "已加后缀上传为 {name}"),
        codes.WOULD_UPLOAD: (OutcomeKind.WOULD_UPLOAD, "将上传为 {name}"),
        codes.WOULD_UPLOAD_RENAMED: (OutcomeKind.WOULD_UPLOAD, "将加后缀上传为 {name}"),
        codes.DUPLICATE: (OutcomeKind.DUPLICATE, "XieHe 中已有 {name}{renamed}"),
        codes.DUPLICATE_BY_NAME: (OutcomeKind.DUPLICATE, "XieHe 中已有同名影像 {name}{renamed}，内容未核对"),
        codes.REMOVED_IN_XIEHE: (OutcomeKind.DUPLICATE, "曾导入为 {name}，XieHe 中已看不到"),
    }
)
"""By code: kind and words of a file whose images are all in XieHe, or of a dry run would be."""


def failed(progress: FileProgress, error: FileError) -> FileOutcome:
    """The outcome of a file that an error ended."""
    return _outcome(progress, OutcomeKind.FAILED, error.code, error.detail, held=isinstance(error, HeldFileError))


def uploaded(progress: FileProgress, decision: NameDecision, *, dry_run: bool) -> FileOutcome:
    """The outcome of a file after its upload, which may lack frames."""
    done = progress.uploaded
    if done.failure is not None:
        return _outcome(progress, OutcomeKind.FAILED, done.failure.code, _missing(progress, done.failure))
    code = _code_of(decision, done, dry_run=dry_run)
    if code == codes.DUPLICATE_BY_NAME:
        message = "XieHe 中的同名影像不是本服务导入的，内容未核对"
        progress = progress.warned([FileWarning("content_not_verified", message)])
    if done.removed:
        message = "曾经导入过，但 XieHe 中已看不到（被人删除，或当前账号无权查看）"
        progress = progress.warned([FileWarning(codes.REMOVED_IN_XIEHE, message)])
    kind, words = _ARRIVED[code]
    name = done.first.stored_name if done.first else ""
    return _outcome(progress, kind, code, words.format(name=name, renamed=renamed_to(done.new_name)))


def seen_source(progress: FileProgress, outcome: FileOutcome, backend_url: str) -> SeenSource | None:
    """What lets a later run skip this file unread; None if its outcome may change."""
    source, header, reservation = progress.source, progress.header, progress.reservation
    if header is None or reservation is None or outcome.kind is OutcomeKind.FAILED:
        return None
    return SeenSource(
        backend_url=backend_url,
        source_path=source.path,
        size_bytes=source.size_bytes,
        mtime_ns=source.mtime_ns,
        patient_dir=source.patient_dir,
        patient_id=outcome.patient_id or "",
        header_patient_id=header.patient.patient_id,
        instance=progress.instance,
        sop_instance_uid=header.image.sop_instance_uid,
        name_keys=reservation.decision.keys,
    )


def renamed_to(new_name: str | None) -> str:
    """What XieHe calls an image by now, put behind the name that it was stored under."""
    return "" if new_name is None else f"（现名 {new_name}）"


def _code_of(decision: NameDecision, done: UploadedImages, *, dry_run: bool) -> str:
    if done.new_frames and dry_run:
        return codes.WOULD_UPLOAD_RENAMED if decision.suffixed else codes.WOULD_UPLOAD
    if done.new_frames:
        return codes.UPLOADED_RENAMED if decision.suffixed else codes.UPLOADED
    if done.removed:
        return codes.REMOVED_IN_XIEHE
    return codes.DUPLICATE_BY_NAME if done.by_name else codes.DUPLICATE


def _missing(progress: FileProgress, error: FileError) -> str:
    frames = progress.header.image.frames if progress.header else 1
    if frames == 1:
        return error.detail
    return f"第 {_frame_list(progress.uploaded.missing_frames)} 帧未上传（共 {frames} 帧）：{error.detail}"


def _frame_list(frames: Sequence[int]) -> str:
    """The first few of many frame numbers."""
    shown = "、".join(str(number) for number in frames[:FRAMES_NAMED])
    return shown if len(frames) <= FRAMES_NAMED else f"{shown} 等 {len(frames)} "


def _outcome(progress: FileProgress, kind: OutcomeKind, code: str, detail: str, *, held: bool = False) -> FileOutcome:
    source, header, done = progress.source, progress.header, progress.uploaded
    image, first = header.image if header else None, done.first
    window = progress.reply.images[0].window if progress.reply.images else None
    return FileOutcome(
        source_path=source.path,
        month=source.month or None,
        kind=kind,
        code=code,
        detail=display_path(detail),
        finished_at=datetime.now(UTC),
        patient_id=None if progress.patient_id is None else display_path(progress.patient_id),
        sop_instance_uid=image.sop_instance_uid if image else None,
        transfer_syntax=image.transfer_syntax if image else None,
        modality=image.modality if image else None,
        charset_source=header.patient.charset_source if header else None,
        exam_type=image.exam_type if image else None,
        exam_rule=image.exam_rule if image else None,
        upload_filename=first.stored_name if first else None,
        jpg_path=done.jpg_path,
        image_file_id=first.image_file_id if first else None,
        window_center=window.center if window else None,
        window_width=window.width if window else None,
        window_source=window.source if window else None,
        frames_total=image.frames if image else 0,
        frames_uploaded=done.new_frames,
        bytes_uploaded=done.new_bytes,
        held=held,
        warnings=progress.warnings,
        size_bytes=source.size_bytes,
        mtime_ns=source.mtime_ns,
        duration_seconds=time.monotonic() - progress.started,
        stage_seconds=progress.stage_seconds,
    )
