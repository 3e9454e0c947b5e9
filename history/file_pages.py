"""Pages of a task's files, filtered by month, outcome and code: fast on a million rows.

``tallies`` has the groups of equal month, outcome and code, and their sizes. The index ``files_in_groups`` has each
group's numbers in order. A page is merged from the first numbers of the groups that match.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from errors import FileRowNotFoundError
from history.database import snapshot
from history.queries import seq_of, tally_of
from history.records import FileFilter, OutcomeTally, RecordedFile, ReportRow
from history.row_mapping import FILES, report_row
from history.values import joined, unreadable_row
from models import display_path


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some of the rows that match, in order of their numbers; ``total`` of them match."""

    total: int
    rows: tuple[ReportRow, ...]
    next_after: int | None


def files_page(connection: sqlite3.Connection, task_id: str, wanted: FileFilter, after: int, limit: int) -> FilePage:
    """The rows numbered above ``after`` that match, at most ``limit`` of them.

    Raises:
        TaskNotFoundError: there is no such task.
        HistoryError: the task, its tallies, the index and the rows contradict one another.
    """
    with snapshot(connection):
        seq = seq_of(connection, task_id)
        groups = [group for group in _groups(connection, seq) if _fits(group, wanted)]
        heads = [_head(connection, seq, group, after, limit + 1) for group in groups]
        numbers = list(islice(merge(*heads), limit + 1))
        rows = tuple(_row(connection, seq, number) for number in numbers[:limit])
    return FilePage(sum(group.files for group in groups), rows, numbers[limit - 1] if len(numbers) > limit else None)


def recorded_file(connection: sqlite3.Connection, task_id: str, number: int) -> RecordedFile:
    """One row by its number, and the file's path as it was recorded.

    Raises:
        TaskNotFoundError, FileRowNotFoundError: there is no such task, or it has no file of that number.
        HistoryError: it has one, and the row is missing.
    """
    with snapshot(connection):
        seq = seq_of(connection, task_id)
        (last_file,) = connection.execute("SELECT last_file FROM tasks WHERE seq = ?", (seq,)).fetchone()
        if not 0 < number <= last_file:
            raise FileRowNotFoundError(f"任务 {display_path(task_id)} 没有编号为 {number} 的文件。")
        row = _row(connection, seq, number)
        place = connection.execute("SELECT folder, name FROM files WHERE task_seq = ? AND number = ?", (seq, number))
        return RecordedFile(row, joined(*place.fetchone()))


def _groups(connection: sqlite3.Connection, seq: int) -> list[OutcomeTally]:
    """The task's tallies, whose sum must be the task's count."""
    rows = connection.execute("SELECT month, kind, code, files FROM tallies WHERE task_seq = ?", (seq,))
    groups = [tally_of(row) for row in rows]
    (scanned,) = connection.execute("SELECT total_files_scanned FROM tasks WHERE seq = ?", (seq,)).fetchone()
    if sum(group.files for group in groups) != scanned:
        raise unreadable_row()
    return groups


def _fits(group: OutcomeTally, wanted: FileFilter) -> bool:
    return (
        wanted.kind in (None, group.kind)
        and wanted.code in (None, group.code)
        and wanted.month in (None, group.month or "")
    )


def _head(connection: sqlite3.Connection, seq: int, group: OutcomeTally, after: int, limit: int) -> list[int]:
    """A group's first numbers above ``after``; from its beginning, as many as ``tallies`` counts."""
    found = connection.execute(
        "SELECT number FROM files INDEXED BY files_in_groups"
        " WHERE task_seq = ? AND month IS ? AND kind = ? AND code = ? AND number > ? ORDER BY number LIMIT ?",
        (seq, group.month, group.kind.value, group.code, after, limit),
    )
    numbers = [number for (number,) in found]
    if after <= 0 and len(numbers) != min(group.files, limit):
        raise unreadable_row()
    return numbers


def _row(connection: sqlite3.Connection, seq: int, number: int) -> ReportRow:
    found = connection.execute(f"SELECT {FILES.columns} FROM files WHERE task_seq = ? AND number = ?", (seq, number))
    row = found.fetchone()
    if row is None:  # an index, or the task's last number, shows that it existed
        raise unreadable_row()
    return report_row(row)
