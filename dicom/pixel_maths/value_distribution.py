"""The distribution of an image's values. Arrays and numbers only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom.pixel_maths.stored_values import Cells

_MIDDLE = np.array((0.005, 0.995))
_BORDER = 0.2
_ENOUGH = 1 << 20  # pixels; counting a whole film would cost a third of its rendering
_CHUNK = 1 << 16  # np.bincount turns cells into 64-bit numbers; those of one chunk stay in the cache


def sample_rows(cells: Cells) -> Cells:
    """(rows, columns) cells, reduced to evenly picked rows with enough pixels for percentiles."""
    return cells[:: max(cells.size // _ENOUGH, 1)]


def count_cells(cells: Cells, size: int) -> NDArray[np.int64]:
    """(size,) int64: count of each of the ``size`` possible cells."""
    counts, flat = np.zeros(size, np.int64), cells.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        found = np.bincount(flat[start : start + _CHUNK])
        counts[: found.size] += found
    return counts


@dataclass(frozen=True, slots=True)
class Distribution:
    """Finite values and their counts.

    Attributes:
        values: (n,) float64; sorted if counted.
        counts: (n,) int64; None if each value is one pixel.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64] | None

    @classmethod
    def of(cls, values: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> Distribution:
        """``values`` may be in any order."""
        if counts is None:
            return cls(values, None)
        order = np.argsort(values)
        return cls(values[order], counts[order])

    @property
    def middle(self) -> tuple[float, float] | None:
        """The 0.5 and 99.5 percentiles, interpolated; None without values."""
        if not self.values.size:
            return None
        low, high = np.quantile(self.values, _MIDDLE) if self.counts is None else _quantiles(self.values, self.counts)
        return float(low), float(high)

    @property
    def without_borders(self) -> Distribution:
        """Without the lowest or highest value if it holds a fifth of the pixels: shutters, collimation."""
        if self.counts is None or self.values.size < 3:
            return self
        much = self.counts > _BORDER * self.counts.sum()
        kept = slice(int(much[0]), self.values.size - int(much[-1]))
        return Distribution(self.values[kept], self.counts[kept])

    def share(self, chosen: NDArray[np.bool_]) -> float:
        """The share of pixels whose value is ``chosen``, (n,) bool."""
        return float(np.average(chosen, weights=self.counts))


def _quantiles(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """As ``np.quantile`` over every single pixel."""
    until = np.cumsum(counts)
    place = _MIDDLE * (until[-1] - 1)
    below = values[np.searchsorted(until, np.floor(place), side="right")]
    above = values[np.searchsorted(until, np.ceil(place), side="right")]
    between: NDArray[np.float64] = below + (above - below) * (place - np.floor(place))
    return between
