"""Data elements written byte by byte, for values that no DICOM library writes. Explicit VR little endian."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pydicom.datadict import dictionary_VR, tag_for_keyword

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"})
_UNDEFINED = b"\xff\xff\xff\xff"


def with_element(content: bytes, keyword: str, value: bytes, vr: str | None = None) -> bytes:
    """The file with one element of its data set added or replaced, under its own VR or another."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return _with_raw(content, tag, element(keyword, value, vr))


def with_sequence(content: bytes, keyword: str, item: bytes, *, delimited: bool = False) -> bytes:
    """The file with a sequence of one item, of defined lengths or ended by delimiters."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    if not delimited:
        return _with_raw(content, tag, element(keyword, b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item))
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return _with_raw(content, tag, _tag(tag) + b"SQ\0\0" + _UNDEFINED + b"\xfe\xff\x00\xe0" + _UNDEFINED + item + ends)


def element(keyword: str, value: bytes, vr: str | None = None) -> bytes:
    """One element, padded to even length by a space."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    letters = (vr or dictionary_VR(tag)[:2]).encode("ascii")
    value += b" " * (len(value) % 2)
    if letters in _LONG:
        return _tag(tag) + letters + b"\0\0" + struct.pack("<L", len(value)) + value
    return _tag(tag) + letters + struct.pack("<H", len(value)) + value


def _with_raw(content: bytes, tag: int, raw: bytes) -> bytes:
    start = 132 + 12 + int.from_bytes(content[140:144], "little")  # behind the file meta information's group length
    elements = {number: piece for number, piece in _elements(content, start) if number != tag}
    elements[tag] = raw
    return content[:start] + b"".join(elements[number] for number in sorted(elements))


def _elements(content: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(content):
        group, number, letters, short = struct.unpack_from("<HH2sH", content, at)
        long = letters in _LONG
        length = 12 + int.from_bytes(content[at + 8 : at + 12], "little") if long else 8 + short
        yield group << 16 | number, content[at : at + length]
        at += length


def _tag(tag: int) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)
