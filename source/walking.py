r"""Walks root, month and patient folders and yields :data:`models.ScanEvent`\ s in a stable order.

Order: each folder yields first its files, then its sub-folders, both by the bytes of their names. A root or month
folder yields its first hundred misfits before its sub-folders and the others after them, so that a flood of misfits
delays no month. Memory grows with the largest folder of each level, and with the number of followed links.

Links: a walk follows a link whose target is under an allowed root; without configured roots, any link. Each real file
comes once. What the walk reaches without links it reaches only so; of several links to one target the first in order
counts. A link to a folder that holds the source is never followed. Hard links are files of their own. A folder is
checked once it is open, since it may have become a link after its parent was listed.
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
from source.layout import is_system_folder, junk_reason, month_of, unfit_folder
from source.links import VisitedLinks, is_link
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
"""The walk opens only these to find a hint."""


def walk(source: ResolvedSource, rules: TreeRules) -> Iterator[ScanEvent]:
    """Yields every file and every folder that does not fit; the module's docstring defines the order.

    Raises:
        SourceVanishedError: the source itself is gone. A single sub-folder that goes is a SkippedFolder.
        OutOfDescriptorsError: nothing can be opened now, so a folder cannot be listed.
    """
    for listing in _listings(source, rules):
        for item in listing.items:
            yield _file_event(item, listing.folder) if isinstance(item, os.DirEntry) else item


def count(source: ResolvedSource, rules: TreeRules, stop: Callable[[], bool]) -> Iterator[int]:
    """Yields the running number of candidate files, folder by folder, without touching a file; ends early on ``stop``.

    Candidates are the files that :func:`walk` yields as SourceFile or MisplacedFile.
    """
    total = 0
    for listing in _listings(source, rules):
        total += sum(isinstance(item, os.DirEntry) for item in listing.items)
        yield total
        if stop():
            return


def revisit(path: str, source: ResolvedSource, rules: TreeRules) -> SourceFile | MisplacedFile:
    """A file that an earlier walk of this source yielded, with its present size and time.

    Both are 0 if it is gone or now leads outside. No known file has that size, so the reader opens and refuses it.
    """
    month_folder, patient_dir = _place_names(path, source)
    month = source.month or month_of(month_folder, rules.month_folder_format) or ""
    file = SourceFile(path, month, patient_dir, *_size_and_time(path, rules))
    return file if patient_dir else MisplacedFile(file)


def _place_names(path: str, source: ResolvedSource) -> tuple[str, str]:
    """Names of the month and patient folders of a file, as walked; empty if it is above them."""
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
class _Folder:
    """A folder to walk. ``linked``: it was reached through a link, so a file in it may come twice."""

    path: str
    real_path: str
    month: str
    patient_dir: str
    kind: SourceKind
    linked: bool = False


_Item = os.DirEntry[str] | IgnoredFile | SkippedFolder


@dataclass(slots=True)
class _Listing:
    """One folder's content: files as entries, what is not imported, and the sub-folders to walk.

    The folder is closed by then, so that its share can be unmounted. An entry gives only its name, on Windows also its
    size and time.
    """

    folder: _Folder
    items: list[_Item] = field(default_factory=list)
    subfolders: list[_Folder] = field(default_factory=list)

    def split_misfits(self) -> _Listing | None:
        """Removes and returns what comes after the sub-folders."""
        if self.folder.kind is SourceKind.PATIENT or len(self.items) <= MISFITS_FIRST:
            return None
        later = _Listing(self.folder, self.items[MISFITS_FIRST:])
        del self.items[MISFITS_FIRST:]
        return later


def _listings(source: ResolvedSource, rules: TreeRules) -> Iterator[_Listing]:
    """Depth first without recursion: a stack of folders, the next one on top."""
    walker = _Walker(source, rules)
    patient_dir = os.path.basename(source.path) if source.kind is SourceKind.PATIENT else ""
    first = _Folder(source.path, source.real_path, source.month or "", patient_dir, source.kind)
    stack: list[_Folder | _Listing] = [first]
    while stack:
        top = stack.pop()
        if isinstance(top, _Listing):
            yield top
            continue
        listing = walker.list_folder(top)
        if later := listing.split_misfits():
            stack.append(later)
        stack.extend(reversed(listing.subfolders))
        yield listing


class _Walker:
    def __init__(self, source: ResolvedSource, rules: TreeRules) -> None:
        self._source = source
        self._month_format = rules.month_folder_format
        self._area = rules.area()
        self._excluded = frozenset(self._area.excluded)
        allowed = partial(in_roots, rules=rules, path=source.path)
        self._links = VisitedLinks(source.real_path, allowed, self._excluded, self._is_walked)

    def list_folder(self, folder: _Folder) -> _Listing:
        """The folder's listing. An unreadable folder is listed as skipped, unless the whole source is gone."""
        listing = _Listing(folder)
        try:
            with scan_within(folder.path, self._area) as entries:
                for entry in sorted(entries, key=_name_bytes):
                    look = len(listing.items) < MISFITS_FIRST
                    for found in self._found(entry, folder, look):
                        if isinstance(found, _Folder):
                            listing.subfolders.append(found)
                        else:
                            listing.items.append(found)
        except OSError as error:
            check_descriptors(error)
            check_present(self._source)
            return _Listing(folder, self._not_listed(folder.path, error))
        return listing

    def _not_listed(self, path: str, error: OSError) -> list[_Item]:
        if not isinstance(error, OutsideError):
            return [_unlistable(path, error)]
        return [IgnoredFile(path, OUTSIDE_ROOTS), self._outside_folder(path, os.path.realpath(path))]

    def _found(self, entry: os.DirEntry[str], folder: _Folder, look: bool) -> Iterator[_Item | _Folder]:
        """What an entry adds to the listing; ``look``: a folder that does not fit is opened to find a hint."""
        path = os.path.join(folder.path, entry.name)
        if is_link(entry):
            yield from self._found_link(entry, path, folder, look)
            return
        real_path = os.path.join(folder.real_path, entry.name)
        is_folder = entry.is_dir(follow_symlinks=False)
        reason = None if is_folder else _not_a_file(entry)
        if reason is None and folder.linked and real_path in self._links:
            reason = "symlink_duplicate"
        if reason is not None:
            yield IgnoredFile(path, reason)
        elif is_folder:
            yield from self._found_folder(path, entry.name, folder, real_path, folder.linked, look)
        else:
            yield entry

    def _found_link(self, entry: os.DirEntry[str], path: str, folder: _Folder, look: bool) -> Iterator[_Item | _Folder]:
        target = os.path.realpath(path)
        is_folder = os.path.isdir(target)
        reason = junk_reason(entry.name) or (None if is_folder else _unreadable_link(target))
        reason = reason or self._links.refusal(target) or (None if is_folder else _not_a_file(entry))
        if reason is not None:
            yield IgnoredFile(path, reason)
            if is_folder and reason == OUTSIDE_ROOTS:
                yield self._outside_folder(path, target)
        elif is_folder:
            for found in self._found_folder(path, entry.name, folder, target, True, look):
                if isinstance(found, _Folder):
                    self._links.add(target)
                yield found
        else:
            self._links.add(target)
            yield entry

    def _found_folder(  # noqa: PLR0913, PLR0917
        self, path: str, name: str, parent: _Folder, real_path: str, linked: bool, look: bool
    ) -> Iterator[_Item | _Folder]:
        """A month below a root, a patient below a month, else more of the same patient."""
        if real_path in self._excluded:
            return
        if is_system_folder(name):
            yield IgnoredFile(path, "system_folder")
        elif parent.kind is not SourceKind.ROOT:
            yield _Folder(path, real_path, parent.month, parent.patient_dir or name, SourceKind.PATIENT, linked)
        elif month := month_of(name, self._month_format):
            yield _Folder(path, real_path, month, "", SourceKind.MONTH, linked)
        else:
            yield unfit_folder(path, self._month_format, self._area if look else None)

    def _outside_folder(self, path: str, target: str) -> SkippedFolder:
        """Comes in addition to an ignored file, since a folder that is missing makes the result partial."""
        own = self._links.is_excluded(target)
        place = "本服务自己的文件夹（OUTPUT_DIR 或 DATA_DIR）" if own else "允许范围之外的文件夹"
        return SkippedFolder(path, f"链接指向{place}", OUTSIDE_HINT)

    def _is_walked(self, parts: tuple[str, ...]) -> bool:
        """Whether the walk reaches the real path of these parts below the source without following a link."""
        if any(is_system_folder(part) for part in parts):
            return False
        fits = not parts or self._source.kind is not SourceKind.ROOT
        return fits or month_of(parts[0], self._month_format) is not None


def _file_event(entry: os.DirEntry[str], folder: _Folder) -> ScanEvent:
    """A file with its size and time; both are 0 if the system refuses them, and the reader fails on it."""
    path, linked = os.path.join(folder.path, entry.name), entry.is_symlink()
    try:
        status = entry.stat() if os.name == "nt" and not linked else os.stat(path, follow_symlinks=linked)
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return IgnoredFile(path, "vanished")
    except OSError:
        size_bytes, mtime_ns = 0, 0
    file = SourceFile(path, folder.month, folder.patient_dir, size_bytes, mtime_ns)
    return file if folder.kind is SourceKind.PATIENT else MisplacedFile(file)


def _not_a_file(entry: os.DirEntry[str]) -> str | None:
    if reason := junk_reason(entry.name):
        return reason
    return "special_file" if not entry.is_file() and _is_special(entry) else None


def _name_bytes(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it is a FIFO, socket or device. If that is unknown, the reader fails on it."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _unreadable_link(target: str) -> str | None:
    """Why a link leads to nothing: it is broken or circular, or its target may not be seen."""
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
