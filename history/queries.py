"""The queries of the history: functions of a connection. Each is one look-up in an index, or a range of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.outcome_codes import NO_PIXEL_DATA
from errors import HistoryError, TaskNotFoundError
from history.records import IgnoredRow, MonthMark, MonthSum, OutcomeTally, ReportRow, SeenSource, TaskBreakdown
from history.row_mapping import COUNTS, ENDED, FILES, IMAGES, INTENTS, NOT_PRUNED, SEEN_SOURCES, TASKS, report_row
from history.values import Row, converter, joined, optional_moment, path_of, path_value, shown
from models import (
    SKIPPED_SHOWN,
    Counts,
    IgnoredFile,
    ImportedImage,
    OutcomeKind,
    SkippedFolder,
    TaskRecord,
    UploadIntent,
    display_path,
)


@dataclass(frozen=True, slots=True)
class FailedSource:
    """A failed file to be retried; ``path`` as it was recorded, ``number`` its row's."""

    number: int
    path: str


_SUMS = """
    SELECT path, month, kind, code, held, files FROM month_sums JOIN roots USING (root_id)
    WHERE backend_url = ? AND files > 0
"""
_MARKS = f"""
    SELECT path, month, (SELECT task_id FROM tasks WHERE seq = last_task AND {NOT_PRUNED}),
        last_imported_at, walked_whole
    FROM month_marks JOIN roots USING (root_id) WHERE backend_url = ?
"""
_NEWEST_MONTH = """
    SELECT month FROM files WHERE task_seq = (SELECT seq FROM tasks WHERE task_id = ?) ORDER BY number DESC LIMIT 1
"""
_TASKS = f"SELECT seq, {TASKS.columns} FROM tasks"


def get_task(connection: sqlite3.Connection, task_id: str) -> TaskRecord:
    row = connection.execute(f"{_TASKS} WHERE task_id = ?", (task_id,)).fetchone()
    if row is None:
        raise unknown_task(task_id)
    return _task_of(connection, row)


def list_tasks(connection: sqlite3.Connection, offset: int, limit: int) -> tuple[int, list[TaskRecord]]:
    """All, and one page of them, newest first."""
    (total,) = connection.execute(f"SELECT COUNT(*) FROM tasks WHERE {NOT_PRUNED}").fetchone()
    page = f"{_TASKS} WHERE {NOT_PRUNED} ORDER BY seq DESC LIMIT ? OFFSET ?"
    rows = connection.execute(page, (limit, offset)).fetchall()
    return total, [_task_of(connection, row) for row in rows]


def unfinished_tasks(connection: sqlite3.Connection) -> list[TaskRecord]:
    """Oldest first."""
    rows = connection.execute(f"{_TASKS} WHERE status NOT IN ({ENDED}) ORDER BY seq").fetchall()
    return [_task_of(connection, row) for row in rows]


def tasks_left_in_doubt(connection: sqlite3.Connection) -> list[str]:
    """Ids of tasks at rest (cancelled, failed) that have open intents, oldest first."""
    rows = connection.execute(
        f"SELECT task_id FROM tasks WHERE status IN ({ENDED}) AND completed_at IS NOT NULL"
        f" AND {NOT_PRUNED} AND seq IN (SELECT task_seq FROM intents) ORDER BY seq"
    )
    return [task_id for (task_id,) in rows]


def counts(connection: sqlite3.Connection, task_id: str) -> Counts:
    """The sums that are kept with the rows, in the same transactions."""
    found = counts_of(connection, [task_id])
    if task_id not in found:
        raise unknown_task(task_id)
    return found[task_id]


def counts_of(connection: sqlite3.Connection, task_ids: Sequence[str]) -> dict[str, Counts]:
    """Of many tasks at once; unknown ones are left out."""
    found: dict[str, Counts] = {}
    for task_id in task_ids:
        row = connection.execute(f"SELECT {COUNTS.columns} FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        if row is not None:
            found[task_id] = COUNTS.value(row)
    return found


def breakdown(connection: sqlite3.Connection, task_id: str) -> TaskBreakdown:
    seq = (seq_of(connection, task_id),)
    tallies = connection.execute("SELECT month, kind, code, files FROM tallies WHERE task_seq = ?", seq).fetchall()
    stages = connection.execute("SELECT stage, seconds FROM stage_times WHERE task_seq = ?", seq).fetchall()
    return TaskBreakdown(tuple(map(tally_of, tallies)), dict(map(_stage_of, stages)))


@converter("ttti")
def tally_of(row: Row) -> OutcomeTally:
    """From month, kind, code and the number of files."""
    month, kind, code, files = row
    return OutcomeTally(month or None, OutcomeKind(kind), code, files)


@converter("tr")
def _stage_of(row: Row) -> tuple[str, float]:
    stage, seconds = row
    return stage, seconds


def recorded_paths(connection: sqlite3.Connection, task_id: str, folder: str) -> set[str]:
    """Scanned and ignored files directly in the folder, as they were recorded."""
    key = (seq_of(connection, task_id), path_value(folder))
    rows = connection.execute(
        "SELECT name FROM files WHERE task_seq = ?1 AND folder = ?2"
        " UNION ALL SELECT name FROM ignored_files WHERE task_seq = ?1 AND folder = ?2",
        key,
    )
    return {joined(key[1], name) for (name,) in rows}


def newest_failures(connection: sqlite3.Connection, task_id: str, limit: int = 100) -> list[ReportRow]:
    """Newest first."""
    rows = connection.execute(
        f"SELECT {FILES.columns} FROM files INDEXED BY failures"
        " WHERE task_seq = ? AND kind = 'failed' ORDER BY number DESC LIMIT ?",
        (seq_of(connection, task_id), limit),
    )
    return [report_row(row) for row in rows]


def failed_sources(
    connection: sqlite3.Connection, task_id: str, code: str | None = None, after: int = 0, limit: int = 1_000
) -> list[FailedSource]:
    """A page of the files to retry: those of the code, or without one all that hold an image."""
    wanted = "code = ?" if code is not None else "code <> ?"
    rows = connection.execute(
        "SELECT number, folder, name FROM files INDEXED BY failures"
        f" WHERE task_seq = ? AND kind = 'failed' AND number > ? AND {wanted} ORDER BY number LIMIT ?",
        (seq_of(connection, task_id), after, code if code is not None else NO_PIXEL_DATA, limit),
    )
    return [_failed_source_of(row) for row in rows]


@converter("ipp")
def _failed_source_of(row: Row) -> FailedSource:
    number, folder, name = row
    return FailedSource(number, joined(folder, name))


def ignored_rows(connection: sqlite3.Connection, task_id: str, after: int, limit: int) -> list[IgnoredRow]:
    """Rows numbered above ``after``, in order."""
    rows = connection.execute(
        "SELECT number, folder, name, reason FROM ignored_files WHERE task_seq = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (seq_of(connection, task_id), after, limit),
    )
    return [_ignored_of(row) for row in rows]


@converter("ippt")
def _ignored_of(row: Row) -> IgnoredRow:
    number, folder, name, reason = row
    return IgnoredRow(number, IgnoredFile(shown(folder, name), reason))


def skipped_folders(connection: sqlite3.Connection, task_id: str, after: str, limit: int) -> list[SkippedFolder]:
    """A page of the folders that the task left out, in the order of their paths, beyond the path ``after``."""
    return _skipped(connection, seq_of(connection, task_id), after, limit)


def skipped_folders_total(connection: sqlite3.Connection, task_id: str) -> int:
    (total,) = connection.execute(
        "SELECT COUNT(*) FROM skipped_folders WHERE task_seq = ?", (seq_of(connection, task_id),)
    ).fetchone()
    return int(total)


def images_of_patient(connection: sqlite3.Connection, backend_url: str, patient_id: str) -> list[ImportedImage]:
    rows = connection.execute(
        f"SELECT {IMAGES.columns} FROM images WHERE backend_url = ? AND patient_id = ?", (backend_url, patient_id)
    )
    return [IMAGES.value(row) for row in rows]


def images_without_id(
    connection: sqlite3.Connection, task_id: str, after: tuple[str, str] = ("", ""), limit: int = 500
) -> list[ImportedImage]:
    """Images whose id XieHe has not returned, beyond a (patient id, name key), in that order."""
    rows = connection.execute(
        f"SELECT {IMAGES.columns} FROM images WHERE task_id = ? AND image_file_id IS NULL"
        " AND (patient_id, name_key) > (?, ?) ORDER BY patient_id, name_key LIMIT ?",
        (task_id, *after, limit),
    )
    return [IMAGES.value(row) for row in rows]


def planned_backends(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """The plans of dry runs: names in the place of a backend that begin with ``prefix``."""
    question = "SELECT DISTINCT backend_url FROM images WHERE backend_url >= ?1 AND backend_url < ?1 || char(1114111)"
    return [backend_url for (backend_url,) in connection.execute(question, (prefix,))]


def instances(connection: sqlite3.Connection, backend_url: str, sop_instance_uid: str) -> list[ImportedImage]:
    """Every image of that instance, of any patient."""
    rows = connection.execute(
        f"SELECT {IMAGES.columns} FROM images WHERE backend_url = ? AND sop_instance_uid = ?",
        (backend_url, sop_instance_uid),
    )
    return [IMAGES.value(row) for row in rows]


def seen_sources(connection: sqlite3.Connection, backend_url: str, folder: str) -> dict[str, SeenSource]:
    """Known files directly in the folder, by path."""
    rows = connection.execute(
        f"SELECT {SEEN_SOURCES.columns} FROM seen_sources WHERE backend_url = ? AND folder = ?",
        (backend_url, path_value(folder)),
    )
    return {seen.source_path: seen for seen in map(SEEN_SOURCES.value, rows)}


def intents_of_name(connection: sqlite3.Connection, image: ImportedImage) -> list[UploadIntent]:
    """Open intents of any task for the name that this image would have, oldest first."""
    rows = connection.execute(f"SELECT {INTENTS.columns} FROM intents ORDER BY rowid").fetchall()
    wanted = (image.backend_url, image.row_id, image.name_key)
    intents = (INTENTS.value(row) for row in rows)
    return [one for one in intents if (one.image.backend_url, one.image.row_id, one.image.name_key) == wanted]


def open_intents(connection: sqlite3.Connection, task_id: str) -> list[UploadIntent]:
    """Oldest first."""
    rows = connection.execute(
        f"SELECT {INTENTS.columns} FROM intents WHERE task_seq = ? ORDER BY rowid", (seq_of(connection, task_id),)
    )
    return [INTENTS.value(row) for row in rows]


def month_sums(connection: sqlite3.Connection, backend_url: str) -> list[MonthSum]:
    """Each file's latest outcome, summed by root, month and code; outlives the tasks."""
    rows = connection.execute(_SUMS, (backend_url,))
    return [_sum_of(row) for row in rows]


@converter("ptttii")
def _sum_of(row: Row) -> MonthSum:
    path, month, kind, code, held, files = row
    return MonthSum(path_of(path), month or None, OutcomeKind(kind), code, bool(held), files)


def month_marks(connection: sqlite3.Connection, backend_url: str) -> list[MonthMark]:
    """What tasks did to each month, of one XieHe."""
    rows = connection.execute(_MARKS, (backend_url,))
    return [_mark_of(row) for row in rows]


@converter("ptTIi")
def _mark_of(row: Row) -> MonthMark:
    path, month, task_id, imported_at, walked = row
    return MonthMark(path_of(path), month or None, task_id, optional_moment(imported_at), bool(walked))


def newest_months(connection: sqlite3.Connection, task_ids: Sequence[str]) -> dict[str, str | None]:
    """The month of each task's newest outcome; tasks without one are left out."""
    found = {task_id: connection.execute(_NEWEST_MONTH, (task_id,)).fetchone() for task_id in task_ids}
    return {task_id: row[0] or None for task_id, row in found.items() if row is not None}


def seq_of(connection: sqlite3.Connection, task_id: str) -> int:
    """The number that a task has in other tables. Raises TaskNotFoundError."""
    row = connection.execute("SELECT seq FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
    if row is None:
        raise unknown_task(task_id)
    return int(row[0])


def unknown_task(task_id: str) -> TaskNotFoundError:
    return TaskNotFoundError(f"没有这个任务：{display_path(task_id)}。")


def _task_of(connection: sqlite3.Connection, row: Row) -> TaskRecord:
    """A task with its first skipped folders.

    Raises:
        HistoryError: the row holds what this service never writes: it was changed from outside.
    """
    seq, task_id, *_ = row
    try:
        task = TASKS.value(row[1:])
    except HistoryError as error:
        shown_id = display_path(str(task_id))
        raise HistoryError(f"历史数据库中任务 {shown_id} 的记录已损坏或被改动。请从备份恢复历史数据库。") from error
    return replace(task, skipped_folders=tuple(_skipped(connection, seq, "", SKIPPED_SHOWN)))


def _skipped(connection: sqlite3.Connection, task_seq: int, after: str, limit: int) -> list[SkippedFolder]:
    rows = connection.execute(
        "SELECT path, reason, hint FROM skipped_folders WHERE task_seq = ? AND path > ? ORDER BY path LIMIT ?",
        (task_seq, path_value(after), limit),
    )
    return [_skipped_of(row) for row in rows]


@converter("ptt")
def _skipped_of(row: Row) -> SkippedFolder:
    path, reason, hint = row
    return SkippedFolder(path_of(path), reason, hint)
