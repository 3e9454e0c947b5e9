"""What names in a source tree mean: months, junk, system folders, folders that do not fit."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import cache
from itertools import islice

from domain.descriptors import check_descriptors
from domain.regular_files import scan_within
from models import Area, SkippedFolder

_JUNK_NAMES = frozenset({
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store", ".localized", ".directory",
    "dicomdir",
})  # fmt: skip
"""Files of Explorer, Finder and KDE, and the DICOM directory; lower case."""

_JUNK_PREFIXES = ("._", "~$", ".~lock.", ".nfs", ".fuse_hidden")
"""AppleDouble files, locks of Office and LibreOffice, deleted but open files of NFS and FUSE."""

_EDITOR_SUFFIXES = (".swp", ".swo", ".swx", "~")
"""Editor backups; only hidden files count (``.x.swp``, ``.x~``)."""

_SYSTEM_FOLDERS = frozenset({
    "$recycle.bin", "system volume information", "recycler", "#recycle", "@eadir", "lost+found", "__macosx",
    ".trashes", ".spotlight-v100", ".fseventsd", ".temporaryitems", ".documentrevisions-v100",
})  # fmt: skip
"""Recycle bins and indexes of operating systems and storage devices; lower case."""

_OTHER_MONTH_FORMATS = ("%Y-%m", "%Y%m", "%Y_%m", "%Y.%m", "%Y年%m月", "%Y %m", "%m-%Y")
"""Common spellings, to suggest a MONTH_FOLDER_FORMAT for a folder that does not fit."""

_COMMON_HINT = "若是患者文件夹，请移入所属月份的文件夹；若是别的拼写的月份，请设置 MONTH_FOLDER_FORMAT。"

_PEEK_ENTRIES = 100


def junk_reason(name: str) -> str | None:
    """``junk`` if a file's name alone says that it is no image, else None."""
    if name.lower() in _JUNK_NAMES or name.startswith(_JUNK_PREFIXES):
        return "junk"
    return "junk" if name[0] == "." and name.endswith(_EDITOR_SUFFIXES) else None


def is_system_folder(name: str) -> bool:
    """Whether a folder belongs to the operating system; deleted files in a recycle bin are not imported."""
    lowered = name.lower()
    return lowered in _SYSTEM_FOLDERS or lowered.startswith(".trash-")


def month_of(name: str, month_format: str) -> str | None:
    """``YYYY-MM`` if the name is a month in exactly this format (one %Y and one %m), else None."""
    found = _month_pattern(month_format).fullmatch(name)
    return f"{found['year']}-{found['month']}" if found else None


@cache
def _month_pattern(month_format: str) -> re.Pattern[str]:
    return re.compile(_name_pattern(month_format, "0[1-9]|1[0-2]"))


@cache
def _loose_month_pattern(month_format: str) -> re.Pattern[str]:
    """As lenient as strptime: a month of one digit, letters in other case, more spaces."""
    spaced = _name_pattern(month_format, "1[0-2]|0?[1-9]").replace(r"\ ", r"\s+")
    return re.compile(spaced, re.IGNORECASE)


def _name_pattern(month_format: str, month: str) -> str:
    """A regular expression for a name; strptime is too slow for 100,000 folders."""
    return re.escape(month_format).replace("%Y", "(?P<year>[1-9][0-9]{3})", 1).replace("%m", f"(?P<month>{month})", 1)


def unfit_folder(path: str, month_format: str, area: Area | None) -> SkippedFolder:
    """Why a folder directly below a root is not walked, and what to do about it.

    Args:
        area: the folder is opened to look for months in it; None: its name alone decides, which is faster.
    """
    hint = _hint_from_name(os.path.basename(path), month_format)
    if hint is None and area is not None and holds_month(path, month_format, area):
        hint = "月份文件夹在它的下一级，请把 source_path 设为该文件夹。"
    return SkippedFolder(path, _unfit_reason(month_format), hint or _COMMON_HINT)


@cache
def _unfit_reason(month_format: str) -> str:
    return f"文件夹名不是月份（应形如 {datetime(2024, 1, 1).strftime(month_format)}）"


def _hint_from_name(name: str, month_format: str) -> str | None:
    if spelt := _strict_name(name, month_format):
        return f"请把文件夹改名为 {spelt}。"
    for other in _OTHER_MONTH_FORMATS:
        if month_of(name, other):
            return f"若月份文件夹都这样命名，请设置 MONTH_FOLDER_FORMAT={other}。"
    if _looks_like_month(name):
        return "月份应为 01 至 12，请更正文件夹名。"
    return None


def _strict_name(name: str, month_format: str) -> str | None:
    """The strict spelling of a name that fits loosely (``2024-1`` → ``2024-01``)."""
    found = _loose_month_pattern(month_format).fullmatch(name)
    return month_format.replace("%Y", found["year"]).replace("%m", found["month"].zfill(2)) if found else None


def _looks_like_month(name: str) -> bool:
    year, _, month = name.replace("_", "-").replace(".", "-").partition("-")
    return len(year) == 4 and len(month) == 2 and (year + month).isdecimal()


def holds_month(path: str, month_format: str, area: Area) -> bool:
    """Whether one of the first entries of a folder is a month; False if it cannot be read."""
    try:
        with scan_within(path, area) as entries:
            return any(month_of(entry.name, month_format) for entry in islice(entries, _PEEK_ENTRIES))
    except OSError as error:
        check_descriptors(error)
        return False
