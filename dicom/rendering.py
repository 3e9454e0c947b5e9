"""Pixel maths of the grayscale pipeline: arrays and numbers only (PS3.3 C.11, PS3.4 N.2).

stored values → Modality LUT → VOI → inversion → 8 bits. Up to 16 bits the whole pipeline is evaluated once for each
possible cell and then applied by table; wider and floating-point images go through it in chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dicom.lookup_tables import LookupTable
from dicom.stored_values import CellLayout, Cells
from models import WindowSource, WindowUsed

Values = NDArray[np.float64]
_TABLES_KEPT = 16
_CHUNK = 1 << 15  # indices of one chunk stay in the cache: four times as fast as one np.take over everything


class VoiFunction(StrEnum):
    """VOI LUT Function (PS3.3 C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"

    @classmethod
    def named(cls, name: str | None) -> VoiFunction:
        """The function of that name; LINEAR where it is absent or unknown (the standard's default)."""
        upper = (name or "").upper()
        return cls(upper) if upper in cls.__members__ else cls.LINEAR


@dataclass(frozen=True, slots=True)
class Modality:
    """The Modality LUT stage: ``slope * x + intercept``, or a table.

    ``hounsfield``: the output is known to be CT's Hounsfield units.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None
    hounsfield: bool = False

    def apply(self, stored: Values) -> Values:
        """Stored values → modality units."""
        if self.table is not None:
            return self.table.lookup(stored).astype(np.float64)
        return stored if (self.slope, self.intercept) == (1.0, 0.0) else stored * self.slope + self.intercept


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

    def apply(self, values: Values) -> Values:
        """Modality units → 0..1."""
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
        """Modality units → 0..1."""
        if self.high <= self.low:
            return np.zeros_like(values)
        # Halves keep the difference of two extreme doubles finite.
        return np.clip((values / 2 - self.low / 2) / (self.high / 2 - self.low / 2), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class TableVoi:
    """A VOI LUT (C.11.2.1.1); its output is scaled by its own bits, never stretched to what occurs."""

    table: LookupTable

    def apply(self, values: Values) -> Values:
        """Modality units → 0..1."""
        return self.table.lookup(values) / ((1 << self.table.bits) - 1)


Voi = Window | Span | TableVoi


@dataclass(frozen=True, slots=True)
class VoiChoice:
    """What the file offers for the VOI stage: (center, width) pairs in order, their function, and a table."""

    windows: tuple[tuple[float, float], ...] = ()
    function: VoiFunction = VoiFunction.LINEAR
    table: LookupTable | None = None


@dataclass(frozen=True, slots=True)
class GrayscaleRules:
    """All that decides a grayscale picture, but the pixels.

    Attributes:
        modality, voi: of the frame.
        requested: the request's window, beats the file's.
        default: the window for CT without a usable one.
        padding: stored values left out of the smallest and largest, inclusive; None where nothing is padding.
        invert: low values are bright.
        full_range: the stored values that 8-bit (or 1-bit) data can hold; without a window they are shown as they
            are. None for all others.
    """

    modality: Modality = Modality()
    voi: VoiChoice = VoiChoice()
    requested: Window | None = None
    default: Window | None = None
    padding: tuple[float, float] | None = None
    invert: bool = False
    full_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Levels:
    """A rendered frame: ``pixels`` is (rows, columns) or (rows, columns, 3) uint8."""

    pixels: NDArray[np.uint8]
    window: WindowUsed | None


def render_grayscale(cells: Cells, layout: CellLayout, rules: GrayscaleRules) -> Levels:
    """Stored cells → 8-bit levels.

    Args:
        cells: (rows, columns), unsigned integers of 8 to 64 bits, or floats (for which ``layout`` is not used).
        layout: where in a cell its stored value lies.
        rules: the frame's pipeline.
    """
    if cells.dtype.kind == "u" and cells.dtype.itemsize <= 2:
        return _render_by_table(cells, layout, rules)
    return _render_in_chunks(cells, layout, rules)


def _render_by_table(cells: Cells, layout: CellLayout, rules: GrayscaleRules) -> Levels:
    """Up to 16 bits: evaluate the pipeline once for each possible cell, then look up."""
    cell_bytes = cells.dtype.itemsize

    def extremes() -> tuple[float, float] | None:
        ends = layout.extremes(cells) if rules.padding is None and rules.modality.table is None else None
        stored = _possible(cell_bytes, layout)
        occurring = stored[_occurring(cells, stored.size)] if ends is None else np.array(ends)
        return _extremes(occurring.astype(np.float64), rules)

    voi = _fixed_voi(rules) or _span(extremes())
    return Levels(take(_level_table(cell_bytes, layout, rules, voi), cells), _window_used(voi, rules))


def _possible(cell_bytes: int, layout: CellLayout) -> NDArray[np.int64]:
    """The stored value of each possible cell."""
    return layout.values(np.arange(1 << (8 * cell_bytes), dtype=np.uint32))


@lru_cache(_TABLES_KEPT)
def _level_table(cell_bytes: int, layout: CellLayout, rules: GrayscaleRules, voi: Voi) -> NDArray[np.uint8]:
    """The level of each possible cell; kept for the next frame, and the next file of a series."""
    table = _levels(_possible(cell_bytes, layout).astype(np.float64), rules, voi)
    table.flags.writeable = False
    return table


def take(table: NDArray[np.uint8], cells: Cells) -> NDArray[np.uint8]:
    """``table[cells]`` for a table over every possible cell; (n,) or (n, 3) uint8 entries."""
    flat = np.ascontiguousarray(cells).reshape(-1)
    out = np.empty((flat.size, *table.shape[1:]), np.uint8)
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        table.take(flat[part], axis=0, out=out[part], mode="wrap")
    return out.reshape(*cells.shape, *table.shape[1:])


def _occurring(cells: Cells, size: int) -> NDArray[np.bool_]:
    """Which of the ``size`` possible cells occur."""
    present = np.zeros(size, np.bool_)
    flat = cells.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        present[flat[start : start + _CHUNK]] = True
    return present


def _render_in_chunks(cells: Cells, layout: CellLayout, rules: GrayscaleRules) -> Levels:
    """Wide integers and floats, a bounded number of doubles at a time."""
    flat = cells.reshape(-1)
    parts = [slice(start, start + _CHUNK) for start in range(0, flat.size, _CHUNK)]

    def stored(part: slice) -> Values:
        chunk = flat[part]
        return (layout.values(chunk) if chunk.dtype.kind == "u" else chunk).astype(np.float64)

    def extremes() -> tuple[float, float] | None:
        found = [pair for part in parts if (pair := _unpadded_extremes(stored(part), rules)) is not None]
        if not found:
            found = [pair for part in parts if (pair := _finite_extremes(rules.modality.apply(stored(part))))]
        return (min(pair[0] for pair in found), max(pair[1] for pair in found)) if found else None

    voi = _fixed_voi(rules) or _span(extremes())
    out = np.empty(flat.size, np.uint8)
    for part in parts:
        out[part] = _levels(stored(part), rules, voi)
    return Levels(out.reshape(cells.shape), _window_used(voi, rules))


def _levels(stored: Values, rules: GrayscaleRules, voi: Voi) -> NDArray[np.uint8]:
    """Stored values → levels; what is no number is as dark as the darkest value."""
    units = voi.apply(rules.modality.apply(stored))
    units = np.nan_to_num(units, nan=0.0)
    if rules.invert:
        units = 1.0 - units
    return np.floor(units * 255.0 + 0.5).astype(np.uint8)


def _fixed_voi(rules: GrayscaleRules) -> Voi | None:
    """The VOI that needs no look at the pixels: the request's, the file's LUT, its first usable window, the
    default, the full range; None where smallest and largest value have to be found."""
    if rules.requested is not None and rules.requested.usable:
        return rules.requested
    if rules.voi.table is not None:
        return TableVoi(rules.voi.table)
    windows = (Window(center, width, rules.voi.function) for center, width in rules.voi.windows)
    usable = next((window for window in windows if window.usable), rules.default)
    if usable is not None:
        return usable
    if rules.full_range is None or rules.modality.table is not None:
        return None
    ends = rules.modality.apply(np.asarray(rules.full_range, np.float64))
    return Span(float(ends.min()), float(ends.max()))


def _span(extremes: tuple[float, float] | None) -> Span:
    return Span(*extremes) if extremes is not None else Span(0.0, 0.0)


def _extremes(stored: Values, rules: GrayscaleRules) -> tuple[float, float] | None:
    """Smallest and largest value in modality units without padding, or with it where nothing else is there."""
    found = _unpadded_extremes(stored, rules)
    return found if found is not None else _finite_extremes(rules.modality.apply(stored))


def _unpadded_extremes(stored: Values, rules: GrayscaleRules) -> tuple[float, float] | None:
    if rules.padding is not None:
        stored = stored[(stored < rules.padding[0]) | (stored > rules.padding[1])]
    return _finite_extremes(rules.modality.apply(stored))


def _finite_extremes(values: Values) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def _window_used(voi: Voi, rules: GrayscaleRules) -> WindowUsed:
    """What the report says of the VOI."""
    if isinstance(voi, TableVoi):
        return WindowUsed(None, None, WindowSource.VOI_LUT)
    if isinstance(voi, Window):
        if voi is rules.requested:
            return WindowUsed(voi.center, voi.width, WindowSource.REQUEST)
        return WindowUsed(voi.center, voi.width, WindowSource.DEFAULT if voi is rules.default else WindowSource.FILE)
    if rules.full_range is not None and rules.modality.table is None:
        center, width = (voi.low + voi.high + 1) / 2, voi.high - voi.low + 1
        return WindowUsed(center, width, WindowSource.DEFAULT)
    return WindowUsed((voi.low + voi.high) / 2, voi.high - voi.low, WindowSource.MINMAX)
