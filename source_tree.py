"""Walks root, month and patient folders and yields :data:`models.ScanEvent`\\ s in a stable order.

Order: within each folder first its files, then its sub-folders, both by the bytes of their names. Memory grows with the
largest single folder, and with the number of symbolic links that were followed; nothing else is remembered.

Links: a link is followed where its target lies under an allowed root; where no root is configured every path is
allowed, so every target is. Each real file comes once: what the walk reaches without links it reaches only so, and of
several links to one target the first in order counts. Hard links are files of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError
from models import IgnoredFile, MisplacedFile, ScanEvent, SkippedFolder, SourceFile, display_path
from source_layout import is_system_folder, junk_reason, month_of, unfit_folder
from source_links import LinkLedger, inside

_READ_PERMISSION_HINT = "请为运行本服务的账户授予该文件夹的读取权限，然后重新导入。"


class SourceKind(StrEnum):
    """What a source folder is, told by its name and its parent's."""

    ROOT = "root"
    """Holds month folders."""
    MONTH = "month"
    """Its name is a month; holds patient folders."""
    PATIENT = "patient"
    """Its parent's name is a month; everything below is this patient's."""


@dataclass(frozen=True, slots=True)
class TreeRules:
    """How a source is laid out and where it may lie.

    Attributes:
        month_folder_format: strptime format of a month folder's name, matched strictly (``2024-1`` is no ``%Y-%m``).
        excluded: folders that are never walked (OUTPUT_DIR, DATA_DIR).
        allowed_roots: sources and link targets have to lie under one of these; empty allows every path.
    """

    month_folder_format: str = "%Y-%m"
    excluded: tuple[str, ...] = ()
    allowed_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A source that is allowed and was there when it was asked for.

    Attributes:
        path: absolute, as walked and reported (links not resolved).
        real_path: resolved; what :func:`overlaps` compares.
        kind: root, month or patient folder.
        month: ``YYYY-MM``, or None for a root.
        identity: device and inode of the folder; a share that is unmounted in mid-walk leaves another folder there.
    """

    path: str
    real_path: str
    kind: SourceKind
    month: str | None
    identity: tuple[int, int]


# --- the source itself ---------------------------------------------------------------------------------------------


def resolve_source(path: str, rules: TreeRules) -> ResolvedSource:
    """Check and classify a source folder.

    Raises:
        SourceNotAllowedError: outside the allowed roots, or inside an excluded folder; told before existence.
        SourceNotFoundError: missing, not a folder, or not listable.
    """
    if not path.strip() or "\0" in path:
        raise SourceNotFoundError("source_path 为空或含有非法字符，请填写要导入的文件夹。")
    absolute = os.path.abspath(path)
    real_path = _real(absolute)
    _check_allowed(absolute, real_path, rules)
    kind, month = _classify(absolute, rules.month_folder_format)
    return ResolvedSource(absolute, real_path, kind, month, _identity_of_listable(absolute))


def check_present(source: ResolvedSource) -> None:
    """Raise SourceVanishedError where the source of a running import is gone (for example an unmounted share).

    A source that comes back may have another identity, so whoever waited for it resolves it anew.
    """
    try:
        present = _identity_of_listable(source.path) == source.identity
    except SourceNotFoundError as error:
        raise SourceVanishedError(f"来源文件夹已无法访问：{display_path(source.path)}。请检查共享或磁盘。") from error
    if not present:
        raise SourceVanishedError(f"来源文件夹已被卸载或替换：{display_path(source.path)}。请检查共享或磁盘。")


def overlaps(a: str, b: str) -> bool:
    """True where two real paths (:attr:`ResolvedSource.real_path`) are the same folder or one holds the other."""
    a, b = os.path.normcase(a), os.path.normcase(b)
    return inside(a, b) or inside(b, a)


def _real(path: str) -> str:
    """The resolved path; what does not exist is resolved as far as it does."""
    try:
        return os.path.realpath(path)
    except ValueError as error:  # lone surrogates that no file system encoding knows
        raise SourceNotFoundError("source_path 含有非法字符，请填写要导入的文件夹。") from error


def _check_allowed(path: str, real_path: str, rules: TreeRules) -> None:
    shown = display_path(path)
    if rules.allowed_roots and not _under_any(real_path, rules.allowed_roots):
        raise SourceNotAllowedError(f"不允许导入该路径：{shown}。只能导入 DICOM_SOURCE_PATH 所列文件夹之内的路径。")
    if _under_any(real_path, rules.excluded):
        raise SourceNotAllowedError(f"不允许导入本服务自己的输出或数据文件夹：{shown}。")


def _under_any(real_path: str, folders: tuple[str, ...]) -> bool:
    cased = os.path.normcase(real_path)
    return any(inside(cased, os.path.normcase(_real(folder))) for folder in folders)


def _classify(path: str, month_format: str) -> tuple[SourceKind, str | None]:
    parent, name = os.path.split(path)
    if month := month_of(name, month_format):
        return SourceKind.MONTH, month
    if month := month_of(os.path.basename(parent), month_format):
        return SourceKind.PATIENT, month
    return SourceKind.ROOT, None


def _identity_of_listable(path: str) -> tuple[int, int]:
    shown = display_path(path)
    try:
        with os.scandir(path):
            status = os.stat(path)
    except NotADirectoryError as error:
        raise SourceNotFoundError(f"不是文件夹：{shown}。请填写根目录、月份文件夹或患者文件夹。") from error
    except PermissionError as error:
        raise SourceNotFoundError(f"没有权限读取文件夹：{shown}。{_READ_PERMISSION_HINT}") from error
    except (OSError, ValueError) as error:
        raise SourceNotFoundError(f"文件夹不存在或无法访问：{shown}。") from error
    return status.st_dev, status.st_ino


# --- the walk ------------------------------------------------------------------------------------------------------


def walk(source: ResolvedSource, rules: TreeRules) -> Iterator[ScanEvent]:
    """Yield everything that is found, in stable order; see the module's docstring.

    Raises:
        SourceVanishedError: the source itself is gone (a single sub-folder that goes is a SkippedFolder).
    """
    for listing in _listings(source, rules):
        place = listing.place
        for item in listing.items:
            if isinstance(item, os.DirEntry):
                yield _file_event(item, place)
            else:
                yield item


def count(source: ResolvedSource, rules: TreeRules, stop: Callable[[], bool]) -> Iterator[int]:
    """Yield the running number of candidate files, folder by folder, without touching a file; ends early on ``stop``.

    Candidates are the files that :func:`walk` yields as SourceFile or MisplacedFile.
    """
    total = 0
    for listing in _listings(source, rules):
        total += sum(isinstance(item, os.DirEntry) for item in listing.items)
        yield total
        if stop():
            return


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


@dataclass(slots=True)
class _Listing:
    """One folder: its files as entries, not yet looked at, whatever else is to be told of it, and what comes below."""

    place: _Place
    items: list[os.DirEntry[str] | IgnoredFile | SkippedFolder] = field(default_factory=list)
    folders: list[_Place] = field(default_factory=list)

    def ignore(self, entry: os.DirEntry[str], reason: str) -> None:
        self.items.append(IgnoredFile(entry.path, reason))


def _listings(source: ResolvedSource, rules: TreeRules) -> Iterator[_Listing]:
    """Depth first without recursion: a stack of folders, the next one on top."""
    walker = _Walker(source, rules)
    patient_dir = os.path.basename(source.path) if source.kind is SourceKind.PATIENT else ""
    stack = [_Place(source.path, source.real_path, source.month or "", patient_dir, source.kind)]
    while stack:
        listing = walker.look_into(stack.pop())
        yield listing
        stack.extend(reversed(listing.folders))


class _Walker:
    """Looks into one folder at a time; remembers only which links were followed."""

    def __init__(self, source: ResolvedSource, rules: TreeRules) -> None:
        self._source = source
        self._month_format = rules.month_folder_format
        self._excluded = frozenset(_real(folder) for folder in rules.excluded)
        roots = tuple(_real(root) for root in rules.allowed_roots)
        self._links = LinkLedger(source.real_path, roots, self._excluded, self._walked_directly)

    def look_into(self, place: _Place) -> _Listing:
        """The folder's listing; one that cannot be read is told as skipped, unless the whole source is gone."""
        listing = _Listing(place)
        try:
            with os.scandir(place.path) as found:
                entries = sorted(found, key=_name_bytes)
            for entry in entries:
                self._take(entry, listing)
        except OSError as error:
            check_present(self._source)
            return _Listing(place, [_unlistable(place.path, error)])
        return listing

    def _take(self, entry: os.DirEntry[str], listing: _Listing) -> None:
        if _is_link(entry):
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
        target = os.path.realpath(entry.path)
        is_folder = os.path.isdir(target)
        if reason := junk_reason(entry.name):
            listing.ignore(entry, reason)
        elif refusal := self._links.refusal(target):
            listing.items.append(_refused_link(entry.path, refusal, is_folder))
        elif is_folder:
            if self._descend(entry, listing, target, linked=True):
                self._links.follow(target)
        elif not os.path.exists(target):
            listing.ignore(entry, "broken_symlink")
        elif _is_special(entry):
            listing.ignore(entry, "special_file")
        else:
            self._links.follow(target)
            listing.items.append(entry)

    def _descend(self, entry: os.DirEntry[str], listing: _Listing, real_path: str, linked: bool) -> bool:
        """Put the folder among those to be walked; False where it is not to be."""
        if real_path in self._excluded:
            return False
        if is_system_folder(entry.name):
            listing.ignore(entry, "system_folder")
            return False
        below = self._below(entry, listing.place, real_path, linked)
        if isinstance(below, SkippedFolder):
            listing.items.append(below)
            return False
        listing.folders.append(below)
        return True

    def _below(self, entry: os.DirEntry[str], place: _Place, real_path: str, linked: bool) -> _Place | SkippedFolder:
        """What a sub-folder means: a month below a root, a patient below a month, else more of the same patient."""
        if place.kind is SourceKind.ROOT:
            month = month_of(entry.name, self._month_format)
            if month is None:
                return unfit_folder(entry.path, self._month_format)
            return _Place(entry.path, real_path, month, "", SourceKind.MONTH, linked)
        patient_dir = place.patient_dir or entry.name
        return _Place(entry.path, real_path, place.month, patient_dir, SourceKind.PATIENT, linked)

    def _walked_directly(self, parts: tuple[str, ...]) -> bool:
        """Whether the walk reaches the real path of these parts below the source without following a link."""
        if any(is_system_folder(part) for part in parts):
            return False
        fits = not parts or self._source.kind is not SourceKind.ROOT
        return fits or month_of(parts[0], self._month_format) is not None


def _file_event(entry: os.DirEntry[str], place: _Place) -> ScanEvent:
    """Size and time come from the entry's stat; a file that may not be looked at is left to the reader to refuse."""
    try:
        status = entry.stat()
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return IgnoredFile(entry.path, "vanished")
    except OSError:
        size_bytes, mtime_ns = 0, 0
    file = SourceFile(entry.path, place.month, place.patient_dir, size_bytes, mtime_ns)
    return file if place.kind is SourceKind.PATIENT else MisplacedFile(file)


def _name_bytes(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Symbolic links, and on Windows junctions, which is_symlink() does not know."""
    if entry.is_symlink():
        return True
    if os.name != "nt" or not entry.is_dir(follow_symlinks=False):
        return False
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return bool(tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None))


def _is_special(entry: os.DirEntry[str]) -> bool:
    """FIFOs, sockets and devices; what cannot be looked at is left to the reader."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refused_link(path: str, reason: str, is_folder: bool) -> IgnoredFile | SkippedFolder:
    if is_folder and reason == "symlink_outside_roots":
        hint = "如需导入，请把链接的目标加入 DICOM_SOURCE_PATH。"
        return SkippedFolder(path, "链接指向允许范围之外的文件夹", hint)
    return IgnoredFile(path, reason)


def _unlistable(path: str, error: OSError) -> SkippedFolder:
    if isinstance(error, PermissionError):
        return SkippedFolder(path, "没有权限读取该文件夹", _READ_PERMISSION_HINT)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SkippedFolder(path, "该文件夹在扫描过程中被移走或删除", "如仍需导入，请放回后重新导入。")
    name = errno.errorcode.get(error.errno or 0, "OSError")
    return SkippedFolder(path, f"无法读取该文件夹（{name}）", "请检查磁盘或共享，然后重新导入。")
