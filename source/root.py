"""The source folder: its kind, its months, whether it may be imported, whether it is still there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from domain.descriptors import check_descriptors
from domain.regular_files import inside, scan_within
from errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError
from models import Area, display_path
from source.layout import month_of

READ_PERMISSION_HINT = "请为运行本服务的账户授予该文件夹的读取权限，然后重新导入。"

_MAX_ENTRIES = 1_000_000
"""Of a root, which normally holds some hundreds of months."""


class SourceKind(StrEnum):
    ROOT = "root"
    """Holds month folders."""
    MONTH = "month"
    """Its name is a month; holds patient folders."""
    PATIENT = "patient"
    """Its parent's name is a month; everything below is this patient's."""


@dataclass(frozen=True, slots=True)
class TreeRules:
    """How a source is laid out, and where it may be.

    Attributes:
        month_folder_format: a month folder's name, with one %Y and one %m; ``2024-1`` is no ``%Y-%m``.
        excluded: folders that are never walked (OUTPUT_DIR, DATA_DIR).
        allowed_roots: sources and link targets must be under one of these; empty allows every path.
    """

    month_folder_format: str = "%Y-%m"
    excluded: tuple[str, ...] = ()
    allowed_roots: tuple[str, ...] = ()

    def area(self) -> Area:
        """What may be read, with the excluded folders as they resolve now."""
        return Area(self.allowed_roots, tuple(real(folder) for folder in self.excluded))


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """What a path means as a source. ``root_path`` is the folder that holds the month folders."""

    kind: SourceKind
    month: str | None
    root_path: str


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A source that is allowed and existed when it was resolved.

    Attributes:
        path: absolute, as walked and reported (links not resolved).
        real_path: resolved; what :func:`overlaps` compares.
        kind: root, month or patient folder.
        month: ``YYYY-MM``, or None for a root.
        identity: device and inode; an unmounted share leaves another folder at the same path.
    """

    path: str
    real_path: str
    kind: SourceKind
    month: str | None
    identity: tuple[int, int]


def resolve_source(path: str, rules: TreeRules) -> ResolvedSource:
    """Checks and classifies a source folder.

    Raises:
        SourceNotAllowedError: outside the allowed roots, or inside an excluded folder; checked before existence.
        SourceNotFoundError: missing, not a folder, or not listable.
    """
    absolute, real_path = allowed_path(path, rules)
    place = place_of(absolute, rules)
    return ResolvedSource(absolute, real_path, place.kind, place.month, _identity_of_listable(absolute))


def allowed_path(path: str, rules: TreeRules) -> tuple[str, str]:
    """The absolute and the resolved path of a source that may be imported; it need not exist.

    Raises:
        SourceNotAllowedError: outside the allowed roots, or inside an excluded folder.
        SourceNotFoundError: no path at all.
    """
    if not path.strip() or "\0" in path:
        raise SourceNotFoundError("source_path 为空或含有非法字符，请填写要导入的文件夹。")
    absolute = os.path.abspath(path)
    real_path = real(absolute)
    check_allowed(absolute, real_path, rules)
    return absolute, real_path


def place_of(path: str, rules: TreeRules) -> SourcePlace:
    """What an absolute path means as a source, by its name alone."""
    parent, name = os.path.split(path)
    if month := month_of(name, rules.month_folder_format):
        return SourcePlace(SourceKind.MONTH, month, parent)
    if month := month_of(os.path.basename(parent), rules.month_folder_format):
        return SourcePlace(SourceKind.PATIENT, month, os.path.dirname(parent))
    return SourcePlace(SourceKind.ROOT, None, path)


def check_present(source: ResolvedSource) -> None:
    """Raises SourceVanishedError if the source of a running import is gone, e.g. its share is unmounted.

    A source that comes back may have another identity; resolve it anew.
    """
    try:
        present = _identity_of_listable(source.path) == source.identity
    except SourceNotFoundError as error:
        raise SourceVanishedError(f"来源文件夹已无法访问：{display_path(source.path)}。请检查共享或磁盘。") from error
    if not present:
        raise SourceVanishedError(f"来源文件夹已被卸载或替换：{display_path(source.path)}。请检查共享或磁盘。")


def overlaps(a: str, b: str) -> bool:
    """Whether two real paths are the same folder, or one holds the other."""
    a, b = os.path.normcase(a), os.path.normcase(b)
    return inside(a, b) or inside(b, a)


def real(path: str) -> str:
    """The resolved path; a path that does not exist is resolved as far as it does."""
    try:
        return os.path.realpath(path)
    except ValueError as error:  # lone surrogates that no file system encoding knows
        raise SourceNotFoundError("source_path 含有非法字符，请填写要导入的文件夹。") from error


def check_allowed(path: str, real_path: str, rules: TreeRules) -> None:
    shown = display_path(path)
    if not in_roots(real_path, rules, path):
        raise SourceNotAllowedError(f"不允许导入该路径：{shown}。{_why_outside(path, rules)}")
    if _under_any(real_path, rules.excluded, path):
        raise SourceNotAllowedError(f"不允许导入本服务自己的输出或数据文件夹：{shown}。")


def _why_outside(path: str, rules: TreeRules) -> str:
    """Does not name a link's target, so that browsing reveals no folders outside."""
    if any(inside(os.path.normcase(path), os.path.normcase(root)) for root in rules.allowed_roots):
        return "它是一个链接，或经过一个链接，通往 DICOM_SOURCE_PATH 所列文件夹之外；请先查明是谁建立了这个链接。"
    return "只能导入 DICOM_SOURCE_PATH 所列文件夹之内的路径。"


def in_roots(real_path: str, rules: TreeRules, path: str) -> bool:
    """Whether a resolved path is under an allowed root; ``path`` hints by name under which one."""
    return not rules.allowed_roots or _under_any(real_path, rules.allowed_roots, path)


def _under_any(real_path: str, folders: tuple[str, ...], path: str) -> bool:
    """Resolves first the folders that hold ``path`` by name: another one may be on a share that hangs."""
    cased, by_name = os.path.normcase(real_path), os.path.normcase(path)
    nearest_first = sorted(folders, key=lambda folder: not inside(by_name, os.path.normcase(folder)))
    return any(inside(cased, os.path.normcase(real(folder))) for folder in nearest_first)


def _identity_of_listable(path: str) -> tuple[int, int]:
    shown = display_path(path)
    try:
        with os.scandir(path):
            status = os.stat(path)
    except NotADirectoryError as error:
        raise SourceNotFoundError(f"不是文件夹：{shown}。请填写根目录、月份文件夹或患者文件夹。") from error
    except PermissionError as error:
        raise SourceNotFoundError(f"没有权限读取文件夹：{shown}。{READ_PERMISSION_HINT}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            check_descriptors(error)
        raise SourceNotFoundError(f"文件夹不存在或无法访问：{shown}。") from error
    return status.st_dev, status.st_ino


# --- months --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MonthFolder:
    path: str
    month: str


def has_month_folder(source: ResolvedSource, rules: TreeRules) -> bool:
    """Whether anything in the source fits the layout. Raises SourceVanishedError if it cannot be read."""
    return source.kind is not SourceKind.ROOT or bool(month_folders(source, rules))


def month_folders(source: ResolvedSource, rules: TreeRules) -> tuple[MonthFolder, ...]:
    """The month folders of a root; of a month folder itself; of a patient folder none.

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


def _months_below(root: str, rules: TreeRules) -> Iterator[MonthFolder]:
    with scan_within(root, rules.area()) as entries:
        for entry in islice(entries, _MAX_ENTRIES):
            month = month_of(entry.name, rules.month_folder_format)
            if month and entry.is_dir():
                yield MonthFolder(os.path.join(root, entry.name), month)


def month_at(path: str, source: ResolvedSource, rules: TreeRules) -> str | None:
    """The month of a path at or below the source's root; None above the months."""
    first, *_ = os.path.relpath(path, place_of(source.path, rules).root_path).split(os.sep)
    return month_of(first, rules.month_folder_format)
