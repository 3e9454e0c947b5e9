"""What a command's end means for a script."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """``restic``'s habit: incomplete (3) is not failed (1)."""

    ALL_IN = 0
    """The command did its work; of an import: every image is in XieHe (or would be)."""
    ERROR = 1
    """It could not be done at all."""
    USAGE = 2
    """The command line is wrong."""
    INCOMPLETE = 3
    """It was done, but some files failed or a folder was left out."""
    CANCELLED = 130
    """Cancelled, or Ctrl-C."""


def exit_code_of_task(status: Mapping[str, Any]) -> ExitCode:
    """Of an ended task, from its ``/status``. Files without an image (``no_pixel_data``) are no failures."""
    if status["status"] == "cancelled":
        return ExitCode.CANCELLED
    progress = status["progress"]
    if status["status"] != "completed":
        return ExitCode.ERROR
    if progress["failed_files"] > progress["no_pixel_files"]:
        return ExitCode.INCOMPLETE
    if status["result"] == "failed":  # nothing in the source fits the layout
        return ExitCode.ERROR
    return ExitCode.ALL_IN if status["result"] == "success" else ExitCode.INCOMPLETE


def exit_code_of_verification(state: Mapping[str, Any]) -> ExitCode:
    """Of an ended verification."""
    if state["status"] != "completed":
        return ExitCode.ERROR
    return ExitCode.INCOMPLETE if state["missing"] or state["differs"] else ExitCode.ALL_IN
