"""A task's report in plain values: quick, since a report has a million rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from domain.report_columns import REPORT_COLUMNS, Column
from history.database import snapshot
from history.queries import seq_of
from history.records import ReportLine
from history.row_mapping import FILES, without_none
from history.values import Row, column_types, moment, shown, unreadable_row

_MICROSECONDS = 1_000_000
_COLUMNS = [column for column in REPORT_COLUMNS if column.field in FILES.types]
"""Each shows one column of ``files``. The number and the path are read beside them, the hint is not stored."""
_FIELDS = [str(column.field) for column in _COLUMNS]
_TYPES = column_types("ipp" + "".join(FILES.types[field].letter for field in _FIELDS))
_SELECT = f"""
    SELECT number, folder, name, {", ".join(_FIELDS)} FROM files
    WHERE task_seq = ? AND number > ? ORDER BY number LIMIT ?
"""
_Values = Sequence[Any]


def report_lines(connection: sqlite3.Connection, task_id: str, after: int, limit: int) -> list[ReportLine]:
    """The rows numbered above ``after``, at most ``limit`` of them.

    Raises:
        TaskNotFoundError: there is no such task.
        HistoryError: a row cannot be read, or the rows are not numbered without a gap up to the task's last one.
    """
    with snapshot(connection):
        seq = seq_of(connection, task_id)
        (last_file,) = connection.execute("SELECT last_file FROM tasks WHERE seq = ?", (seq,)).fetchone()
        rows = connection.execute(_SELECT, (seq, after, limit)).fetchall()
    wanted = max(0, min(limit, last_file - after)) if isinstance(last_file, int) else -1
    if len(rows) != wanted or (rows and rows[-1][0] != after + wanted):
        raise unreadable_row()
    try:
        return _lines(rows) if rows else []
    except (ValueError, TypeError, OverflowError) as error:
        raise unreadable_row() from error


def _lines(rows: Sequence[Row]) -> list[ReportLine]:
    """Checks and converts column by column. Raises ValueError, TypeError for what this service never writes."""
    columns = list(zip(*rows, strict=True))
    for values, types in zip(columns, _TYPES, strict=True):
        if not types.issuperset(map(type, values)):
            raise TypeError("a value is not of its column's type")
    numbers, folders, names, *fields = columns
    plain = map(_plain, _COLUMNS, fields)
    return list(zip(numbers, map(shown, folders, names), *plain, strict=True))


def _plain(column: Column, values: _Values) -> _Values:
    """Plain values of a column's stored ones."""
    load, kind = FILES.types[str(column.field)].load, without_none(column.type)
    if load is None:
        return values
    if kind is datetime:
        return [value if value is None else _time_text(value // _MICROSECONDS) for value in values]
    if kind is str:
        load("".join(filter(None, values)))
        return values
    loaded = {value: load(value) for value in set(values)}
    return values if isinstance(kind, type) and issubclass(kind, StrEnum) else [loaded[value] for value in values]


@lru_cache(maxsize=1_024)
def _time_text(seconds: int) -> str:
    return moment(seconds * _MICROSECONDS).strftime("%Y-%m-%dT%H:%M:%SZ")
