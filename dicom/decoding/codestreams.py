"""Headers of compressed frames, read before decoding.

JPEG and JPEG-LS markers (ITU-T T.81 annex B, T.87 annex C), JPEG 2000 and HTJ2K (T.800 annex A), JPEG XL (ISO 18181-1
annex D). A decoder allocates what the codestream declares. So a codestream that contradicts the data set is refused
before it is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from errors import PixelDecodeError, TruncatedPixelDataError

_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SOS, _EOI, _APP0, _APP14 = 0xDA, 0xD9, 0xE0, 0xEE
CODED = 0x00  # no marker: entropy-coded bytes
_SOC = b"\xff\x4f"
SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed byte nor a restart marker
_ANOTHER = re.compile(rb"\xff\xd9\x00*(?:\xff+\xd8\xff|\xff\x4f\xff\x51)")  # an end, padding, a new beginning
_SIZ, _COD, _SOT, _EOC = 0xFF51, 0xFF52, 0xFF90, 0xFFD9
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL "
_JXL_CODESTREAM = b"\xff\x0a"
_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_SIZE_BITS = (9, 13, 18, 30)


@dataclass(frozen=True, slots=True)
class CodestreamInfo:
    """A codestream's own header.

    Attributes:
        rows, columns: size in pixels.
        samples: components; None if unknown (JPEG XL).
        precision: bits per sample; None if unknown.
        signed: samples are signed (JPEG 2000 only).
        start_of_frame: JPEG's SOF marker code (0xC0 ... 0xF7 for JPEG-LS), else 0.
        jfif: a JFIF header, which means YCbCr.
        adobe_transform: colour transform of Adobe's APP14 marker, or None.
        component_ids: JPEG's component identifiers.
        subsampled: the components differ in resolution, as only chroma does.
        colour_transform: JPEG 2000's multiple component transform.
    """

    rows: int
    columns: int
    samples: int | None
    precision: int | None
    signed: bool = False
    start_of_frame: int = 0
    jfif: bool = False
    adobe_transform: int | None = None
    component_ids: bytes = b""
    subsampled: bool = False
    colour_transform: bool = False


def read_jpeg(data: bytes) -> CodestreamInfo:
    """Header of a complete JPEG or JPEG-LS stream.

    Raises:
        PixelDecodeError: no frame header. TruncatedPixelDataError: no EOI after the scan began.
    """
    frame: tuple[int, bytes] | None = None
    jfif, adobe = False, None
    for marker, segment, behind in jpeg_segments(data):
        if marker in _SOF:
            frame = (marker, segment)
        elif marker == _APP0 and segment[:5] == b"JFIF\0":
            jfif = True
        elif marker == _APP14 and segment[:5] == b"Adobe" and len(segment) >= 12:
            adobe = segment[11]
        elif marker == _SOS:
            _require_end_of_image(data, behind)
    if frame is None:
        raise PixelDecodeError("JPEG 码流没有帧头（SOF），已损坏")
    return _jpeg_info(*frame, jfif, adobe)


def has_second_codestream(data: bytes) -> bool:
    return _ANOTHER.search(data) is not None


def jpeg_segments(data: bytes, *, all_scans: bool = False) -> Iterator[tuple[int, bytes, int]]:
    """(marker, payload, offset behind it) of each segment of a JPEG, up to the first scan's header.

    With ``all_scans`` up to EOI; the entropy-coded bytes after each scan's header come as :data:`CODED`.

    Raises:
        PixelDecodeError: no JPEG. TruncatedPixelDataError: it ends before its scan, or before EOI.
    """
    if not data.startswith(b"\xff\xd8"):
        raise PixelDecodeError("像素数据不是 JPEG 码流（缺少 SOI 标记），与传输语法不符或已损坏")
    marker, at = 0, 2
    while marker != _SOS or all_scans:
        marker, at = _next_marker(data, at)
        if marker == _EOI:
            return
        payload = _segment(data, at)
        at += 2 + len(payload)
        yield marker, payload, at
        if marker == _SOS and all_scans:
            start, at = at, scan_end(data, at)
            yield CODED, data[start:at], at


def scan_end(data: bytes, start: int) -> int:
    """Offset behind the entropy-coded bytes from ``start`` on, restart markers included, fill bytes excluded."""
    found = SCAN_END.search(data, start)
    end = found.start() if found else len(data)
    while end > start and data[end - 1] == 0xFF:
        end -= 1
    return end


def _jpeg_info(marker: int, segment: bytes, jfif: bool, adobe: int | None) -> CodestreamInfo:
    if len(segment) < 6:
        raise PixelDecodeError("JPEG 码流的帧头（SOF）不完整，已损坏")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", segment)
    return CodestreamInfo(
        rows=rows,
        columns=columns,
        samples=samples,
        precision=precision,
        start_of_frame=marker,
        jfif=jfif,
        adobe_transform=adobe,
        component_ids=segment[6 : 6 + 3 * samples : 3],
        subsampled=len(set(segment[7 : 6 + 3 * samples : 3])) > 1,
    )


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """(marker code, offset behind it); skips fill bytes and markers without a segment."""
    while at + 1 < len(data):
        if data[at] != 0xFF:
            raise PixelDecodeError(f"JPEG 码流在字节 {at} 处没有标记，已损坏")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            return marker, at + 2
    raise TruncatedPixelDataError("JPEG 码流在头部中断，像素数据不完整")


def _segment(data: bytes, at: int) -> bytes:
    """A marker segment's payload; ``at`` is its length field."""
    length = int.from_bytes(data[at : at + 2], "big")
    if length < 2 or at + length > len(data):
        raise TruncatedPixelDataError("JPEG 码流在头部中断，像素数据不完整")
    return data[at + 2 : at + length]


def _require_end_of_image(data: bytes, scan_at: int) -> None:
    """FF D9 cannot occur in entropy-coded data, so without it the end is missing."""
    if data.rfind(b"\xff\xd9", scan_at) < 0:
        raise TruncatedPixelDataError("JPEG 码流没有结束标记（EOI），像素数据不完整")


# --- JPEG 2000 and HTJ2K -------------------------------------------------------------------------------------------


def jpeg2000_codestream(data: bytes) -> bytes:
    """The bare codestream, also out of a JP2 file, which some writers use against the standard."""
    if not data.startswith(_JP2_SIGNATURE):
        return data
    for kind, start, end in _boxes(data):
        if kind == b"jp2c":
            return data[start:end]
    raise PixelDecodeError("JP2 文件中没有码流（jp2c），像素数据已损坏")


def _boxes(data: bytes) -> list[tuple[bytes, int, int]]:
    """(type, start, end) of the top-level boxes of an ISO base media file."""
    found, at = [], 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, at)
        start = at + 8
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
            start = at + 16
        end = len(data) if length == 0 else at + length
        if end < start or end > len(data):
            raise TruncatedPixelDataError("像素数据的文件盒（box）中断，像素数据不完整")
        found.append((kind, start, end))
        at = end
    return found


def read_jpeg2000(data: bytes) -> CodestreamInfo:
    """Header of a bare JPEG 2000 or HTJ2K codestream, which must have all its tile-parts."""
    if data[:4] != _SOC + _SIZ.to_bytes(2, "big"):
        raise PixelDecodeError("像素数据不是 JPEG 2000 码流，与传输语法不符或已损坏")
    if len(data) < 45:
        raise TruncatedPixelDataError("JPEG 2000 码流在头部中断，像素数据不完整")
    x1, y1, x0, y0 = struct.unpack_from(">4L", data, 8)
    (samples,) = struct.unpack_from(">H", data, 40)
    if samples == 0 or x1 <= x0 or y1 <= y0 or len(data) < 42 + 3 * samples:
        raise PixelDecodeError("JPEG 2000 码流的尺寸（SIZ）无效，已损坏")
    depth = data[42]
    if any(data[42 + 3 * index] != depth for index in range(samples)):
        raise PixelDecodeError("JPEG 2000 码流各分量的位数不同，不支持")
    return CodestreamInfo(
        rows=y1 - y0,
        columns=x1 - x0,
        samples=samples,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        subsampled=len({data[43 + 3 * index : 45 + 3 * index] for index in range(samples)}) > 1,
        colour_transform=_check_tile_parts(data),
    )


def _check_tile_parts(data: bytes) -> bool:
    """Walks all tile-parts; returns whether COD declares a component transform.

    A tile-part declares its length (Psot), so a cut is found without decoding, even without EOC.
    """
    at, transform = 2, False
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _EOC:
            return transform
        if marker == _SOT:
            (part_bytes,) = struct.unpack_from(">L", data, at + 6) if at + 10 <= len(data) else (0,)
            length = part_bytes - 2 if part_bytes else data.rfind(b"\xff\xd9") - at - 2
        elif marker == _COD and at + 9 <= len(data):
            transform = data[at + 8] == 1
        if length < 2 or at + 2 + length > len(data):
            raise TruncatedPixelDataError("JPEG 2000 码流中断，像素数据不完整")
        at += 2 + length
    return transform


# --- JPEG XL -------------------------------------------------------------------------------------------------------


def read_jpeg_xl(data: bytes) -> CodestreamInfo:
    """Size of a JPEG XL image, bare or in its container."""
    if data.startswith(_JXL_SIGNATURE):
        data = _jpeg_xl_codestream(data)
    if not data.startswith(_JXL_CODESTREAM):
        raise PixelDecodeError("像素数据不是 JPEG XL 码流，与传输语法不符或已损坏")
    bits = _BitReader(data[2:34])
    small = bits.take(1)
    rows = _jxl_extent(bits, small)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _JXL_RATIOS[ratio]
        columns = rows * numerator // denominator
    else:
        columns = _jxl_extent(bits, small)
    return CodestreamInfo(rows=rows, columns=columns, samples=None, precision=None)


def _jpeg_xl_codestream(data: bytes) -> bytes:
    for kind, start, end in _boxes(data):
        if kind == b"jxlc":
            return data[start:end]
        if kind == b"jxlp":
            return data[start + 4 : end]
    raise PixelDecodeError("JPEG XL 文件中没有码流，像素数据已损坏")


class _BitReader:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


def _jxl_extent(bits: _BitReader, small: int) -> int:
    """SizeHeader's height or width (ISO 18181-1 D.2)."""
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take(_JXL_SIZE_BITS[bits.take(2)]) + 1
