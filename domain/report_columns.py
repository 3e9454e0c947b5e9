"""The columns of the report of scanned files, derived from the fields of :class:`models.FileOutcome`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints

from models import FileOutcome

_UNREPORTED = {"size_bytes", "mtime_ns", "duration_seconds", "stage_seconds"}
_RENAMED = {"kind": "outcome"}
_BEFORE_HINT = "warnings"
"""The hint was the last column when this field was the last one. Columns are only appended."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the report; ``field`` is the field of FileOutcome that it shows, or None."""

    name: str
    type: Any
    field: str | None = None


def _columns() -> Iterator[Column]:
    yield Column("number", int)
    for field, kind in get_type_hints(FileOutcome).items():
        if field not in _UNREPORTED:
            yield Column(_RENAMED.get(field, field), kind, field)
        if field == _BEFORE_HINT:
            yield Column("hint", str)


REPORT_COLUMNS = tuple(_columns())
REPORT_COLUMN_NAMES = tuple(column.name for column in REPORT_COLUMNS)
