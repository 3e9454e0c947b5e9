"""What the month board asks of the history: a few hundred sums and marks, whatever the number of files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from history.records import MonthMark, MonthSum
from history.row_mapping import NOT_PRUNED
from history.values import Row, converter, optional_moment, path_of
from models import OutcomeKind

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


def month_sums(connection: sqlite3.Connection, backend_url: str) -> list[MonthSum]:
    """Files by their latest outcome, of one XieHe."""
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
