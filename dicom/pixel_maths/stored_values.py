"""Cells of pixel data → stored values (PS3.5 section 8.1.1, PS3.3 C.7.6.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[Any]
"""Pixel cells: unsigned integers of 8 to 64 bits, or floats of 32 or 64."""


class NumberKind(StrEnum):
    """Which of the three pixel data elements holds the image (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""

    INTEGER = "integer"
    """Pixel Data (7FE0,0010)."""
    FLOAT32 = "float32"
    """Float Pixel Data (7FE0,0008)."""
    FLOAT64 = "float64"
    """Double Float Pixel Data (7FE0,0009)."""


@dataclass(frozen=True, slots=True)
class CellLayout:
    """Position of the stored value in a cell; all other bits are garbage or overlays.

    Attributes:
        bits: significant bits (Bits Stored, or the codestream's precision).
        shift: position of the lowest one (High Bit + 1 - Bits Stored).
        signed: two's complement, sign in the highest significant bit.
    """

    bits: int
    shift: int = 0
    signed: bool = False

    @property
    def full_range(self) -> tuple[int, int]:
        """Smallest and largest stored value of so many bits."""
        half = 1 << (self.bits - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    def values(self, cells: Cells) -> NDArray[np.int64]:
        """Unsigned cells of any shape → stored values: shifted, masked, sign extended."""
        values = (cells.astype(np.int64) >> self.shift) & ((1 << self.bits) - 1)
        if self.signed:
            sign = 1 << (self.bits - 1)
            values = (values ^ sign) - sign
        return values

    def extremes(self, cells: Cells) -> tuple[int, int] | None:
        """Smallest and largest stored value; None if the cells must be unpacked first."""
        if self.shift:
            return None
        if self.signed:
            whole = self.bits == 8 * cells.dtype.itemsize
            if not whole:
                return None
            cells = cells.view(f"i{cells.dtype.itemsize}")
        low, high = int(cells.min()), int(cells.max())
        return (low, high) if self.signed or high < 1 << self.bits else None


def native_cells(data: NDArray[np.uint8], bits_allocated: int, *, little_endian: bool, words: bool) -> Cells:
    """Native pixel data as flat cells in this machine's byte order.

    Args:
        data: (n,) uint8, the value field or part of it.
        bits_allocated: 8, 16, 32 or 64.
        little_endian: byte order of the data set.
        words: VR OW; under big endian 8-bit cells are swapped in pairs (PS3.5 annex A.3).
    """
    if bits_allocated == 8:
        if little_endian or not words or data.size % 2:
            return data
        return data.view(np.uint16).byteswap().view(np.uint8)
    order = "<" if little_endian else ">"
    cells = data.view(f"{order}u{bits_allocated // 8}")
    return cells.astype(cells.dtype.newbyteorder("="), copy=False)


def native_bits(
    data: NDArray[np.uint8], first_bit: int, count: int, *, little_endian: bool, words: bool
) -> NDArray[np.uint8]:
    """``count`` one-bit cells from bit ``first_bit`` on, lowest bit first (PS3.5 section 8.1.1), as uint8 0 or 1."""
    if words and not little_endian and data.size % 2 == 0:
        data = data.view(np.uint16).byteswap().view(np.uint8)
    return np.unpackbits(data, bitorder="little", count=first_bit + count)[first_bit:]
