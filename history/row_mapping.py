"""Rows of the history's tables, derived from the fields of the values that they hold.

A column has the name of its field. Statements name their columns, so their order in a file does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from history.records import ReportRow, SeenSource
from history.values import (
    Row,
    SqlValue,
    converter,
    dumps,
    joined,
    microseconds,
    moment,
    options_of,
    options_text,
    path_of,
    path_value,
    shown,
    warnings_of,
    warnings_text,
)
from models import Counts, FileOutcome, FileWarning, ImportedImage, ImportOptions, TaskRecord, TaskStatus, UploadIntent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """How a field's values are stored.

    Attributes:
        letter: type of the column, as of :func:`history.values.converter`.
        store: makes the stored value of one that is not None; None stores it as it is.
        load: the reverse of ``store``. Raises ValueError, TypeError or KeyError for what was never stored.
    """

    letter: str
    store: Callable[[Any], SqlValue] | None = None
    load: Callable[[Any], Any] | None = None


def _own_text(text: str) -> str:
    """A text that this service makes. Zeros in it are damage; texts from a header may hold some."""
    if "\0" in text:
        raise ValueError("zeros in a text")
    return text


def _json_tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _optional(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if convert is None else lambda value: None if value is None else convert(value)


_PATH = ColumnType("p", path_value, path_of)
OWN_TEXT = ColumnType("t", None, _own_text)
OPTIONAL_OWN_TEXT = ColumnType("T", None, _optional(_own_text))
_TYPES: dict[Any, ColumnType] = {
    str: ColumnType("t"),
    int: ColumnType("i"),
    float: ColumnType("r"),
    bool: ColumnType("i", int, bool),
    datetime: ColumnType("i", microseconds, moment),
    ImportOptions: ColumnType("t", options_text, options_of),
    tuple[FileWarning, ...]: ColumnType("T", lambda found: warnings_text(found) if found else None, warnings_of),
    tuple[str, ...]: ColumnType("t", dumps, _json_tuple),
    tuple[int, ...]: ColumnType("t", dumps, _json_tuple),
    Mapping[str, float]: ColumnType(
        "T", lambda found: dumps(dict(found)) if found else None, lambda text: json.loads(text) if text else {}
    ),
}


def without_none(hint: Any) -> Any:
    """The type of a field's values that are not None."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) < len(get_args(hint)) else hint


def _column_type(hint: Any) -> ColumnType:
    kind = without_none(hint)
    if kind != hint:
        required = _column_type(kind)
        return ColumnType(required.letter.upper(), required.store, _optional(required.load))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ColumnType("t", attrgetter("value"), hint)
    return _TYPES[hint]


class RowMapping(Generic[T]):
    """The columns of a table that hold the fields of a dataclass.

    Args:
        made: the dataclass.
        before: columns in front of the fields' ones, with their letters.
        derived: fields that have no column of their name; made from a row.
        special: types of columns that the type of the field does not tell.
    """

    def __init__(
        self,
        made: type[T],
        before: Mapping[str, str] | None = None,
        derived: Mapping[str, Callable[[Row], Any]] | None = None,
        **special: ColumnType,
    ) -> None:
        self._made = made
        self._before = before or {}
        self._derived = derived or {}
        hints = get_type_hints(made)
        self.types = {
            name: special.get(name) or _column_type(hints[name]) for name in hints if name not in self._derived
        }
        self.columns = ", ".join([*self._before, *self.types])
        self.marks = ", ".join("?" * (len(self._before) + len(self.types)))
        self._values = attrgetter(*self.types)
        self._stores = [(at, each.store) for at, each in enumerate(self.types.values()) if each.store]
        self._loads = [(at, each.load) for at, each in enumerate(self.types.values()) if each.load]
        letters = "".join([*self._before.values(), *(each.letter for each in self.types.values())])
        self.value = converter(letters)(self._value)
        """The value of a row. Raises HistoryError if this service cannot have written the row."""

    def row(self, made: T) -> list[SqlValue]:
        """The values of the fields' columns; for :func:`history.values.run`."""
        values = list(self._values(made))
        for at, store in self._stores:
            if (value := values[at]) is not None:
                values[at] = store(value)
        return values

    def _value(self, row: Row) -> T:
        values = list(row[len(self._before) :])
        for at, load in self._loads:
            values[at] = load(values[at])
        derived = {name: make(row) for name, make in self._derived.items()}
        return self._made(**dict(zip(self.types, values, strict=True)), **derived)


TASKS = RowMapping(
    TaskRecord,
    derived={"skipped_folders": lambda row: ()},
    source_path=_PATH,
    warnings=ColumnType("t", warnings_text, warnings_of),
)
COUNTS = RowMapping(Counts)
FILES = RowMapping(
    FileOutcome,
    before={"number": "i", "folder": "p", "name": "p"},
    derived={"source_path": lambda row: shown(row[1], row[2])},
    code=OWN_TEXT,
    upload_filename=OPTIONAL_OWN_TEXT,
    jpg_path=OPTIONAL_OWN_TEXT,
)
"""``source_path`` comes back as display text."""


def report_row(row: Row) -> ReportRow:
    """The report row of a row of ``files``."""
    return ReportRow(row[0], FILES.value(row))


IMAGES = RowMapping(ImportedImage, source_path=_PATH)
SEEN_SOURCES = RowMapping(
    SeenSource,
    before={"folder": "p", "name": "p"},
    derived={"source_path": lambda row: joined(row[0], row[1])},
)


def _image_text(image: ImportedImage) -> str:
    """JSON escapes surrogates, so the path is stored as it is."""
    values = {name: getattr(image, name) for name in IMAGES.types}
    return dumps(values | {"uploaded_at": microseconds(image.uploaded_at)})


def _image_of_text(text: str) -> ImportedImage:
    values = json.loads(text)
    return ImportedImage(**values | {"uploaded_at": moment(values["uploaded_at"])})


INTENTS = RowMapping(UploadIntent, image=ColumnType("t", _image_text, _image_of_text))

PRUNED_ID = "'pruned ' || seq"
"""The id of a task while its rows are deleted, in several transactions. No request can name it."""
NOT_PRUNED = "task_id NOT GLOB 'pruned *'"
ENDED = ", ".join(f"'{status.value}'" for status in TaskStatus if status.ended)
"""The statuses of ended tasks, for an SQL list."""
