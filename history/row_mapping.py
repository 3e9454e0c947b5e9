"""The history's rows and the values they stand for. One place knows the order of each table's columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from errors import HistoryError
from history.records import ReportLine, ReportRow, SeenSource
from history.values import (
    Row,
    SqlValue,
    column_types,
    converter,
    dumps,
    joined,
    microseconds,
    moment,
    optional_microseconds,
    optional_moment,
    options_of,
    options_text,
    path_of,
    path_value,
    shown,
    split,
    storable,
    unreadable_row,
    warnings_of,
    warnings_text,
)
from models import (
    Counts,
    FileOutcome,
    ImportedImage,
    OutcomeKind,
    PauseReason,
    TaskRecord,
    TaskResult,
    TaskStatus,
    UploadIntent,
    WindowSource,
    WindowUsed,
    display_path,
)

TASK_COLUMNS = (
    "task_id, source_path, options, status, created_at, started_at, completed_at, result, result_detail, pause_reason,"
    " parent_id, retried_by, warnings"
)
COUNT_COLUMNS = (
    "total_files_scanned, total_patients_found, new_patients_created, existing_patients_skipped, new_images_uploaded,"
    " duplicate_images_skipped, failed_files, held_files, no_pixel_files, ignored_files, frames_uploaded,"
    " bytes_uploaded"
)
FILE_COLUMNS = (
    "number, folder, name, month, kind, code, detail, finished_at, patient_id, sop_instance_uid, transfer_syntax,"
    " modality, charset_source, exam_type, exam_rule, upload_filename, jpg_path, image_file_id, window_center,"
    " window_width, window_source, frames_total, frames_uploaded, held, warnings, size_bytes, mtime_ns,"
    " duration_seconds, stage_seconds, bytes_uploaded"
)
LINE_COLUMNS = (
    "number, folder, name, month, patient_id, sop_instance_uid, transfer_syntax, kind, code, detail, upload_filename,"
    " jpg_path, image_file_id, window_center, window_width,"
    " strftime('%Y-%m-%dT%H:%M:%SZ', finished_at / 1000000, 'unixepoch'), window_source, modality, exam_type,"
    " exam_rule, charset_source, frames_total, frames_uploaded, bytes_uploaded, held, warnings"
)
"""Those of a ReportLine, the path as folder and name."""
IMAGE_COLUMNS = (
    "backend_url, patient_id, name_key, row_id, stored_name, instance, sop_instance_uid, frame_number, source_path,"
    " size_bytes, mtime_ns, uploaded_by_us, task_id, image_file_id, jpg_size, uploaded_at, storage_etag"
)
SEEN_COLUMNS = (
    "backend_url, folder, name, size_bytes, mtime_ns, patient_dir, patient_id, header_patient_id, instance,"
    " sop_instance_uid, name_keys"
)
PRUNED_ID = "'pruned ' || seq"
"""The id of a task while its rows are deleted, in several transactions: nothing finds it by its own any more."""
NOT_PRUNED = "task_id NOT GLOB 'pruned *'"
ENDED = ", ".join(f"'{status.value}'" for status in TaskStatus if status.ended)
"""The statuses of tasks that will not go on, for an SQL list."""
INTENT_COLUMNS = "intent_id, image, known_ids, created_at, session"

_IMAGE_FIELDS = tuple(field.name for field in fields(ImportedImage))
_image_values = attrgetter(*_IMAGE_FIELDS)
_OUTCOME_KINDS = frozenset(kind.value for kind in OutcomeKind)
_LINE_TYPES = column_types("ippTTTTtttTTIRRtTTTTTiiiiT")
_NEVER = "1970-01-01T00:00:00Z"
_WINDOW_SOURCES = frozenset({None, *(source.value for source in WindowSource)})


def marks(columns: str) -> str:
    """``?, ?, ...``, one for each column."""
    return ", ".join("?" * (columns.count(",") + 1))


def task_row(record: TaskRecord) -> tuple[SqlValue, ...]:
    """In the order of TASK_COLUMNS; skipped folders are rows of their own."""
    return storable(
        (
            record.task_id,
            path_value(record.source_path),
            options_text(record.options),
            record.status,
            microseconds(record.created_at),
            optional_microseconds(record.started_at),
            optional_microseconds(record.completed_at),
            record.result,
            record.result_detail,
            record.pause_reason,
            record.parent_id,
            record.retried_by,
            warnings_text(record.warnings),
        )
    )


def task_of(row: Row) -> TaskRecord:
    """From the order of TASK_COLUMNS, without its skipped folders.

    Raises:
        HistoryError: the row holds what this service never writes: it was changed from outside.
    """
    try:
        return _task_of(row)
    except HistoryError as error:
        shown = display_path(str(row[0]))
        raise HistoryError(f"历史数据库中任务 {shown} 的记录已损坏或被改动。请从备份恢复历史数据库。") from error


@converter("tpttiIITTTTTt")
def _task_of(row: Row) -> TaskRecord:
    return TaskRecord(
        task_id=row[0],
        source_path=path_of(row[1]),
        options=options_of(row[2]),
        status=TaskStatus(row[3]),
        created_at=moment(row[4]),
        started_at=optional_moment(row[5]),
        completed_at=optional_moment(row[6]),
        result=row[7] and TaskResult(row[7]),
        result_detail=row[8],
        pause_reason=row[9] and PauseReason(row[9]),
        parent_id=row[10],
        retried_by=row[11],
        warnings=warnings_of(row[12]),
    )


def counts_row(counts: Counts) -> tuple[int, ...]:
    """In the order of COUNT_COLUMNS."""
    return (
        counts.total_files_scanned,
        counts.total_patients_found,
        counts.new_patients_created,
        counts.existing_patients_skipped,
        counts.new_images_uploaded,
        counts.duplicate_images_skipped,
        counts.failed_files,
        counts.held_files,
        counts.no_pixel_files,
        counts.ignored_files,
        counts.frames_uploaded,
        counts.bytes_uploaded,
    )


@converter("i" * (COUNT_COLUMNS.count(",") + 1))
def counts_of(row: Row) -> Counts:
    """From the order of COUNT_COLUMNS, which is that of the fields."""
    return Counts(*row)


def file_row(number: int, outcome: FileOutcome) -> tuple[SqlValue, ...]:
    """In the order of FILE_COLUMNS; for :func:`history.values.run`."""
    window = outcome.window
    center, width, source = (window.center, window.width, window.source.value) if window else (None, None, None)
    return (
        number,
        *split(outcome.source_path),
        outcome.month,
        outcome.kind.value,
        outcome.code,
        outcome.detail,
        microseconds(outcome.finished_at),
        outcome.patient_id,
        outcome.sop_instance_uid,
        outcome.transfer_syntax,
        outcome.modality,
        outcome.charset_source,
        outcome.exam_type,
        outcome.exam_rule,
        outcome.upload_filename,
        outcome.jpg_path,
        outcome.image_file_id,
        center,
        width,
        source,
        outcome.frames_total,
        outcome.frames_uploaded,
        int(outcome.held),
        warnings_text(outcome.warnings) if outcome.warnings else None,
        outcome.size_bytes,
        outcome.mtime_ns,
        outcome.duration_seconds,
        dumps(dict(outcome.stage_seconds)) if outcome.stage_seconds else None,
        outcome.bytes_uploaded,
    )


@converter("ippTtttiTTTTTTTTTIRRTiiiTiirTi")
def report_row_of(row: Row) -> ReportRow:
    """From the order of FILE_COLUMNS; the path as display text."""
    _check_texts(row[5], row[15], row[16])
    outcome = FileOutcome(
        source_path=shown(row[1], row[2]),
        month=row[3],
        kind=OutcomeKind(row[4]),
        code=row[5],
        detail=row[6],
        finished_at=moment(row[7]),
        patient_id=row[8],
        sop_instance_uid=row[9],
        transfer_syntax=row[10],
        modality=row[11],
        charset_source=row[12],
        exam_type=row[13],
        exam_rule=row[14],
        upload_filename=row[15],
        jpg_path=row[16],
        image_file_id=row[17],
        window=row[20] and WindowUsed(row[18], row[19], WindowSource(row[20])),
        frames_total=row[21],
        frames_uploaded=row[22],
        held=bool(row[23]),
        warnings=warnings_of(row[24]),
        size_bytes=row[25],
        mtime_ns=row[26],
        duration_seconds=row[27],
        stage_seconds=json.loads(row[28]) if row[28] else {},
        bytes_uploaded=row[29],
    )
    return ReportRow(row[0], outcome)


def report_lines_of(rows: Sequence[Row]) -> list[ReportLine]:
    """From the order of LINE_COLUMNS. Raises HistoryError as a :func:`history.values.converter`.

    Checks column by column: a report has a million rows.
    """
    try:
        if rows:
            _check_lines(list(zip(*rows, strict=True)))
        return [_report_line_of(row) for row in rows]
    except (ValueError, TypeError) as error:
        raise unreadable_row() from error


def _check_lines(columns: Sequence[Sequence[Any]]) -> None:
    for values, types in zip(columns, _LINE_TYPES, strict=True):
        if not types.issuperset(map(type, values)):
            raise TypeError("a value is not of its column's type")
    if not (_OUTCOME_KINDS.issuperset(columns[7]) and _WINDOW_SOURCES.issuperset(columns[16])):
        raise ValueError("not a kind of outcome or of window")
    if _NEVER in columns[15]:
        raise ValueError("not a time")
    _check_texts(*("".join(filter(None, columns[at])) for at in (8, 10, 11)))


def _report_line_of(row: Row) -> ReportLine:
    number, folder, name, *values, held, warnings = row
    return ReportLine._make((number, shown(folder, name), *values, held == 1, warnings_of(warnings)))


def _check_texts(*texts: str | None) -> None:
    """Raises ValueError for zeros in texts that this service makes; others may come from a header as they are."""
    for text in texts:
        if text is not None and "\0" in text:
            raise ValueError("zeros in a text")


def image_row(image: ImportedImage) -> tuple[SqlValue, ...]:
    """In the order of IMAGE_COLUMNS; for :func:`history.values.run`."""
    return (
        image.backend_url,
        image.patient_id,
        image.name_key,
        image.row_id,
        image.stored_name,
        image.instance,
        image.sop_instance_uid,
        image.frame_number,
        path_value(image.source_path),
        image.size_bytes,
        image.mtime_ns,
        int(image.uploaded_by_us),
        image.task_id,
        image.image_file_id,
        image.jpg_size,
        microseconds(image.uploaded_at),
        image.storage_etag,
    )


@converter("tttittTipiiitIIiT")
def image_of(row: Row) -> ImportedImage:
    """From the order of IMAGE_COLUMNS."""
    return ImportedImage(
        backend_url=row[0],
        patient_id=row[1],
        name_key=row[2],
        row_id=row[3],
        stored_name=row[4],
        instance=row[5],
        sop_instance_uid=row[6],
        frame_number=row[7],
        source_path=path_of(row[8]),
        size_bytes=row[9],
        mtime_ns=row[10],
        uploaded_by_us=bool(row[11]),
        task_id=row[12],
        image_file_id=row[13],
        jpg_size=row[14],
        uploaded_at=moment(row[15]),
        storage_etag=row[16],
    )


def seen_row(seen: SeenSource) -> tuple[SqlValue, ...]:
    """In the order of SEEN_COLUMNS; for :func:`history.values.run`."""
    return (
        seen.backend_url,
        *split(seen.source_path),
        seen.size_bytes,
        seen.mtime_ns,
        seen.patient_dir,
        seen.patient_id,
        seen.header_patient_id,
        seen.instance,
        seen.sop_instance_uid,
        dumps(seen.name_keys),
    )


@converter("tppiittTtTt")
def seen_of(row: Row) -> SeenSource:
    """From the order of SEEN_COLUMNS."""
    return SeenSource(
        backend_url=row[0],
        source_path=joined(row[1], row[2]),
        size_bytes=row[3],
        mtime_ns=row[4],
        patient_dir=row[5],
        patient_id=row[6],
        header_patient_id=row[7],
        instance=row[8],
        sop_instance_uid=row[9],
        name_keys=tuple(json.loads(row[10])),
    )


def intent_row(intent: UploadIntent) -> tuple[SqlValue, ...]:
    """In the order of INTENT_COLUMNS; the picture as JSON, its path as it is (JSON escapes surrogates)."""
    values = dict(zip(_IMAGE_FIELDS, _image_values(intent.image), strict=True))
    text = dumps(values | {"uploaded_at": microseconds(intent.image.uploaded_at)})
    return intent.intent_id, text, dumps(intent.known_ids), microseconds(intent.created_at), intent.session


@converter("tttiT")
def intent_of(row: Row) -> UploadIntent:
    """From the order of INTENT_COLUMNS."""
    values = json.loads(row[1])
    values["uploaded_at"] = moment(values["uploaded_at"])
    return UploadIntent(
        intent_id=row[0],
        image=ImportedImage(**values),
        known_ids=tuple(json.loads(row[2])),
        created_at=moment(row[3]),
        session=row[4],
    )
