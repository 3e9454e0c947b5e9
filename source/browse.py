"""The folders of one level, for choosing a source: what each means to an import, and whether it can be one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_uppercase

from descriptors import check_descriptors
from errors import SourceError, SourceNotFoundError
from models import display_path
from regular_files import scan_within
from source.layout import holds_month, is_system_folder, month_of
from source.links import is_link
from source.root import ResolvedSource, SourceKind, TreeRules, check_allowed, classify, real, resolve_source

FOLDERS_SHOWN = 2_000
_LOOKED_INTO = 100
"""Of the folders that are no months so many are looked into, whether they hold some: each is a trip to the share."""
_DIGITS = re.compile(r"([0-9]+)")


class FolderKind(StrEnum):
    """What a folder means to an import."""

    ROOTS = "roots"
    """No folder: the level above all roots."""
    ROOT = "root"
    """An allowed root, or a folder that holds months."""
    MONTH = "month"
    PATIENT = "patient"
    FOLDER = "folder"
    """Any other; an import of it would find nothing that fits."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder in a listing; name and path are display text where they are not valid UTF-8."""

    name: str
    path: str
    kind: FolderKind
    importable: bool


@dataclass(frozen=True, slots=True)
class FolderListing:
    """One level.

    Attributes:
        path: the folder, absolute; None for the level above all roots.
        parent: the next higher level that may be seen; None leads to the roots.
        roots: the allowed roots; without any, where the file system begins.
        truncated: there are more folders than are shown.
    """

    path: str | None
    kind: FolderKind
    parent: str | None
    importable: bool
    roots: tuple[str, ...]
    folders: tuple[Folder, ...]
    truncated: bool


def browse(path: str | None, rules: TreeRules) -> FolderListing:
    """What a folder holds, or (None) where to begin. Months come first and newest first, then the rest by name.

    What may not be imported is not shown: OUTPUT_DIR, DATA_DIR, links that lead out of the roots. A folder that cannot
    be read is shown, but not as importable.

    Raises:
        SourceNotAllowedError: outside the allowed roots, or inside an excluded folder.
        SourceNotFoundError: missing, not a folder, or not readable.
    """
    roots = rules.allowed_roots or _beginnings()
    if path is None:
        folders = tuple(_folder(root, root, rules, is_root=bool(rules.allowed_roots)) for root in roots)
        return FolderListing(None, FolderKind.ROOTS, None, False, roots, folders, False)
    source = resolve_source(path, rules)
    kind = _kind(source.path, rules, is_root=source.path in rules.allowed_roots)
    names = sorted(_names_in(source, rules), key=lambda name: _order(name, rules.month_folder_format))
    shown = tuple(_folders(source, names[:FOLDERS_SHOWN], rules))
    importable = kind is not FolderKind.FOLDER
    return FolderListing(
        source.path, kind, _parent(source.path, rules), importable, roots, shown, len(names) > FOLDERS_SHOWN
    )


def _beginnings() -> tuple[str, ...]:
    """Where the file system begins: drives on Windows."""
    if os.name != "nt":
        return (os.sep,)
    return tuple(drive for letter in ascii_uppercase if os.path.isdir(drive := f"{letter}:\\"))


def _names_in(source: ResolvedSource, rules: TreeRules) -> list[str]:
    area = rules.area()
    excluded = frozenset(map(os.path.normcase, area.excluded))
    try:
        with scan_within(source.path, area) as entries:
            folders = [(entry.name, is_link(entry)) for entry in entries if _is_shown(entry)]
    except OSError as error:  # it was there a moment ago
        check_descriptors(error)
        raise SourceNotFoundError(f"文件夹不存在或无法访问：{display_path(source.path)}。") from error
    return [
        name
        for name, linked in folders
        if os.path.normcase(os.path.join(source.real_path, name)) not in excluded
        and not (linked and _leads_elsewhere(os.path.join(source.path, name), rules))
    ]


def _is_shown(entry: os.DirEntry[str]) -> bool:
    try:
        return not is_system_folder(entry.name) and entry.is_dir()
    except OSError:  # a link that leads in a circle, or to where nothing may be looked at
        return False


def _leads_elsewhere(link: str, rules: TreeRules) -> bool:
    """True for a link out of the allowed roots, or into an excluded folder: an import would not follow it."""
    try:
        check_allowed(link, real(link), rules)
    except (OSError, SourceError):
        return True
    return False


def _folders(source: ResolvedSource, names: list[str], rules: TreeRules) -> Iterator[Folder]:
    """The folders with their kinds; at most some of them, and none below a month, are looked into for it."""
    looks = _LOOKED_INTO if source.kind is SourceKind.ROOT else 0
    for name in names:
        is_month = month_of(name, rules.month_folder_format) is not None
        yield _folder(os.path.join(source.path, name), name, rules, look=looks > 0)
        looks -= not is_month


def _folder(path: str, name: str, rules: TreeRules, *, is_root: bool = False, look: bool = True) -> Folder:
    kind = _kind(path, rules, is_root=is_root, look=look)
    sayable = display_path(path) == path
    importable = kind is not FolderKind.FOLDER and sayable and os.access(path, os.R_OK | os.X_OK)
    return Folder(display_path(name), display_path(path), kind, importable)


def _kind(path: str, rules: TreeRules, *, is_root: bool, look: bool = True) -> FolderKind:
    kind, _ = classify(path, rules.month_folder_format)
    if kind is not SourceKind.ROOT:
        return FolderKind(kind.value)
    holds = is_root or (look and holds_month(path, rules.month_folder_format, rules.area()))
    return FolderKind.ROOT if holds else FolderKind.FOLDER


def _parent(path: str, rules: TreeRules) -> str | None:
    above = os.path.dirname(path)
    if above == path or path in rules.allowed_roots:
        return None
    try:
        check_allowed(above, real(above), rules)
    except SourceError:
        return None
    return above


def _order(name: str, month_format: str) -> tuple[bool, int, list[tuple[int, str]]]:
    """Months before the rest, the newest first: they are imported as they come. The rest as people count: P2, P10."""
    month = month_of(name, month_format)
    newest_first = -int(month.replace("-", "")) if month else 0
    pieces = [(int(piece), "") if piece.isdecimal() else (-1, piece.casefold()) for piece in _DIGITS.split(name)]
    return month is None, newest_first, pieces
