"""Conversion of values to SQLite's types, and back."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, wraps
from types import NoneType
from typing import Any, TypeVar, get_type_hints

from errors import HistoryError
from models import (
    DemographicsMismatchPolicy,
    FileWarning,
    ImportOptions,
    PatientMismatchPolicy,
    display_path,
)

PathValue = str | bytes
SqlValue = str | bytes | int | float | None
Row = tuple[Any, ...]
"""As sqlite3 returns it. A :func:`converter` checks the types."""
T = TypeVar("T")

WAY_OUT = (
    "请停止服务，先复制整个数据文件夹留底，再移走 history.sqlite3、history.sqlite3-wal、history.sqlite3-shm"
    "（留下的 -wal 会毁掉放回的文件），然后从备份恢复 history.sqlite3 并启动。"
    "没有备份时，移走后直接启动（会失去任务记录，XieHe 中的影像不受影响）。"
)
"""For a damaged file. SQLite would apply a ``-wal`` that is left to the restored file."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64_MAX = 2**63 - 1
_OPTION_TYPES = get_type_hints(ImportOptions)
_COLUMN_TYPES: dict[str, set[type]] = {"i": {int}, "r": {float}, "t": {str}, "p": {str, bytes}}
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def converter(columns: str) -> Callable[[Callable[[Row], T]], Callable[[Row], T]]:
    """Makes a function refuse rows that this service cannot have written.

    Args:
        columns: a letter for each column: ``i`` integer, ``r`` real, ``t`` text, ``p`` path; a capital allows NULL.

    The converter raises HistoryError for a row of other types, or if the function cannot convert its values.
    """
    allowed = column_types(columns)

    @cache  # few combinations occur
    def fits(types: tuple[type, ...]) -> bool:
        return all(found in wanted for found, wanted in zip(types, allowed, strict=True))

    def made_from(convert: Callable[[Row], T]) -> Callable[[Row], T]:
        @wraps(convert)
        def checked(row: Row) -> T:
            try:
                if not fits(tuple(map(type, row))):
                    raise TypeError("a value is not of its column's type")
                return convert(row)
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise unreadable_row() from error

        return checked

    return made_from


def column_types(columns: str) -> list[set[type]]:
    """The types that each column may hold; ``columns`` as of :func:`converter`."""
    return [_COLUMN_TYPES[each.lower()] | ({NoneType} if each.isupper() else set()) for each in columns]


def unreadable_row() -> HistoryError:
    """A row that cannot be read; the rest of the history may be sound."""
    return HistoryError(f"历史数据库中有无法读取的记录：它已损坏或被改动。{WAY_OUT}")


def path_value(path: str) -> PathValue:
    """Text, or the file system's bytes if the name is not UTF-8. Two names never become one."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def path_of(value: PathValue) -> str:
    """The path that :func:`path_value` was given."""
    return os.fsdecode(value)


def shown(folder: PathValue, name: PathValue) -> str:
    """The path as display text."""
    if isinstance(folder, str) and isinstance(name, str):
        return _beginning(folder) + name
    return display_path(joined(folder, name))


@lru_cache(maxsize=64)
def _beginning(folder: str) -> str:
    """The part of a path before the file's name."""
    return os.path.join(folder, "")


def joined(folder: PathValue, name: PathValue) -> str:
    """The path from its folder and name."""
    return os.path.join(os.fsdecode(folder), os.fsdecode(name))


def split(path: str) -> tuple[PathValue, PathValue]:
    """Folder and name as they are stored."""
    folder, name = os.path.split(path)
    return path_value(folder), path_value(name)


def storable(values: Sequence[SqlValue]) -> tuple[SqlValue, ...]:
    """What SQLite can hold: no lone surrogates in text, no integer beyond 64 bits (a file dated in the year 2400)."""
    return tuple([value if value is None or type(value) is float else _storable(value) for value in values])


def run(connection: sqlite3.Connection, statement: str, values: Sequence[SqlValue]) -> sqlite3.Cursor:
    """Execute with the values, or with their :func:`storable` form if SQLite cannot hold one.

    Values are bound before the statement begins, so a failed binding has changed nothing.
    """
    try:
        return connection.execute(statement, values)
    except (UnicodeEncodeError, OverflowError):
        return connection.execute(statement, storable(values))


def _storable(value: SqlValue) -> SqlValue:
    if isinstance(value, str):
        return value if value.isascii() else display_path(value)
    if isinstance(value, int) and not -_INT64_MAX <= value <= _INT64_MAX:
        return _INT64_MAX if value > 0 else -_INT64_MAX
    return value


def microseconds(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def optional_microseconds(moment: datetime | None) -> int | None:
    """As :func:`microseconds`; None stays None."""
    return None if moment is None else microseconds(moment)


def moment(value: int) -> datetime:
    """UTC time of microseconds since the epoch. Raises ValueError for 0, which is damage: it is never written."""
    if value == 0:
        raise ValueError("not a time")
    return _EPOCH + value * _MICROSECOND


def optional_moment(value: int | None) -> datetime | None:
    """As :func:`moment`; None stays None."""
    return None if value is None else moment(value)


def warnings_text(warnings: Sequence[FileWarning]) -> str:
    """Warnings as JSON pairs of code and message."""
    return dumps([[warning.code, display_path(warning.message)] for warning in warnings])


def warnings_of(text: str | None) -> tuple[FileWarning, ...]:
    """The warnings of :func:`warnings_text`; none for NULL."""
    return tuple(FileWarning(code, message) for code, message in json.loads(text)) if text else ()


def options_text(options: ImportOptions) -> str:
    """A task's options as a JSON object."""
    return dumps(asdict(options))


def options_of(text: str) -> ImportOptions:
    """The options of :func:`options_text`. Raises ValueError, KeyError, TypeError if it wrote no such text."""
    values = json.loads(text, parse_int=float)  # no option is a whole number by nature
    values["on_patient_mismatch"] = PatientMismatchPolicy(values["on_patient_mismatch"])
    values["on_demographics_mismatch"] = DemographicsMismatchPolicy(values["on_demographics_mismatch"])
    options = ImportOptions(**values)
    if wrong := [name for name, kind in _OPTION_TYPES.items() if not isinstance(getattr(options, name), kind)]:
        raise ValueError(f"not of the option's type: {wrong}")
    return options


def dumps(value: object) -> str:
    """Compact JSON in ASCII: lone surrogates come back as they were."""
    return _ENCODER.encode(value)
