"""``python -m cli`` in a folder of its own, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.integration.warm_start import REPOSITORY, Order, start_warm
from tests.waiting import PATIENCE_S

_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Of ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def events(self) -> list[str]:
        """Names of the lines, each run of equal ones once."""
        names = [line["event"] for line in self.lines]
        return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]


class Cli:
    """Commands with the same settings; ``settings`` are the environment's."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        passed_on = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        given = {name.upper(): str(value) for name, value in settings.items()}
        self.environment = {**passed_on, **given, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"}

    def __call__(self, *arguments: object) -> CommandResult:
        """Runs to the end."""
        order = Order(self._words(arguments), self.folder, self.environment)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull, "rb") as nothing:
            process = start_warm(order, nothing.fileno(), out.fileno(), err.fileno())
            try:
                code = process.wait(PATIENCE_S)
            finally:
                process.kill()
            return CommandResult(code, *(_text_of(file) for file in (out, err)))

    def begin(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts without waiting; from nothing, as a user does."""
        return subprocess.Popen(
            [sys.executable, *self._words(arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def _words(self, arguments: Sequence[object]) -> list[str]:
        return ["-m", "cli", *map(str, arguments)]


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8").replace("\r\n", "\n")
