"""The command line: ``python -m cli import /data/dicom/2024-01``; ``python -m cli --help`` lists the commands."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

from cli.commands.app import app
from cli.commands.command_context import command_first


def main() -> None:
    """Carries out one command; leaves by SystemExit with an exit code of ``cli.commands.exit_codes``."""
    logging.basicConfig(handlers=[logging.NullHandler()])  # packages that log are used here; users read words
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that knows no Chinese
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a script ignores it
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    app(command_first(sys.argv[1:]), prog_name="python -m cli")


def _leave(number: int, _frame: FrameType | None) -> None:
    """Ends through the context managers, which remove unfinished files."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
