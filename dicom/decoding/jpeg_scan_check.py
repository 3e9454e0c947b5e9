"""Was a JPEG's scan whole and undamaged? libjpeg fills up what is missing and only warns, even where an EOI follows.

Three ways to know: a decoder that reports warnings (8-bit DCT), the bits that the decoded samples take (JPEG
Lossless), and a second decode, which tells only whether the end is missing (everything else).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import simplejpeg

from dicom.decoding.codestreams import CodestreamInfo
from dicom.decoding.jpeg_stripping import stripped_jpeg
from dicom.decoding.lossless_scans import takes_whole_scan
from dicom.pixel_maths.stored_values import Cells
from errors import PixelDecodeError, TruncatedPixelDataError

_PROBE = b"\x55\xaa" * 64
_DCT_SOF = frozenset({0xC0, 0xC1, 0xC2})
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # and the colour transform, 1 for YCbCr
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_HARMLESS = re.compile("bad ICC marker")
_HARMLESS_IN_PHOTOS = re.compile(r"bad ICC marker|: \d{1,2} extraneous bytes before marker 0xd9")
"""Cameras write a few bytes more than a picture needs; what misses in the middle leaves as few only by chance."""
_KNOWN_COLOURS = frozenset({"Gray", "RGB", "YCbCr"})


def decode_strict(
    data: bytes, info: CodestreamInfo, colour: str, harmless: re.Pattern[str] = _HARMLESS
) -> Cells | None:
    """An 8-bit DCT picture as gray or RGB samples, decoded without a single warning, hence with a whole scan.

    Args:
        colour: what is inside: Gray, RGB or YCbCr; libjpeg is told so where no marker says it.
        harmless: warnings that tell of no damage.

    Returns None where nothing is known: another kind of JPEG, or one that this decoder cannot read.

    Raises:
        PixelDecodeError: libjpeg warned of damage.
    """
    if info.precision != 8 or info.start_of_frame not in _DCT_SOF:
        return None
    if colour != "Gray" and not info.jfif and info.adobe_transform is None:
        data = data[:2] + _ADOBE + (b"\1" if colour == "YCbCr" else b"\0") + data[2:]
    cells = _decode_strictly(data, colour, harmless)
    if cells is None:  # what it warned of may stand in a segment that is no part of the picture
        stripped = stripped_jpeg(data)
        cells = _decode_strictly(stripped, colour, harmless) if stripped is not None else None
    return cells[..., 0] if cells is not None and colour == "Gray" else cells


def is_undamaged(data: bytes, info: CodestreamInfo) -> bool:
    """Whether a plain JPEG file's picture decodes without a single warning; False if nothing is known of it.

    Raises:
        PixelDecodeError: libjpeg warned of damage.
    """
    try:
        colour = simplejpeg.decode_jpeg_header(data)[2]
    except ValueError:
        return False
    return colour in _KNOWN_COLOURS and decode_strict(data, info, colour, _HARMLESS_IN_PHOTOS) is not None


def _decode_strictly(data: bytes, colour: str, harmless: re.Pattern[str]) -> Cells | None:
    """None for another colour, a harmless warning, or an error that the other decoder will name."""
    try:
        if simplejpeg.decode_jpeg_header(data)[2] != colour:
            return None
        cells: Cells = simplejpeg.decode_jpeg(data, "GRAY" if colour == "Gray" else "RGB", strict=True)
    except ValueError as error:
        if str(error).startswith(_DAMAGE) and not harmless.search(str(error)):
            raise PixelDecodeError("JPEG 码流的扫描数据已损坏或提前结束，像素不可信") from error
        return None
    return cells


def require_whole_lossless_scans(data: bytes, cells: Cells, run: Callable[[bytes], Cells]) -> None:
    """Refuse a JPEG Lossless picture whose scans hold other bits than its samples take.

    Raises:
        PixelDecodeError: bits are left over or missing. TruncatedPixelDataError: the end is missing, where bits
            cannot be counted.
    """
    whole = takes_whole_scan(data, cells)
    if whole is None:
        require_whole_scan(data, cells, run)
    elif not whole:
        raise PixelDecodeError("JPEG 无损码流的位数与解出的像素不符：扫描数据已损坏或提前结束，像素不可信")


def require_whole_scan(data: bytes, cells: Cells, run: Callable[[bytes], Cells]) -> None:
    """Refuse a picture that the decoder filled up because its scan ends early, though an EOI follows.

    A filled-up picture ends in one value; where this one does, it is decoded again with bytes added before EOI: a
    whole scan never reaches them.

    Raises:
        TruncatedPixelDataError: it does.
    """
    tail = cells[-1, -8:]
    if not (tail == tail[-1]).all():
        return
    end = len(data[: data.rfind(b"\xff\xd9")].rstrip(b"\xff"))  # fill bytes (T.81 B.1.1.2), or half a stuffed one
    if not np.array_equal(run(data[:end] + _PROBE + data[end:]), cells):
        raise TruncatedPixelDataError("JPEG 码流的扫描数据提前结束，像素数据不完整")
