"""What the demonstration prints: a live progress line, tables that line up with Chinese in them, headings."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

_BAR_CELLS = 30
_QUIET_S = 2.0


def heading(text: str) -> None:
    """A line that begins a part."""
    print(f"\n── {text} " + "─" * max(2, 76 - _width(text)), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(head))]
    numeric = [all(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    for number, row in enumerate(cells):
        fitted = (_fitted(*cell) for cell in zip(row, widths, numeric, strict=True))
        print("  " + "   ".join(fitted).rstrip())
        if number == 0:
            print("  " + "   ".join("─" * width for width in widths))


def _fitted(text: str, width: int, to_the_right: bool) -> str:
    padding = " " * (width - _width(text))
    return padding + text if to_the_right else text + padding


def _width(text: str) -> int:
    """Cells of a terminal; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


class ProgressLine:
    """One line that is drawn over in a terminal; a new line every two seconds where the output is a file or a pipe."""

    def __init__(self, output: TextIO = sys.stdout) -> None:
        self._output = output
        self._live = output.isatty()
        self._drawn_at = 0.0
        self._last_width = 0

    def show(self, status: dict[str, Any], *, final: bool = False) -> None:
        """Draws a task's status as ``GET /import/{id}/status`` gives it."""
        now = time.monotonic()
        if not final and not self._live and now - self._drawn_at < _QUIET_S:
            return
        self._drawn_at = now
        line = _progress_text(status)
        if not self._live:
            print(line, file=self._output, flush=True)
            return
        blank = " " * max(0, self._last_width - _width(line))
        self._last_width = _width(line)
        print(f"\r{line}{blank}", end="\n" if final else "", file=self._output, flush=True)


def _progress_text(status: dict[str, Any]) -> str:
    progress = status["progress"]
    percent = progress["percent"]
    filled = round(_BAR_CELLS * (percent or 0) / 100)
    parts = [
        f"  [{'█' * filled}{'·' * (_BAR_CELLS - filled)}]",
        "  ...%" if percent is None else f"{percent:5.1f}%",
        f"上传 {progress['new_images_uploaded']}",
        f"已存在 {progress['duplicate_images_skipped']}",
        f"失败 {progress['failed_files']}",
    ]
    if progress["files_per_second"]:
        parts.append(f"{progress['files_per_second']:.1f} 文件/秒")
    if progress["eta_seconds"] is not None:
        parts.append(f"剩余 {progress['eta_seconds']} 秒")
    if status["status"] == "paused":
        parts.append(f"已暂停：{status['pause_reason']}")
    return "  ".join(parts)
