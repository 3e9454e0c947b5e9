"""The grayscale pipeline (PS3.3 C.11, PS3.4 N.2). Arrays and numbers only.

stored values → Modality LUT → VOI → inversion → 8 bits. Up to 16 bits the pipeline runs once for each possible cell and
is applied by table. Wider and floating-point images pass it in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dicom.pixel_maths.lookup_tables import LookupTable
from dicom.pixel_maths.stored_values import CellLayout, Cells
from dicom.pixel_maths.value_distribution import Distribution, count_cells, sample_rows
from dicom.pixel_maths.voi import Span, TableVoi, Values, Voi, VoiChoice, Window
from models import WindowSource, WindowUsed

_TABLES_KEPT = 16
_LEAST_OVERLAP, _MOST_CLIPPED = 0.05, 0.8
_CHUNK = 1 << 15  # indices of one chunk stay in the cache: four times as fast as one np.take over everything


@dataclass(frozen=True, slots=True)
class Modality:
    """The Modality LUT stage: ``slope * x + intercept``, or a table.

    ``hounsfield``: the output is in Hounsfield units. ``damaged_table``: a table's data contradict its descriptor.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None
    hounsfield: bool = False
    damaged_table: bool = False

    def apply(self, stored: Values) -> Values:
        """Stored values → modality units."""
        if self.table is not None:
            return self.table.lookup(stored).astype(np.float64)
        return stored if (self.slope, self.intercept) == (1.0, 0.0) else stored * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class GrayscaleRules:
    """All that determines a grayscale image, except the pixels.

    Attributes:
        modality, voi: of the frame.
        requested: the request's window, beats the file's.
        default: the window for CT without a usable one.
        padding: stored values that extremes and percentiles leave out, inclusive; None without padding.
        invert: low values are bright.
        full_range: all stored values of 8-bit or 1-bit data, shown unchanged without a window; else None.
        must_fit: a window or table of the file that does not fit the values is skipped.
        percentiles: without a usable window most of the values are spread, not all, because of lead markers.
    """

    modality: Modality = Modality()
    voi: VoiChoice = field(default_factory=VoiChoice)
    requested: Window | None = None
    default: Window | None = None
    padding: tuple[float, float] | None = None
    invert: bool = False
    full_range: tuple[int, int] | None = None
    must_fit: bool = False
    percentiles: bool = False


@dataclass(frozen=True, slots=True)
class GrayscaleFrame:
    """A rendered frame: ``pixels`` is (rows, columns) or (rows, columns, 3) uint8.

    ``window_skipped``: a window or table of the file does not fit the values and was skipped.
    """

    pixels: NDArray[np.uint8]
    window: WindowUsed | None
    window_skipped: bool = False


def render_grayscale(cells: Cells, layout: CellLayout, rules: GrayscaleRules) -> GrayscaleFrame:
    """Stored cells → 8-bit pixels.

    Args:
        cells: (rows, columns), unsigned integers of 8 to 64 bits, or floats, which ignore ``layout``.
        layout: position of the stored value in a cell.
    """
    small = cells.dtype.kind == "u" and cells.dtype.itemsize <= 2
    frame = _ByTable(cells, layout, rules) if small else _InChunks(cells, layout, rules)
    if rules.requested is not None and rules.requested.usable:
        return GrayscaleFrame(frame.levels(rules.requested), _used(rules.requested, WindowSource.REQUEST))
    window_skipped = False
    for voi in rules.voi.usable():
        pixels = frame.levels(voi)
        if not rules.must_fit or fits(voi, pixels, frame):
            return GrayscaleFrame(pixels, _used(voi, WindowSource.FILE), window_skipped)
        window_skipped = True
    fallback, used = _without_file_voi(frame)
    return GrayscaleFrame(frame.levels(fallback), used, window_skipped)


def _used(voi: Window | TableVoi, source: WindowSource) -> WindowUsed:
    if isinstance(voi, TableVoi):
        return WindowUsed(None, None, WindowSource.VOI_LUT)
    return _window_used(voi.center, voi.width, source)


def _window_used(center: float, width: float, source: WindowSource) -> WindowUsed:
    """Without numbers if a double cannot hold them (the span of two extreme doubles)."""
    if not (math.isfinite(center) and math.isfinite(width)):
        return WindowUsed(None, None, source)
    return WindowUsed(center, width, source)


def _without_file_voi(frame: _ByTable | _InChunks) -> tuple[Voi, WindowUsed]:
    """The default window; else the full range; else most of the values; else smallest to largest."""
    rules = frame.rules
    if rules.default is not None:
        return rules.default, _used(rules.default, WindowSource.DEFAULT)
    if rules.full_range is not None and rules.modality.table is None:
        ends = rules.modality.apply(np.asarray(rules.full_range, np.float64))
        whole = Span(float(ends.min()), float(ends.max()))
        return whole, _window_used((whole.low + whole.high + 1) / 2, whole.high - whole.low + 1, WindowSource.DEFAULT)
    source, span = WindowSource.PERCENTILE, frame.distribution().middle if rules.percentiles else None
    if span is None or span[0] == span[1]:
        source, span = WindowSource.MINMAX, frame.extremes() or (0.0, 0.0)
    return Span(*span), _window_used((span[0] + span[1]) / 2, span[1] - span[0], source)


@dataclass(frozen=True, slots=True)
class _ByTable:
    """Up to 16 bits: runs the pipeline once for each possible cell, then looks up."""

    cells: Cells
    layout: CellLayout
    rules: GrayscaleRules

    def levels(self, voi: Voi) -> NDArray[np.uint8]:
        return take(_level_table(self.cells.dtype.itemsize, self.layout, self.rules, voi), self.cells)

    def extremes(self) -> tuple[float, float] | None:
        """Smallest and largest value in modality units, without padding unless all is padding."""
        plain = self.rules.padding is None and self.rules.modality.table is None
        ends = self.layout.extremes(self.cells) if plain else None
        if ends is not None:
            return _finite_extremes(self.rules.modality.apply(np.array(ends, np.float64)))
        return _finite_extremes(self._distribution(self.cells).values)

    def distribution(self) -> Distribution:
        """The values in modality units of evenly picked rows; padding as for the extremes."""
        return self._distribution(sample_rows(self.cells))

    def _distribution(self, cells: Cells) -> Distribution:
        stored = _possible_values(cells.dtype.itemsize, self.layout).astype(np.float64)
        counts = count_cells(cells, stored.size)
        counted = _unpadded(stored, self.rules) & (counts > 0)
        counted = counted if counted.any() else counts > 0
        return Distribution.of(self.rules.modality.apply(stored[counted]), counts[counted])


def _possible_values(cell_bytes: int, layout: CellLayout) -> NDArray[np.int64]:
    return layout.values(np.arange(1 << (8 * cell_bytes), dtype=np.uint32))


@lru_cache(_TABLES_KEPT)
def _level_table(cell_bytes: int, layout: CellLayout, rules: GrayscaleRules, voi: Voi) -> NDArray[np.uint8]:
    """The 8-bit value of each possible cell; cached for further frames and files of a series."""
    values = rules.modality.apply(_possible_values(cell_bytes, layout).astype(np.float64))
    table = levels_of(values, voi, invert=rules.invert)
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


@dataclass(frozen=True, slots=True)
class _InChunks:
    """Wide integers and floats, a bounded number of doubles at a time."""

    cells: Cells
    layout: CellLayout
    rules: GrayscaleRules

    def levels(self, voi: Voi) -> NDArray[np.uint8]:
        out = np.empty(self.cells.size, np.uint8)
        for start, stored in self._chunks():
            values = self.rules.modality.apply(stored)
            out[start : start + _CHUNK] = levels_of(values, voi, invert=self.rules.invert)
        return out.reshape(self.cells.shape)

    def extremes(self) -> tuple[float, float] | None:
        return self._extremes(padded=False) or self._extremes(padded=True)

    def distribution(self) -> Distribution:
        stored = self._stored(sample_rows(self.cells).reshape(-1))
        unpadded = stored[_unpadded(stored, self.rules)]
        values = self.rules.modality.apply(unpadded if unpadded.size else stored)
        return Distribution.of(values[np.isfinite(values)])

    def _extremes(self, *, padded: bool) -> tuple[float, float] | None:
        kept = (stored if padded else stored[_unpadded(stored, self.rules)] for _, stored in self._chunks())
        found = [pair for values in kept if (pair := _finite_extremes(self.rules.modality.apply(values)))]
        return (min(pair[0] for pair in found), max(pair[1] for pair in found)) if found else None

    def _chunks(self) -> Iterator[tuple[int, Values]]:
        flat = self.cells.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            yield start, self._stored(flat[start : start + _CHUNK])

    def _stored(self, cells: Cells) -> Values:
        return (self.layout.values(cells) if cells.dtype.kind == "u" else cells).astype(np.float64)


def levels_of(values: Values, voi: Voi, *, invert: bool) -> NDArray[np.uint8]:
    """Modality units → uint8; NaN is as dark as the darkest value."""
    units = np.nan_to_num(voi.apply(values), nan=0.0)
    if invert:
        units = 1.0 - units
    return np.floor(units * 255.0 + 0.5).astype(np.uint8)


def _unpadded(stored: Values, rules: GrayscaleRules) -> NDArray[np.bool_]:
    if rules.padding is None:
        return np.ones(stored.shape, np.bool_)
    return (stored < rules.padding[0]) | (stored > rules.padding[1])


def _finite_extremes(values: Values) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


# --- does the file's window fit its values? ------------------------------------------------------------------------


def fits(voi: Window | TableVoi, pixels: NDArray[np.uint8], frame: _ByTable | _InChunks) -> bool:
    """Whether a window or table of the file fits the values. PS3.3 C.11.2.1.2 calls windows suggestions.

    It does not fit if it overlaps less than 5 % of the values' range and leaves more than 80 % of them black or white.
    """
    ends = levels_of(np.array([-np.inf, np.inf]), voi, invert=frame.rules.invert)
    if frame.rules.padding is None and _is_varied(pixels, ends):
        return True
    distribution = frame.distribution()
    low, high = distribution.without_borders.middle or (0.0, 0.0)
    overlap = max(min(high, voi.ends[1]) - max(low, voi.ends[0]), 0.0)  # 0 for a constant image
    if overlap >= _LEAST_OVERLAP * (high - low):
        return True
    clipped = np.isin(levels_of(distribution.values, voi, invert=frame.rules.invert), ends)
    return distribution.share(clipped) <= _MOST_CLIPPED


def _is_varied(pixels: NDArray[np.uint8], ends: NDArray[np.uint8]) -> bool:
    """Whether so many pixels are neither black nor white that the window fits; stops early."""
    flat, varied = pixels.reshape(-1), 0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        varied += int(np.count_nonzero((part != ends[0]) & (part != ends[1])))
        if varied >= (1 - _MOST_CLIPPED) * flat.size:
            return True
    return False
