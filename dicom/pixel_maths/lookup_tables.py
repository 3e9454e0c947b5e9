"""Lookup tables as DICOM stores them (PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.9.2). Arrays and numbers only."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errors import MissingAttributeError

_MAX_ENTRIES = 65536
_BYTE = 8
_TOLERATED_SHARE = 64  # one entry of so many may be missing at the end
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A table over integers, compared by identity so that rules can be a cache key.

    Attributes:
        first: the input value of the first entry.
        entries: (n,) uint16.
        bits: bits of an entry as declared, or as the largest entry needs if that is more.
        complete: LUT Data held every entry; else the last one is repeated.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int
    complete: bool = True

    @property
    def depth(self) -> int:
        """Bits of the largest entry, at least 8. Devices declare 16 bits over entries of 12 or 8 (C.11.1.1)."""
        return max(int(self.entries.max()).bit_length(), _BYTE)

    @property
    def last(self) -> int:
        """The input value of the last entry."""
        return self.first + self.entries.size - 1

    def lookup(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """The entries for ``values``; inputs outside take the first or last entry (C.11.1.1)."""
        index = np.clip(np.rint(np.nan_to_num(values)) - self.first, 0, self.entries.size - 1)
        found: NDArray[np.uint16] = self.entries[index.astype(np.intp)]
        return found


@dataclass(frozen=True, slots=True)
class PaletteTables:
    red: LookupTable
    green: LookupTable
    blue: LookupTable

    def colours(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) stored values → (n, 3) uint8; 16-bit colours keep their high byte.

        If 16 bits are declared and no entry exceeds 255, the entries are 8-bit colours, a common mistake.
        """
        tables = (self.red, self.green, self.blue)
        wide = any(table.depth > _BYTE for table in tables)
        columns = [table.lookup(values) >> (max(table.bits - _BYTE, 0) if wide else 0) for table in tables]
        return np.stack(columns, axis=-1).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A LUT Descriptor (PS3.3 C.11.1.1) and how to read the data.

    Attributes:
        count: number of entries, 1 to 65536.
        first: first mapped value, with its sign.
        bits: bits per entry as declared.
        little_endian: byte order of the data's words.
        packable: palette data of one byte per entry are accepted with any ``bits``.
    """

    count: int
    first: int
    bits: int
    little_endian: bool = True
    packable: bool = False

    @classmethod
    def of(cls, values: tuple[float, ...], *, signed: bool, little_endian: bool, packable: bool = False) -> Descriptor:
        """From the three values; a count of 0 means 65536, and ``first`` is two's complement if ``signed``."""
        count, first, bits = (int(value) & 0xFFFF for value in values[:3])
        signed_first = first - 0x10000 if signed and first > 0x7FFF else first
        return cls(count or _MAX_ENTRIES, signed_first, bits, little_endian, packable)


def make_table(descriptor: Descriptor, data: bytes) -> LookupTable | None:
    """A LUT from its descriptor and LUT Data; None if these contradict each other.

    A few missing entries repeat the last one, as inputs beyond the table do (C.11.1.1).
    """
    entries = _entries(descriptor, data)
    missing = descriptor.count - entries.size
    if missing > descriptor.count // _TOLERATED_SHARE or not entries.size:
        return None
    padded = np.pad(entries, (0, missing), "edge")
    return LookupTable(descriptor.first, padded, _significant_bits(descriptor.bits, padded), complete=not missing)


def _significant_bits(declared: int, entries: NDArray[np.uint16]) -> int:
    """The declared bits if the entries fit; else as many as the largest entry needs."""
    needed = int(entries.max()).bit_length()
    return declared if 1 <= declared <= 16 and needed <= declared else max(needed, _BYTE)


def _entries(descriptor: Descriptor, data: bytes) -> NDArray[np.uint16]:
    """(n,) uint16, at most the declared number; fewer if the data are too short."""
    if _in_words(descriptor, data):
        words = np.frombuffer(data, "<u2" if descriptor.little_endian else ">u2", len(data) // 2)
        return words[: descriptor.count].astype(np.uint16)
    packed = np.frombuffer(_in_byte_order(data, descriptor.little_endian), np.uint8)
    return packed[: descriptor.count].astype(np.uint16)


def _in_words(descriptor: Descriptor, data: bytes) -> bool:
    """Whether each entry takes a word: by the declared width, and by length if the width allows both.

    8-bit entries are packed two to a word (C.7.6.3.1.6), or take a word each. Wider ones are never packed, except
    ``packable`` ones of exactly a byte each.
    """
    count = descriptor.count
    if len(data) >= 2 * count:
        return True
    packed = len(data) in (count, count + count % 2)
    if descriptor.bits == _BYTE:
        return not packed and not any(data[descriptor.little_endian :: 2])
    declared = _BYTE < descriptor.bits <= 2 * _BYTE
    return not packed or (declared and not descriptor.packable)


def _in_byte_order(data: bytes, little_endian: bool) -> bytes:
    """Packed 8-bit entries in order: in big-endian words the first entry is the second byte."""
    if little_endian or len(data) % 2:
        return data
    return np.frombuffer(data, np.uint16).byteswap().tobytes()


def expand_segments(descriptor: Descriptor, data: bytes) -> LookupTable:
    """Expands a segmented palette LUT (PS3.3 C.7.9.2).

    Raises:
        MissingAttributeError: the segments are damaged, or yield too few entries.
    """
    count, wide = descriptor.count, descriptor.bits > 8
    raw = data if wide else _in_byte_order(data, descriptor.little_endian)
    kind = ("<u2" if descriptor.little_endian else ">u2") if wide else "u1"
    words = np.frombuffer(raw, kind, len(raw) // (2 if wide else 1))
    try:
        values = _SegmentExpander([int(word) for word in words], count, 2 if wide else 4).expand()
    except (IndexError, struct.error) as error:
        raise MissingAttributeError("分段调色板（Segmented Palette Color LUT）已损坏，无法展开") from error
    if len(values) < count:
        raise MissingAttributeError(f"分段调色板只展开出 {len(values)} 项，少于声明的 {count} 项")
    entries = np.asarray(values[:count], np.int64).clip(0, 0xFFFF).astype(np.uint16)
    return LookupTable(descriptor.first, entries, _significant_bits(descriptor.bits, entries))


class _SegmentExpander:
    """Expands discrete, linear and indirect segments; indirect ones repeat earlier segments (C.7.9.2.2)."""

    def __init__(self, words: list[int], limit: int, words_per_offset: int) -> None:
        self._words = words
        self._limit = limit
        self._words_per_offset = words_per_offset
        self._values: list[int] = []

    def expand(self) -> list[int]:
        """All entries; stops at the declared number."""
        at = 0
        while at + 1 < len(self._words) and len(self._values) < self._limit:
            at = self._segment(at, nested=False)
        return self._values

    def _segment(self, at: int, nested: bool) -> int:
        """Expands the segment at word ``at``; returns the position of the next one."""
        opcode, length = self._words[at], self._words[at + 1]
        if opcode == _DISCRETE:
            self._values += self._words[at + 2 : at + 2 + length]
            return at + 2 + length
        if opcode == _LINEAR:
            self._linear(length, self._words[at + 2])
            return at + 3
        if opcode == _INDIRECT and not nested:
            self._repeat(length, at + 2)
            return at + 2 + self._words_per_offset
        raise IndexError("segment")

    def _linear(self, length: int, end: int) -> None:
        start = self._values[-1]
        self._values += [round(start + (end - start) * step / length) for step in range(1, length + 1)]

    def _repeat(self, segments: int, offset_at: int) -> None:
        """Repeats ``segments`` segments from a byte offset, whose least significant word comes first."""
        words = self._words[offset_at : offset_at + self._words_per_offset]
        bits = 16 if self._words_per_offset == 2 else 8
        offset = sum(word << (bits * place) for place, word in enumerate(words))
        at = offset // (2 if bits == 16 else 1)
        for _ in range(segments):
            if len(self._values) >= self._limit:
                return
            at = self._segment(at, nested=True)
