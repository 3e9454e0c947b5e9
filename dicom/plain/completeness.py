"""Checks whether a PNG, JPEG, TIFF or BMP file is complete and undamaged, as far as its format allows.

Decoders fill in what is missing, and Pillow skips PNG's checksums.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from errors import PixelDecodeError, TruncatedPixelDataError

_PNG_SIGNATURE_BYTES = 8
_TAIL_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}


def is_truncated(stream: BinaryIO, size: int, kind: str) -> bool:
    """Whether the end of the file is missing, by the end that each format requires."""
    if kind == "TIFF":
        return not _has_whole_directory(stream, size)
    if kind == "BMP":
        return int.from_bytes(_read_at(stream, 2, 4), "little") > size
    return _ENDS[kind] not in _read_at(stream, max(size - _TAIL_BYTES, 0), _TAIL_BYTES)


def require_checksums(stream: BinaryIO, size: int) -> None:
    """Checks the checksums of a PNG's pixel chunks.

    Raises:
        PixelDecodeError: a checksum does not match. TruncatedPixelDataError: the file is cut off.
    """
    at = _PNG_SIGNATURE_BYTES
    while at + 12 <= size:
        length, name = struct.unpack(">L4s", _read_at(stream, at, 8))
        if name == b"IEND":
            return
        if at + 12 + length > size:
            raise TruncatedPixelDataError("PNG 图片不完整，文件可能被截断")
        if name == b"IDAT" and _checksum(stream, name, length) != _read_at(stream, at + 8 + length, 4):
            raise PixelDecodeError("PNG 图片的校验和（CRC）不符，像素已损坏")
        at += 12 + length


def _checksum(stream: BinaryIO, name: bytes, length: int) -> bytes:
    crc = zlib.crc32(name)
    while length:
        part = stream.read(min(length, _CHUNK_BYTES))
        if not part:
            break
        crc = zlib.crc32(part, crc)
        length -= len(part)
    return crc.to_bytes(4, "big")


def require_within(offsets: object, counts: object, size: int) -> None:
    """Checks that a TIFF page's strips or tiles are inside the file; raises TruncatedPixelDataError.

    Args:
        offsets, counts: values of the page's tags, if present.
        size: of the file.
    """
    if isinstance(offsets, tuple) and isinstance(counts, tuple):
        ends = (offset + count for offset, count in zip(offsets, counts, strict=False))
        if max(ends, default=0) > size:
            raise TruncatedPixelDataError("TIFF 图片的像素数据超出文件末尾，文件不完整")


def _has_whole_directory(stream: BinaryIO, size: int) -> bool:
    """Whether the TIFF's first directory, which many programs write last, is inside the file."""
    head = _read_at(stream, 0, 16)
    order, big = ("<" if head[:1] == b"I" else ">"), head[2:4] in (b"+\0", b"\0+")
    offset_format, count_format, entry_bytes = ("Q", "Q", 20) if big else ("L", "H", 12)
    try:
        (offset,) = struct.unpack_from(order + offset_format, head, 8 if big else 4)
        if offset >= size:
            return False
        (count,) = struct.unpack(order + count_format, _read_at(stream, offset, struct.calcsize(order + count_format)))
    except struct.error:
        return False
    return bool(offset + count * entry_bytes <= size)


def _read_at(stream: BinaryIO, offset: int, count: int) -> bytes:
    stream.seek(offset)
    return stream.read(count)
