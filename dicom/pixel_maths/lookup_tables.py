"""Lookup tables as DICOM stores them (PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.9.2), as arrays and numbers."""

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
    """A table over integers. Two are equal only where they are one, so that rules holding it can be a key.

    Attributes:
        first: the input value that maps to the first entry.
        entries: (n,) uint16.
        bits: bits of an entry as declared, or as many as the largest one needs where that is more.
        complete: LUT Data held every entry; otherwise the last ones are the last that it held.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int
    complete: bool = True

    @property
    def depth(self) -> int:
        """Bits that the largest entry takes, at least 8: what the entries show of themselves, not what is declared.

        Files declare 16 bits over entries of 12 or 8 (C.11.1.1 leaves no room for it, but devices write so).
        """
        return max(int(self.entries.max()).bit_length(), _BYTE)

    @property
    def last(self) -> int:
        """The input value that maps to the last entry."""
        return self.first + self.entries.size - 1

    def lookup(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """The entries for ``values``; inputs outside the table take its first or last entry (C.11.1.1)."""
        index = np.clip(np.rint(np.nan_to_num(values)) - self.first, 0, self.entries.size - 1)
        found: NDArray[np.uint16] = self.entries[index.astype(np.intp)]
        return found


@dataclass(frozen=True, slots=True)
class PaletteTables:
    """Red, green and blue palette LUTs."""

    red: LookupTable
    green: LookupTable
    blue: LookupTable

    def colours(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) stored values → (n, 3) uint8; colours of 16 bits keep their high byte.

        Entries declared as 16 bits of which none exceeds 255 are 8-bit colours in wide words, a common mistake.
        """
        tables = (self.red, self.green, self.blue)
        wide = any(table.depth > _BYTE for table in tables)
        columns = [table.lookup(values) >> (max(table.bits - _BYTE, 0) if wide else 0) for table in tables]
        return np.stack(columns, axis=-1).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A LUT Descriptor (PS3.3 C.11.1.1) and how to read it.

    Attributes:
        count: number of entries; 0 stands for 65536.
        first: first mapped value, as unsigned 16 bits.
        bits: bits per entry as declared.
        first_signed: ``first`` is two's complement.
        little_endian: byte order of the data's words.
        packable: one byte for each entry is believed whatever ``bits`` says, as palettes come.
    """

    count: int
    first: int
    bits: int
    first_signed: bool
    little_endian: bool
    packable: bool = False

    @property
    def entries(self) -> int:
        """The number of entries."""
        return self.count or _MAX_ENTRIES

    @property
    def first_value(self) -> int:
        """The first mapped value with its sign."""
        return self.first - 0x10000 if self.first_signed and self.first > 0x7FFF else self.first


def make_table(descriptor: Descriptor, data: bytes) -> LookupTable | None:
    """A LUT from its descriptor and LUT Data, or None where these contradict each other.

    The last entry stands in for a few that are missing at the end, as C.11.1.1 lets it for inputs beyond the table.
    """
    entries = _entries(descriptor, data)
    missing = descriptor.entries - entries.size
    if missing > descriptor.entries // _TOLERATED_SHARE or not entries.size:
        return None
    padded = np.pad(entries, (0, missing), "edge")
    return LookupTable(descriptor.first_value, padded, _significant_bits(descriptor.bits, padded), complete=not missing)


def _significant_bits(declared: int, entries: NDArray[np.uint16]) -> int:
    """The declared bits where the entries fit them; else as many as the largest entry needs."""
    needed = int(entries.max()).bit_length()
    return declared if 1 <= declared <= 16 and needed <= declared else max(needed, _BYTE)


def _entries(descriptor: Descriptor, data: bytes) -> NDArray[np.uint16]:
    """(n,) uint16 with at most the declared number of entries; fewer where the data are too short."""
    if _in_words(descriptor, data):
        words = np.frombuffer(data, "<u2" if descriptor.little_endian else ">u2", len(data) // 2)
        return words[: descriptor.entries].astype(np.uint16)
    packed = np.frombuffer(_in_byte_order(data, descriptor.little_endian), np.uint8)
    return packed[: descriptor.entries].astype(np.uint16)


def _in_words(descriptor: Descriptor, data: bytes) -> bool:
    """Whether each entry takes a word: by the declared width, and by length where no width forbids the shorter form.

    8-bit entries are packed two to a word (C.7.6.3.1.6), or take a word each. Wider ones are never packed; what is
    declared wider and has exactly a byte for each entry holds bytes only if ``packable``.
    """
    count = descriptor.entries
    if len(data) >= 2 * count:
        return True
    packed = len(data) in (count, count + count % 2)
    if descriptor.bits == _BYTE:
        return not packed and not any(data[descriptor.little_endian :: 2])
    declared = _BYTE < descriptor.bits <= 2 * _BYTE
    return not packed or (declared and not descriptor.packable)


def _in_byte_order(data: bytes, little_endian: bool) -> bytes:
    """Packed 8-bit entries in their order: in big-endian words the first entry is the second byte."""
    if little_endian or len(data) % 2:
        return data
    return np.frombuffer(data, np.uint16).byteswap().tobytes()


def expand_segments(descriptor: Descriptor, data: bytes) -> LookupTable:
    """A segmented palette LUT expanded (PS3.3 C.7.9.2).

    Raises:
        MissingAttributeError: the segments are damaged or do not yield the declared number of entries.
    """
    count, wide = descriptor.entries, descriptor.bits > 8
    raw = data if wide else _in_byte_order(data, descriptor.little_endian)
    kind = ("<u2" if descriptor.little_endian else ">u2") if wide else "u1"
    words = np.frombuffer(raw, kind, len(raw) // (2 if wide else 1))
    try:
        values = _Expander([int(word) for word in words], count, 2 if wide else 4).expand()
    except (IndexError, struct.error) as error:
        raise MissingAttributeError("分段调色板（Segmented Palette Color LUT）已损坏，无法展开") from error
    if len(values) < count:
        raise MissingAttributeError(f"分段调色板只展开出 {len(values)} 项，少于声明的 {count} 项")
    entries = np.asarray(values[:count], np.int64).clip(0, 0xFFFF).astype(np.uint16)
    return LookupTable(descriptor.first_value, entries, _significant_bits(descriptor.bits, entries))


class _Expander:
    """Expands segments: discrete, linear, and indirect ones, which repeat earlier segments (C.7.9.2.2)."""

    def __init__(self, words: list[int], limit: int, words_per_offset: int) -> None:
        self._words = words
        self._limit = limit
        self._words_per_offset = words_per_offset
        self._values: list[int] = []

    def expand(self) -> list[int]:
        """All entries; stops once the declared number is reached."""
        at = 0
        while at + 1 < len(self._words) and len(self._values) < self._limit:
            at = self._segment(at, nested=False)
        return self._values

    def _segment(self, at: int, nested: bool) -> int:
        """Expand the segment at word ``at``; returns where the next one begins."""
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
        """Run ``segments`` segments again, from a byte offset whose least significant word comes first."""
        words = self._words[offset_at : offset_at + self._words_per_offset]
        bits = 16 if self._words_per_offset == 2 else 8
        offset = sum(word << (bits * place) for place, word in enumerate(words))
        at = offset // (2 if bits == 16 else 1)
        for _ in range(segments):
            if len(self._values) >= self._limit:
                return
            at = self._segment(at, nested=True)
