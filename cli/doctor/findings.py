"""What the doctor's checks return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    """How bad it is."""

    GO = "go"
    WARNING = "warning"
    """An import works, but somebody should look."""
    NO_GO = "no_go"
    """An import cannot work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result.

    Attributes:
        name: stable.
        title: Chinese or English.
        verdict: how bad it is.
        detail: what was found.
        cure: what to do, empty where nothing.
    """

    name: str
    title: str
    verdict: CheckResult
    detail: str
    cure: str = ""
