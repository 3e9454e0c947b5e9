"""The VOI stage (PS3.3 C.11.2): modality units → 0 (black) .. 1 (white)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from dicom.pixel_maths.lookup_tables import LookupTable

Values = NDArray[np.float64]


class VoiFunction(StrEnum):
    """VOI LUT Function (PS3.3 C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"

    @classmethod
    def named(cls, name: str | None) -> VoiFunction:
        """LINEAR, the standard's default, if absent or unknown."""
        upper = (name or "").upper()
        return cls(upper) if upper in cls.__members__ else cls.LINEAR


@dataclass(frozen=True, slots=True)
class Window:
    """A window in modality units."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    @property
    def usable(self) -> bool:
        """Whether the standard defines it: finite; width at least 1 for LINEAR, above 0 for the others."""
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            return False
        return self.width >= 1 if self.function is VoiFunction.LINEAR else self.width > 0

    @property
    def ends(self) -> tuple[float, float]:
        linear = self.function is VoiFunction.LINEAR
        center, half = (self.center - 0.5, (self.width - 1) / 2) if linear else (self.center, self.width / 2)
        return center - half, center + half

    def apply(self, values: Values) -> Values:
        if self.function is VoiFunction.SIGMOID:  # C.11.2.1.3.1
            exponent = np.clip(-4.0 * (values - self.center) / self.width, -700.0, 700.0)
            return 1.0 / (1.0 + np.exp(exponent))
        if self.function is VoiFunction.LINEAR_EXACT:  # C.11.2.1.3.2
            return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1:  # C.11.2.1.2.1: x <= c - 0.5 - (w-1)/2 is black, everything above is white
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Span:
    """A straight line from ``low`` (black) to ``high`` (white); a single value is black."""

    low: float
    high: float

    def apply(self, values: Values) -> Values:
        if self.high <= self.low:
            return np.zeros_like(values)
        # Halves keep the difference of two extreme doubles finite.
        return np.clip((values / 2 - self.low / 2) / (self.high / 2 - self.low / 2), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class TableVoi:
    """A VOI LUT (C.11.2.1.1).

    White is the power of two above its largest entry, less one, whatever depth is declared.
    """

    table: LookupTable

    @property
    def ends(self) -> tuple[float, float]:
        return self.table.first, self.table.last

    def apply(self, values: Values) -> Values:
        return self.table.lookup(values) / ((1 << self.table.depth) - 1)


Voi = Window | Span | TableVoi


@dataclass(frozen=True, slots=True)
class VoiChoice:
    """The VOI stage of a file: (center, width) pairs in order, their function, and a table.

    ``damaged_table``: a table's data contradict its descriptor.
    """

    windows: tuple[tuple[float, float], ...] = ()
    function: VoiFunction = VoiFunction.LINEAR
    table: LookupTable | None = None
    damaged_table: bool = False

    def usable(self) -> Iterator[Window | TableVoi]:
        """The table, then the windows that the standard defines."""
        if self.table is not None:
            yield TableVoi(self.table)
        windows = (Window(center, width, self.function) for center, width in self.windows)
        yield from (window for window in windows if window.usable)
