"""Writes a command's answers: drawn for people, or as one JSON object per line for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from cli.display.progress_view import ProgressLines, View
from cli.display.translations import Words, plain
from cli.service_client import Json

_UNLIMITED_COLUMNS = 1000
"""Width of a file or a pipe without COLUMNS. Nothing is cut off or folded there, so that paths can be searched for."""
_REDRAWS_PER_SECOND = 8

Draw = Callable[[], RenderableType]
ShowProgress = Callable[[Json], None]


class TextOutput:
    """Answers to standard output, all else to standard error."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    def notice(self, code: str, text: str) -> None:
        """Shows something that the operator should know on the way."""
        self._err.print(Text(plain(text), style="dim"))

    def answer(self, event: str, data: Json, draw: Draw) -> None:
        """Shows the result of the command."""
        if self._out.is_terminal:
            self._out.print(draw())
            return
        with self._out.capture() as captured:
            self._out.print(draw())
        sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())

    def problem(self, code: str, detail: str, exit_code: int) -> None:
        """Shows why the command failed."""
        lines = "\n".join(plain(line) for line in detail.splitlines())
        self._err.print(Text.assemble(("✗ ", "bold red"), lines, (f"  [{plain(code)}]", "dim")))

    @contextmanager
    def watching(self, view: View) -> Iterator[ShowProgress]:
        """Shows the states of something that runs."""
        if not self._out.is_terminal:
            yield ProgressLines(view, self._err.print).show
            return
        with Live(console=self._out, transient=True, refresh_per_second=_REDRAWS_PER_SECOND) as live:
            yield lambda now: live.update(view.draw(now))


class JsonOutput:
    """As :class:`TextOutput`, in stable lines: each has ``event``, and is flushed."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def notice(self, code: str, text: str) -> None:
        self._write({"event": "notice", "code": code, "message": text})

    def answer(self, event: str, data: Json, draw: Draw) -> None:
        self._write({"event": event, **data})

    def problem(self, code: str, detail: str, exit_code: int) -> None:
        self._write({"event": "error", "code": code, "detail": detail, "exit_code": int(exit_code)})

    @contextmanager
    def watching(self, view: View) -> Iterator[ShowProgress]:
        yield lambda now: self._write({"event": view.event, **{name: now[name] for name in view.fields if name in now}})

    def _write(self, line: Json) -> None:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


Output = TextOutput | JsonOutput


def _console(stream: TextIO) -> Console:
    """Without markup: text of files is never style."""
    console = Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNLIMITED_COLUMNS
    return console
