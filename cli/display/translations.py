"""Chinese and English words side by side, and text that is safe in a terminal."""

from __future__ import annotations

import re
from enum import StrEnum

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of writing: names of files must not control the terminal."""

STATUS_WORDS = {
    "pending": ("等待中", "waiting"),
    "running": ("进行中", "running"),
    "paused": ("已暂停", "paused"),
    "completed": ("已完成", "completed"),
    "failed": ("已中止", "aborted"),
    "cancelled": ("已取消", "cancelled"),
    "interrupted": ("已中断", "interrupted"),
}
RESULT_WORDS = {
    "success": ("全部成功", "all in"),
    "partial": ("部分成功", "partly successful"),
    "failed": ("未能导入", "nothing in"),
}
PAUSE_WORDS = {
    "user": ("由操作员暂停", "by an operator"),
    "backend_unavailable": ("XieHe 无法使用", "XieHe is unavailable"),
    "backend_auth": ("XieHe 拒绝了令牌", "XieHe refuses the token"),
    "disk_full": ("磁盘已满", "disk full"),
    "source_missing": ("源目录不见了", "the source is gone"),
    "renderer_unavailable": ("转换集群无法使用", "the render cluster is unavailable"),
    "out_of_descriptors": ("文件描述符已用完", "no file descriptor is left"),
    "outside_active_hours": ("不在允许的时段", "outside the active hours"),
}
MONTH_WORDS = {
    "done": ("已完成", "done"),
    "partial": ("部分完成", "partly"),
    "running": ("进行中", "running"),
    "waiting": ("等待中", "waiting"),
    "not_imported": ("未导入", "not imported"),
}


class Language(StrEnum):
    """Of all words but codes and the service's messages."""

    ZH = "zh"
    EN = "en"


class Words:
    """Picks one of two wordings."""

    def __init__(self, language: Language) -> None:
        self._english = language is Language.EN

    def __call__(self, chinese: str, english: str) -> str:
        return english if self._english else chinese

    def of(self, table: dict[str, tuple[str, str]], name: str | None) -> str:
        """The words for a member of a closed set; an unknown one as it is."""
        return self(*table[name]) if name in table else plain(name or "")


def plain(text: object) -> str:
    """The text with what could control a terminal written as ``\\xNN``."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def amount(size_bytes: float) -> str:
    """``12.3 MB``; decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def span(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; empty if unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
