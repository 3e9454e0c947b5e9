"""The folders of one level, for choosing a source: the kind of each, and whether it can be imported."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from string import ascii_uppercase
from typing import TypeVar

from domain.descriptors import check_descriptors
from domain.regular_files import scan_within
from errors import SourceError, SourceNotFoundError
from models import display_path
from source.layout import holds_month, is_system_folder, month_of
from source.links import is_link
from source.root import ResolvedSource, SourceKind, TreeRules, check_allowed, place_of, real, resolve_source

FOLDERS_SHOWN = 2_000
_FOLDERS_OPENED = 100
"""So many folders that are no months are opened to look for months; each costs a request to the share."""
_DIGITS = re.compile(r"[0-9]+")
_ITEMS_PER_PAUSE = 50
_PAUSE_S = 0.001
Item = TypeVar("Item")


class FolderKind(StrEnum):
    ROOTS = "roots"
    """No folder: the level above all roots."""
    ROOT = "root"
    """An allowed root, or a folder that holds months."""
    MONTH = "month"
    PATIENT = "patient"
    FOLDER = "folder"
    """Any other; an import of it finds nothing that fits."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder in a listing; name and path are display text if they are not valid UTF-8."""

    name: str
    path: str
    kind: FolderKind
    importable: bool


@dataclass(frozen=True, slots=True)
class FolderListing:
    """One level.

    Attributes:
        path: the folder, absolute; None for the level above all roots.
        parent: the next higher level that may be shown; None: the level above all roots.
        roots: the allowed roots; without any, the top of the file system.
        truncated: there are more folders than are shown.
    """

    path: str | None
    kind: FolderKind
    parent: str | None
    importable: bool
    roots: tuple[str, ...]
    folders: tuple[Folder, ...]
    truncated: bool


def start_paths(rules: TreeRules) -> tuple[str, ...]:
    """The allowed roots; without any, the top of the file system (on Windows its drives)."""
    if rules.allowed_roots or os.name != "nt":
        return rules.allowed_roots or (os.sep,)
    return tuple(drive for letter in ascii_uppercase if os.path.isdir(drive := f"{letter}:\\"))


def start_folder(root: str, rules: TreeRules) -> Folder:
    """One of :func:`start_paths` as a folder to choose."""
    return _folder(root, root, rules, is_root=bool(rules.allowed_roots))


def unreachable_start_folder(root: str, rules: TreeRules) -> Folder:
    """As :func:`start_folder`, for a root that does not answer."""
    kind = FolderKind.ROOT if rules.allowed_roots else FolderKind.FOLDER
    return Folder(display_path(root), display_path(root), kind, importable=False)


def list_start_folders(folders: Iterable[Folder]) -> FolderListing:
    found = tuple(folders)
    return FolderListing(None, FolderKind.ROOTS, None, False, tuple(folder.path for folder in found), found, False)


def browse(path: str | None, rules: TreeRules) -> FolderListing:
    """The folders in a folder, or (None) in the level above all roots: months first, newest first, then by name.

    OUTPUT_DIR, DATA_DIR and links out of the roots are not shown. An unreadable folder is shown, but not importable.

    Raises:
        SourceNotAllowedError: outside the allowed roots, or inside an excluded folder.
        SourceNotFoundError: missing, not a folder, or not readable.
    """
    if path is None:
        return list_start_folders(start_folder(root, rules) for root in start_paths(rules))
    source = resolve_source(path, rules)
    kind = _kind(source.path, rules, is_root=source.path in rules.allowed_roots)
    names = _first_names(source, rules)
    shown = tuple(_folders(source, names[:FOLDERS_SHOWN], rules))
    importable, truncated = kind is not FolderKind.FOLDER, len(names) > FOLDERS_SHOWN
    return FolderListing(
        source.path, kind, _parent(source.path, rules), importable, start_paths(rules), shown, truncated
    )


def _with_pauses(items: Iterable[Item]) -> Iterator[Item]:
    """Sleeps after some items, to release the GIL to the event loop, which needs it thousands of times a second."""
    for number, item in enumerate(items, 1):
        if number % _ITEMS_PER_PAUSE == 0:
            time.sleep(_PAUSE_S)
        yield item


def _first_names(source: ResolvedSource, rules: TreeRules) -> list[str]:
    """The names of the folders to show, in order, and one more if there are more than FOLDERS_SHOWN."""
    here = os.path.normcase(source.real_path)
    split = (os.path.split(os.path.normcase(real(folder))) for folder in rules.excluded)
    excluded = frozenset(name for above, name in split if above == here)
    try:
        with scan_within(source.path, rules.area()) as entries:
            names = (entry.name for entry in _with_pauses(entries) if _is_shown(entry, excluded, source.path, rules))
            return nsmallest(FOLDERS_SHOWN + 1, names, key=lambda name: _order(name, rules.month_folder_format))
    except OSError as error:  # it was there a moment ago
        check_descriptors(error)
        raise SourceNotFoundError(f"文件夹不存在或无法访问：{display_path(source.path)}。") from error


def _is_shown(entry: os.DirEntry[str], excluded: frozenset[str], above: str, rules: TreeRules) -> bool:
    if is_system_folder(entry.name) or os.path.normcase(entry.name) in excluded:
        return False
    try:
        return entry.is_dir() and (not is_link(entry) or _is_allowed(os.path.join(above, entry.name), rules))
    except OSError:  # a circular link, or a target that may not be read
        return False


def _is_allowed(path: str, rules: TreeRules) -> bool:
    try:
        check_allowed(path, real(path), rules)
    except SourceError:
        return False
    return True


def _folders(source: ResolvedSource, names: list[str], rules: TreeRules) -> Iterator[Folder]:
    """The folders with their kinds; at most some of them, and none below a month, are opened to find it."""
    looks = _FOLDERS_OPENED if source.kind is SourceKind.ROOT else 0
    for name in _with_pauses(names):
        is_month = month_of(name, rules.month_folder_format) is not None
        yield _folder(os.path.join(source.path, name), name, rules, look=looks > 0)
        looks -= not is_month


def _folder(path: str, name: str, rules: TreeRules, *, is_root: bool = False, look: bool = True) -> Folder:
    kind = _kind(path, rules, is_root=is_root, look=look)
    printable = display_path(path) == path
    importable = kind is not FolderKind.FOLDER and printable and os.access(path, os.R_OK | os.X_OK)
    return Folder(display_path(name), display_path(path), kind, importable)


def _kind(path: str, rules: TreeRules, *, is_root: bool, look: bool = True) -> FolderKind:
    kind = place_of(path, rules).kind
    if kind is not SourceKind.ROOT:
        return FolderKind(kind.value)
    holds = is_root or (look and holds_month(path, rules.month_folder_format, rules.area()))
    return FolderKind.ROOT if holds else FolderKind.FOLDER


def _parent(path: str, rules: TreeRules) -> str | None:
    above = os.path.dirname(path)
    is_top = above == path or path in rules.allowed_roots
    return above if not is_top and _is_allowed(above, rules) else None


def _order(name: str, month_format: str) -> tuple[bool, int, str]:
    """Sort key: months first, the newest first; the rest in natural order (P2 before P10)."""
    month = month_of(name, month_format)
    newest_first = -int(month.replace("-", "")) if month else 0
    return month is None, newest_first, _DIGITS.sub(_by_value, name.casefold())


def _by_value(digits: re.Match[str]) -> str:
    """Digits so that texts compare as numbers do: NUL sorts before any character, then the shorter number first."""
    number = digits[0].lstrip("0")
    return f"\0{chr(len(number))}{number}"
