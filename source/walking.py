"""Walks root, month and patient folders and yields :data:`models.ScanEvent`\\ s in a stable order.

Order: within each folder first its files, then its sub-folders, both by the bytes of their names. In a root or month
folder, which holds no patient's file, only the first hundred misfits come before the sub-folders and all others after
them, so that a flood of misfits delays no month. Memory grows with the largest single folder of each level, and with
the number of symbolic links that were followed; nothing else is remembered.

Links: a link is followed where its target lies under an allowed root; where no root is configured every path is
allowed, so every target is. Each real file comes once: what the walk reaches without links it reaches only so, and of
several links to one target the first in order counts. A link to a folder that holds the source is never followed. Hard
links are files of their own. A folder that has become a link since its parent was listed is checked once it is open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from domain.descriptors import check_descriptors
from domain.outcome_codes import OUTSIDE_HINT, OUTSIDE_ROOTS
from domain.regular_files import OutsideError, scan_within
from errors import SourceError
from models import SKIPPED_SHOWN, IgnoredFile, MisplacedFile, ScanEvent, SkippedFolder, SourceFile
from source.layout import is_system_folder, junk_reason, month_of, unfit_folder, unopened_unfit_folder
from source.links import LinkLedger, is_link
from source.root import (
    READ_PERMISSION_HINT,
    ResolvedSource,
    SourceKind,
    TreeRules,
    check_allowed,
    check_present,
    in_roots,
    real,
)

MISFITS_FIRST = SKIPPED_SHOWN
"""Only these are looked into for a hint."""


def walk(source: ResolvedSource, rules: TreeRules) -> Iterator[ScanEvent]:
    """Yield everything that is found, in stable order; see the module's docstring.

    Raises:
        SourceVanishedError: the source itself is gone (a single sub-folder that goes is a SkippedFolder).
        OutOfDescriptorsError: nothing can be opened now, so a folder cannot be listed.
    """
    for listing in _listings(source, rules):
        place, above = listing.place, listing.above
        for item in listing.items:
            if isinstance(item, os.DirEntry):
                yield _file_event(above + item.name, place, item)
            elif isinstance(item, _LinkedFile):
                yield _file_event(item.path, place)
            elif isinstance(item, str):
                yield unopened_unfit_folder(item, rules.month_folder_format)
            else:
                yield item


def count(source: ResolvedSource, rules: TreeRules, stop: Callable[[], bool]) -> Iterator[int]:
    """Yield the running number of candidate files, folder by folder, without touching a file; ends early on ``stop``.

    Candidates are the files that :func:`walk` yields as SourceFile or MisplacedFile.
    """
    total = 0
    for listing in _listings(source, rules):
        total += sum(isinstance(item, os.DirEntry | _LinkedFile) for item in listing.items)
        yield total
        if stop():
            return


def revisit(path: str, source: ResolvedSource, rules: TreeRules) -> SourceFile | MisplacedFile:
    """A file that an earlier walk of this source yielded, with its size and time of now.

    Both are 0 if it is gone, or leads outside by now: no known file has that size, so it is opened, and refused there.
    """
    month_folder, patient_dir = _place_names(path, source)
    month = source.month or month_of(month_folder, rules.month_folder_format) or ""
    file = SourceFile(path, month, patient_dir, *_size_and_time(path, rules))
    return file if patient_dir else MisplacedFile(file)


def _place_names(path: str, source: ResolvedSource) -> tuple[str, str]:
    """Names of the month and patient folders that a file lies in, as walked; empty where it lies above them."""
    folders = os.path.relpath(path, source.path).split(os.sep)[:-1]
    if source.kind is SourceKind.PATIENT:
        return "", os.path.basename(source.path)
    if source.kind is SourceKind.MONTH:
        folders.insert(0, "")
    month_folder, patient_dir, *_ = (*folders, "", "")
    return month_folder, patient_dir


def _size_and_time(path: str, rules: TreeRules) -> tuple[int, int]:
    try:
        check_allowed(path, real(path), rules)
        status = os.stat(path)
    except (SourceError, OSError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder on the way: where it lies, really lies, and what it means.

    ``linked`` is True below a followed link, where a real file could be met twice.
    """

    path: str
    real_path: str
    month: str
    patient_dir: str
    kind: SourceKind
    linked: bool = False


@dataclass(frozen=True, slots=True)
class _LinkedFile:
    """A followed link to a file, not yet looked at."""

    path: str


_Item = os.DirEntry[str] | _LinkedFile | IgnoredFile | SkippedFolder | str


@dataclass(slots=True)
class _Listing:
    """One folder: its files as entries, not yet looked at, whatever else is to be told of it, and what comes below.

    A path among the items is that of a folder whose name is no month. The folder is closed by then, so that its share
    can be unmounted: an entry gives its name (what is in ``above``), and only on Windows also its size and time.
    """

    place: _Place
    items: list[_Item] = field(default_factory=list)
    folders: list[_Place] = field(default_factory=list)
    above: str = field(init=False)

    def __post_init__(self) -> None:
        self.above = self.place.path.rstrip(os.sep) + os.sep

    def ignore(self, entry: os.DirEntry[str], reason: str) -> None:
        self.items.append(IgnoredFile(self.above + entry.name, reason))

    def split_misfits(self) -> _Listing | None:
        """Takes away what is to come after the sub-folders; None where nothing is."""
        if self.place.kind is SourceKind.PATIENT or len(self.items) <= MISFITS_FIRST:
            return None
        later = _Listing(self.place, self.items[MISFITS_FIRST:])
        del self.items[MISFITS_FIRST:]
        return later


def _listings(source: ResolvedSource, rules: TreeRules) -> Iterator[_Listing]:
    """Depth first without recursion: a stack of folders, the next one on top."""
    walker = _Walker(source, rules)
    patient_dir = os.path.basename(source.path) if source.kind is SourceKind.PATIENT else ""
    stack: list[_Place | _Listing] = [
        _Place(source.path, source.real_path, source.month or "", patient_dir, source.kind)
    ]
    while stack:
        top = stack.pop()
        listing = walker.look_into(top) if isinstance(top, _Place) else top
        if later := listing.split_misfits() if listing is not top else None:
            stack.append(later)
        stack.extend(reversed(listing.folders))
        yield listing


class _Walker:
    """Looks into one folder at a time; remembers only which links were followed."""

    def __init__(self, source: ResolvedSource, rules: TreeRules) -> None:
        self._source = source
        self._month_format = rules.month_folder_format
        self._area = rules.area()
        self._excluded = frozenset(self._area.excluded)
        allowed = partial(in_roots, rules=rules, path=source.path)
        self._links = LinkLedger(source.real_path, allowed, self._excluded, self._walked_directly)

    def look_into(self, place: _Place) -> _Listing:
        """The folder's listing; one that cannot be read is told as skipped, unless the whole source is gone."""
        listing = _Listing(place)
        try:
            with scan_within(place.path, self._area) as found:
                for entry in sorted(found, key=_name_bytes):
                    self._take(entry, listing)
        except OSError as error:
            check_descriptors(error)
            check_present(self._source)
            return _Listing(place, self._left_out(place.path, error))
        return listing

    def _left_out(self, path: str, error: OSError) -> list[_Item]:
        if not isinstance(error, OutsideError):
            return [_unlistable(path, error)]
        ours = self._links.is_excluded(os.path.realpath(path))
        return [IgnoredFile(path, OUTSIDE_ROOTS), _outside_folder(path, ours=ours)]

    def _take(self, entry: os.DirEntry[str], listing: _Listing) -> None:
        if is_link(entry):
            self._take_link(entry, listing)
        elif entry.is_dir(follow_symlinks=False):
            self._take_folder(entry, listing)
        else:
            self._take_file(entry, listing)

    def _take_file(self, entry: os.DirEntry[str], listing: _Listing) -> None:
        place = listing.place
        if reason := junk_reason(entry.name):
            listing.ignore(entry, reason)
        elif not entry.is_file() and _is_special(entry):
            listing.ignore(entry, "special_file")
        elif place.linked and self._links.followed(os.path.join(place.real_path, entry.name)):
            listing.ignore(entry, "symlink_duplicate")
        else:
            listing.items.append(entry)

    def _take_folder(self, entry: os.DirEntry[str], listing: _Listing) -> None:
        place = listing.place
        real_path = os.path.join(place.real_path, entry.name)
        if place.linked and self._links.followed(real_path):
            listing.ignore(entry, "symlink_duplicate")
        else:
            self._descend(entry, listing, real_path, place.linked)

    def _take_link(self, entry: os.DirEntry[str], listing: _Listing) -> None:
        path = listing.above + entry.name
        target = os.path.realpath(path)
        is_folder = os.path.isdir(target)
        unreadable = None if is_folder else _unreadable_link(target)
        if reason := junk_reason(entry.name):
            listing.ignore(entry, reason)
        elif refusal := self._links.refusal(target) if unreadable is None else unreadable:
            listing.ignore(entry, refusal)
            if is_folder and refusal == OUTSIDE_ROOTS:
                listing.items.append(_outside_folder(path, ours=self._links.is_excluded(target)))
        elif is_folder:
            if self._descend(entry, listing, target, linked=True):
                self._links.follow(target)
        elif _is_special(entry):
            listing.ignore(entry, "special_file")
        else:
            self._links.follow(target)
            listing.items.append(_LinkedFile(path))

    def _descend(self, entry: os.DirEntry[str], listing: _Listing, real_path: str, linked: bool) -> bool:
        """Put the folder among those to be walked; False where it is not to be."""
        if real_path in self._excluded:
            return False
        if is_system_folder(entry.name):
            listing.ignore(entry, "system_folder")
            return False
        path = listing.above + entry.name
        below = self._below(path, entry.name, listing.place, real_path, linked)
        if below is None:
            first = len(listing.items) < MISFITS_FIRST
            listing.items.append(unfit_folder(path, self._month_format, self._area) if first else path)
            return False
        listing.folders.append(below)
        return True

    def _below(self, path: str, name: str, place: _Place, real_path: str, linked: bool) -> _Place | None:
        """What a sub-folder means: a month below a root, a patient below a month, else more of the same patient.

        None where a month is due and the name is none.
        """
        if place.kind is SourceKind.ROOT:
            month = month_of(name, self._month_format)
            return None if month is None else _Place(path, real_path, month, "", SourceKind.MONTH, linked)
        return _Place(path, real_path, place.month, place.patient_dir or name, SourceKind.PATIENT, linked)

    def _walked_directly(self, parts: tuple[str, ...]) -> bool:
        """Whether the walk reaches the real path of these parts below the source without following a link."""
        if any(is_system_folder(part) for part in parts):
            return False
        fits = not parts or self._source.kind is not SourceKind.ROOT
        return fits or month_of(parts[0], self._month_format) is not None


def _file_event(path: str, place: _Place, entry: os.DirEntry[str] | None = None) -> ScanEvent:
    """A file, or without its entry a link, with size and time; what may not be looked at is left to the reader."""
    try:
        status = entry.stat() if entry and os.name == "nt" else os.stat(path, follow_symlinks=entry is None)
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return IgnoredFile(path, "vanished")
    except OSError:
        size_bytes, mtime_ns = 0, 0
    file = SourceFile(path, place.month, place.patient_dir, size_bytes, mtime_ns)
    return file if place.kind is SourceKind.PATIENT else MisplacedFile(file)


def _name_bytes(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _is_special(entry: os.DirEntry[str]) -> bool:
    """FIFOs, sockets and devices; what cannot be looked at is left to the reader."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _outside_folder(path: str, *, ours: bool) -> SkippedFolder:
    """Beside the row among the ignored files: a whole folder that is missing makes the result partial."""
    place = "本服务自己的文件夹（OUTPUT_DIR 或 DATA_DIR）" if ours else "允许范围之外的文件夹"
    return SkippedFolder(path, f"链接指向{place}", OUTSIDE_HINT)


def _unreadable_link(target: str) -> str | None:
    """Why nothing can be found behind a link: it ends nowhere or in itself, or may not be looked at."""
    try:
        os.stat(target)
    except PermissionError:
        return "symlink_unreadable"
    except OSError:
        return "broken_symlink"
    return None


def _unlistable(path: str, error: OSError) -> SkippedFolder:
    if isinstance(error, PermissionError):
        return SkippedFolder(path, "没有权限读取该文件夹", READ_PERMISSION_HINT)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SkippedFolder(path, "该文件夹在扫描过程中被移走或删除", "如仍需导入，请放回后重新导入。")
    name = errno.errorcode.get(error.errno or 0, "OSError")
    return SkippedFolder(path, f"无法读取该文件夹（{name}）", "请检查磁盘或共享，然后重新导入。")
