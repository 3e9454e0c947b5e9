"""The month board for a history of versions without one: part of a migration."""

from __future__ import annotations

import os
import re
import sqlite3

from history.month_sums import MonthTotals
from history.records import TaskScope
from history.values import path_of

_GROUPS = """
    INSERT INTO month_sums (root_id, month, kind, code, held, files)
    SELECT DISTINCT ?1, COALESCE(month, ''), kind, code, held, 0 FROM files WHERE task_seq = ?2
    ON CONFLICT DO NOTHING
"""
_FILES = """
    INSERT INTO latest_outcomes (root_id, folder, name, sum_id, failed)
    SELECT ?1, folder, name, sum_id, files.kind = 'failed'
    FROM files JOIN month_sums ON month_sums.root_id = ?1 AND month_sums.month = COALESCE(files.month, '')
        AND month_sums.kind = files.kind AND month_sums.code = files.code AND month_sums.held = files.held
    WHERE task_seq = ?2
    ON CONFLICT DO UPDATE SET sum_id = excluded.sum_id, failed = excluded.failed
"""
_MARKS = """
    INSERT INTO month_marks (root_id, month, last_task, last_imported_at, walked_whole)
    SELECT ?1, COALESCE(month, ''), ?2, MAX(CASE WHEN kind <> 'failed' THEN finished_at END), ?3
    FROM files WHERE task_seq = ?2 GROUP BY COALESCE(month, '')
    ON CONFLICT DO UPDATE SET
        last_task = excluded.last_task,
        last_imported_at = COALESCE(excluded.last_imported_at, last_imported_at),
        walked_whole = MAX(walked_whole, excluded.walked_whole)
"""
_COUNTS = "SELECT COUNT(*), sum_id FROM latest_outcomes GROUP BY sum_id"


def fill_month_board(connection: sqlite3.Connection) -> None:
    """Counts the files of all tasks in the history, oldest first."""
    backends = _backends(connection)
    tasks = connection.execute("SELECT seq, task_id, source_path, status, parent_id FROM tasks ORDER BY seq").fetchall()
    for seq, task_id, source, status, parent_id in tasks:
        backend_url = backends.get(task_id, backends.get(None))
        if backend_url is None:
            continue  # nothing was ever imported
        root, whole = _root_of(connection, seq, path_of(source))
        task = MonthTotals(connection).count(seq, TaskScope(backend_url, root))
        for statement in (_GROUPS, _FILES):
            connection.execute(statement, (task.root_id, seq))
        walked = whole and status == "completed" and parent_id is None
        connection.execute(_MARKS, (task.root_id, seq, walked))
    sums = connection.execute(_COUNTS).fetchall()
    connection.executemany("UPDATE month_sums SET files = ? WHERE sum_id = ?", sums)


def _backends(connection: sqlite3.Connection) -> dict[str | None, str]:
    """Task → the XieHe that it imported into; None → the last one."""
    rows = connection.execute("SELECT task_id, backend_url FROM images GROUP BY task_id ORDER BY MAX(uploaded_at)")
    found: dict[str | None, str] = dict(rows.fetchall())
    if found:
        found[None] = list(found.values())[-1]
    return found


def _root_of(connection: sqlite3.Connection, seq: int, source: str) -> tuple[str, bool]:
    """The folder that holds the month folders, and whether the source was one or more whole months.

    The spelling of month folders is not known here, so its digits identify a month.
    """
    row = connection.execute(
        "SELECT folder, month FROM files WHERE task_seq = ? AND month <> '' LIMIT 1", (seq,)
    ).fetchone()
    if row is None:
        return source, True
    first, *_ = os.path.relpath(path_of(row[0]), source).split(os.sep)
    parent = os.path.dirname(source)
    if not _spells(first, row[1]):
        if _spells(os.path.basename(source), row[1]):
            return parent, True
        if _spells(os.path.basename(parent), row[1]):
            return os.path.dirname(parent), False
    return source, True


def _spells(name: str, month: str) -> bool:
    year, number = month.split("-")
    return re.sub(r"\D", "", name) in (year + number, number + year)
