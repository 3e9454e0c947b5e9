"""What a benchmark finds, and the targets that it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """A promise that one figure has to keep.

    Attributes:
        key: names the figure.
        what: what is measured, for people.
        bound: the limit.
        at_least: whether the figure has to reach the bound rather than stay below it.
        unit: behind the figure; may be empty.
    """

    key: str
    what: str
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def promise(self) -> str:
        """The bound as text, e.g. ``≥ 0.9``."""
        return f"{'≥' if self.at_least else '≤'} {shown(self.bound)}{self.unit and ' ' + self.unit}"

    def met_by(self, value: float) -> bool:
        """Whether a figure keeps the promise."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """The value found for the target ``key``; ``spread`` says how far single rounds lay apart."""

    key: str
    value: float
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Raw numbers: cells are text already."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found.

    Attributes:
        title: e.g. ``(a) render``.
        method: how it was measured.
        figures: for the targets.
        table: raw numbers.
        notes: whatever else is to be known.
    """

    title: str
    method: str
    figures: tuple[Figure, ...]
    table: Table
    notes: tuple[str, ...] = field(default=())


def shown(number: float) -> str:
    """A number with three digits that count, and no more than it has."""
    if abs(number) >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.2f}" if abs(number) >= 1 else f"{number:.3g}"


def middle_of(values: Sequence[float]) -> str:
    """``median (smallest–largest)``."""
    return f"{shown(statistics.median(values))} ({spread_of(values)})"


def spread_of(values: Sequence[float]) -> str:
    """``smallest–largest``."""
    return f"{shown(min(values))}–{shown(max(values))}"


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` (0..1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
