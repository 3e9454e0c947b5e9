"""The months of a source: which lie there now, and which one a path belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from domain.descriptors import check_descriptors
from domain.regular_files import scan_within
from errors import SourceVanishedError
from models import display_path
from source.layout import month_of
from source.root import ResolvedSource, SourceKind, TreeRules, check_present, place_of

_ENTRIES_LOOKED_AT = 1_000_000
"""A root holds some hundreds of months; what was given as one may be anything."""


@dataclass(frozen=True, slots=True)
class MonthFolder:
    """A folder whose name is a month, ``YYYY-MM`` whatever its spelling."""

    path: str
    month: str


def has_month_folder(source: ResolvedSource, rules: TreeRules) -> bool:
    """Whether anything in the source fits the layout, be it empty.

    Raises:
        SourceVanishedError: the source cannot be read any more.
    """
    return source.kind is not SourceKind.ROOT or bool(month_folders(source, rules))


def month_folders(source: ResolvedSource, rules: TreeRules) -> tuple[MonthFolder, ...]:
    """The whole months in a source: of a root its month folders, a month itself, of a patient none.

    Raises:
        SourceVanishedError: the source cannot be read any more.
    """
    if source.kind is SourceKind.PATIENT:
        return ()
    if source.month is not None:
        return (MonthFolder(source.path, source.month),)
    try:
        return tuple(_months_below(source.path, rules))
    except OSError as error:
        check_descriptors(error)
        check_present(source)
        shown = display_path(source.path)
        raise SourceVanishedError(f"来源文件夹暂时无法读取：{shown}。请检查共享或磁盘。") from error


def months_in(source: ResolvedSource, rules: TreeRules) -> Iterator[str]:
    """The months of :func:`month_folders`, in no order."""
    return (folder.month for folder in month_folders(source, rules))


def month_at(path: str, source: ResolvedSource, rules: TreeRules) -> str | None:
    """The month that a path at or below the source's root lies in; None above the months."""
    first, *_ = os.path.relpath(path, place_of(source.path, rules).root_path).split(os.sep)
    return month_of(first, rules.month_folder_format)


def _months_below(root: str, rules: TreeRules) -> Iterator[MonthFolder]:
    with scan_within(root, rules.area()) as entries:
        for entry in islice(entries, _ENTRIES_LOOKED_AT):
            month = month_of(entry.name, rules.month_folder_format)
            if month and entry.is_dir():
                yield MonthFolder(os.path.join(root, entry.name), month)
