"""A running task: a bar that is redrawn, or now and then a line where the output is no terminal."""

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
    """How something that goes on is shown.

    Attributes:
        event: its name among the JSON lines.
        fields: what of it they hold.
        state: what has to be told at once where it changes.
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
        lambda status: progress_line(status, words),
    )


def verify_view(words: Words) -> View:
    """Of a task's ``/verify``."""

    def line(state: Json) -> str:
        checked = f"{state['images_checked']}/{state['images_total']}"
        missing, differs = words("缺失", "missing"), words("不一致", "differs")
        return f"{words('核对', 'verifying')} {checked}  {missing} {state['missing']}  {differs} {state['differs']}"

    return View("verify_progress", _VERIFY_FIELDS, lambda state: state["status"], lambda state: Text(line(state)), line)


def draw_progress(status: Json, words: Words) -> RenderableType:
    """Three lines at most: bar, counts, and why it rests."""
    lines: list[RenderableType] = [
        _FirstLine(status, words),
        Text(count_words(status, words), overflow="ellipsis", no_wrap=True),
    ]
    if status["pause_reason"]:
        lines.append(Text(pause_words(status, words), style="yellow"))
    return Group(*lines)


@dataclass(frozen=True, slots=True)
class _FirstLine:
    """State, bar, share and pace; a file or a pipe has no width that a bar could fill, and gets none."""

    status: Json
    words: Words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state = Text(self.words.of(STATUS_WORDS, self.status["status"]), style=_STYLES.get(self.status["status"], ""))
        numbers = (_share(self.status["progress"]), _pace(self.status, self.words))
        line = Table.grid(padding=(0, 1), expand=console.is_terminal)
        for ratio in (None, 1, None, None) if console.is_terminal else (None, None, None):
            line.add_column(ratio=ratio, no_wrap=True)
        line.add_row(state, *((_bar(self.status),) if console.is_terminal else ()), *numbers)
        yield line


def _bar(status: Json) -> ProgressBar:
    progress = status["progress"]
    total = progress["files_found"] if progress["total_is_final"] else None
    return ProgressBar(total=total, completed=_done(status), width=None)


def count_words(status: Json, words: Words) -> str:
    """The counts of now in one line."""
    progress = status["progress"]
    uploaded = words("将上传", "would upload") if status.get("dry_run") else words("新上传", "uploaded")
    parts = [
        f"{uploaded} {progress['new_images_uploaded']}",
        f"{words('已存在', 'already there')} {progress['duplicate_images_skipped']}",
        f"{words('失败', 'failed')} {progress['failed_files']}",
        f"{words('患者', 'patients')} {progress['total_patients_found']}",
    ]
    if progress["held_files"]:
        parts.insert(3, f"{words('扣留', 'held')} {progress['held_files']}")
    if sent := progress.get("bytes_uploaded"):
        parts.append(amount(sent))
    return "  ".join(parts)


def pause_words(status: Json, words: Words) -> str:
    """Why it is paused, with what the service says about it."""
    reason = status["pause_reason"]
    said = [notice["message"] for notice in status["warnings"] if notice["code"] == reason]
    return (
        words("暂停原因：", "paused: ") + words.of(PAUSE_WORDS, reason) + "".join(f"（{plain(text)}）" for text in said)
    )


def progress_line(status: Json, words: Words) -> str:
    """All of it in one line."""
    parts = [words.of(STATUS_WORDS, status["status"]), _share(status["progress"]), count_words(status, words)]
    if status["pause_reason"]:
        parts.append(pause_words(status, words))
    return "  ".join(parts)


class ProgressLines:
    """A line whenever the state changes, and every ten seconds."""

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


def _done(status: Json) -> int:
    """Files that have their outcome, as a share of those that were counted ahead (ignored ones are among them)."""
    progress = status["progress"]
    if progress["percent"] is None:
        return int(progress["total_files_scanned"])
    return int(progress["percent"] * progress["files_found"] / 100)


def _share(progress: Json) -> str:
    """``12.5% 100/800``; the percentage only where the total is final."""
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
