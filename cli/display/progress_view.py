"""A running task: a bar that is redrawn, or a line now and then if the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.display.translations import PAUSE_WORDS, STATUS_WORDS, Words, amount, plain, span
from cli.service_client import Json

_LINE_EVERY_S = 10.0
_TASK_FIELDS = ("task_id", "seq", "status", "pause_reason", "dry_run", "progress")
_VERIFY_FIELDS = (
    "task_id", "status", "images_total", "images_checked", "ok", "ok_present", "missing", "differs",
)  # fmt: skip
_STYLES = {"running": "green", "paused": "yellow", "interrupted": "yellow"}


@dataclass(frozen=True, slots=True)
class View:
    """How something that runs is shown.

    Attributes:
        event: its name among the JSON lines.
        fields: what the JSON lines hold of it.
        state: what is shown at once after a change.
        draw, line: for people.
    """

    event: str
    fields: tuple[str, ...]
    state: Callable[[Json], object]
    draw: Callable[[Json], RenderableType]
    line: Callable[[Json], str]


def task_view(words: Words) -> View:
    """Of a task's ``/status``."""
    return View(
        "progress",
        _TASK_FIELDS,
        lambda status: (status["status"], status["pause_reason"]),
        lambda status: draw_progress(status, words),
        lambda status: _progress_line(status, words),
    )


def verify_view(words: Words) -> View:
    """Of a task's ``/verify``."""

    def line(state: Json) -> str:
        checked = f"{state['images_checked']}/{state['images_total']}"
        missing, differs = words("缺失", "missing"), words("不一致", "differs")
        return f"{words('核对', 'verifying')} {checked}  {missing} {state['missing']}  {differs} {state['differs']}"

    return View("verify_progress", _VERIFY_FIELDS, lambda state: state["status"], lambda state: Text(line(state)), line)


def draw_progress(status: Json, words: Words) -> RenderableType:
    """Three lines at most: bar, counts, and the reason of a pause."""
    counts = Text(_count_words(status, words), overflow="ellipsis", no_wrap=True)
    pause = [Text(_pause_words(status, words), style="yellow")] if status["pause_reason"] else []
    return Group(_FirstLine(status, words), counts, *pause)


@dataclass(frozen=True, slots=True)
class _FirstLine:
    """State, bar, share and pace. A file or a pipe has no width that a bar could fill, and gets none."""

    status: Json
    words: Words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self.status
        cells: list[RenderableType] = [
            Text(self.words.of(STATUS_WORDS, status["status"]), style=_STYLES.get(status["status"], "")),
            _share(status["progress"]),
            _pace(status, self.words),
        ]
        if console.is_terminal:
            cells.insert(1, _bar(status["progress"]))
        line = Table.grid(padding=(0, 1), expand=console.is_terminal)
        for cell in cells:
            line.add_column(ratio=1 if isinstance(cell, ProgressBar) else None, no_wrap=True)
        line.add_row(*cells)
        yield line


def _bar(progress: Json) -> ProgressBar:
    """Of the files that have an outcome or are ignored, once the total is final."""
    done = progress["total_files_scanned"]
    if progress["percent"] is not None:
        done = progress["percent"] * progress["files_found"] / 100
    return ProgressBar(progress["files_found"] if progress["total_is_final"] else None, done, width=None)


def _count_words(status: Json, words: Words) -> str:
    progress = status["progress"]
    uploaded = words("将上传", "would upload") if status.get("dry_run") else words("新上传", "uploaded")
    parts = [
        f"{uploaded} {progress['new_images_uploaded']}",
        f"{words('已存在', 'already there')} {progress['duplicate_images_skipped']}",
        f"{words('失败', 'failed')} {progress['failed_files']}",
    ]
    if progress["held_files"]:
        parts.append(f"{words('扣留', 'held')} {progress['held_files']}")
    parts.append(f"{words('患者', 'patients')} {progress['total_patients_found']}")
    if sent := progress.get("bytes_uploaded"):
        parts.append(amount(sent))
    return "  ".join(parts)


def _pause_words(status: Json, words: Words) -> str:
    """The reason of the pause, with the service's notice of it."""
    reason = status["pause_reason"]
    notices = [f"（{plain(notice['message'])}）" for notice in status["warnings"] if notice["code"] == reason]
    return words("暂停原因：", "paused: ") + words.of(PAUSE_WORDS, reason) + "".join(notices)


def _progress_line(status: Json, words: Words) -> str:
    parts = [words.of(STATUS_WORDS, status["status"]), _share(status["progress"]), _count_words(status, words)]
    if status["pause_reason"]:
        parts.append(_pause_words(status, words))
    return "  ".join(parts)


class ProgressLines:
    """Writes a line after each change of the state, and every ten seconds."""

    def __init__(self, view: View, write: Callable[[str], None]) -> None:
        self._view = view
        self._write = write
        self._shown: object = None
        self._shown_at = 0.0

    def show(self, now: Json) -> None:
        state = self._view.state(now)
        if state == self._shown and time.monotonic() - self._shown_at < _LINE_EVERY_S:
            return
        self._shown, self._shown_at = state, time.monotonic()
        self._write(plain(self._view.line(now)))


def _share(progress: Json) -> str:
    """``12.5% 100/800``; the percentage only if the total is final."""
    if not progress["total_is_final"] or progress["percent"] is None:
        return f"{progress['total_files_scanned']}/{progress['files_found']}+"
    return f"{progress['percent']:.1f}% {progress['total_files_scanned']}/{progress['files_found']}"


def _pace(status: Json, words: Words) -> str:
    progress = status["progress"]
    if status["status"] != "running":
        return ""
    rate, eta = progress["files_per_second"], progress["eta_seconds"]
    parts = [f"{rate:.1f}/s"] if rate else []
    parts += [f"{words('剩余', 'ETA')} {span(eta)}"] if eta is not None else []
    return " ".join(parts)
