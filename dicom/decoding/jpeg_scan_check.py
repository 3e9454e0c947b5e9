"""Refuses a JPEG with a damaged or incomplete scan. libjpeg fills up what is missing and only warns.

Three checks: a decoder that reports warnings (8-bit DCT), the bits that the decoded samples take (JPEG Lossless), and a
second decode, which only finds a missing end (all others).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import simplejpeg

from dicom.decoding.codestreams import CodestreamInfo
from dicom.decoding.jpeg_stripping import stripped_jpeg
from dicom.decoding.lossless_scans import scan_bits_match
from dicom.pixel_maths.stored_values import Cells
from errors import PixelDecodeError, TruncatedPixelDataError

_PROBE = b"\x55\xaa" * 64
_DCT_SOF = frozenset({0xC0, 0xC1, 0xC2})
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # and the colour transform, 1 for YCbCr
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_HARMLESS = re.compile("bad ICC marker")
_HARMLESS_IN_PHOTOS = re.compile(r"bad ICC marker|: \d{1,2} extraneous bytes before marker 0xd9")
"""Cameras write a few surplus bytes; damage in the middle leaves more."""
_KNOWN_COLOURS = frozenset({"Gray", "RGB", "YCbCr"})


def decode_strict(
    data: bytes, info: CodestreamInfo, colour: str, harmless: re.Pattern[str] = _HARMLESS
) -> Cells | None:
    """Decodes an 8-bit DCT image; any warning but ``harmless`` is an error, so the scan is complete.

    Args:
        colour: of the stream: Gray, RGB or YCbCr; written into it if no marker declares it.

    Returns gray or RGB samples; None if this decoder cannot read the stream.

    Raises:
        PixelDecodeError: libjpeg warned of damage.
    """
    if info.precision != 8 or info.start_of_frame not in _DCT_SOF:
        return None
    if colour != "Gray" and not info.jfif and info.adobe_transform is None:
        data = data[:2] + _ADOBE + (b"\1" if colour == "YCbCr" else b"\0") + data[2:]
    cells = _decode_strictly(data, colour, harmless)
    if cells is None:  # the warning may concern a segment that is no part of the image
        stripped = stripped_jpeg(data)
        cells = _decode_strictly(stripped, colour, harmless) if stripped is not None else None
    return cells[..., 0] if cells is not None and colour == "Gray" else cells


def is_undamaged(data: bytes, info: CodestreamInfo) -> bool:
    """Whether a plain JPEG file decodes without a warning; False if this decoder cannot read it.

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
    """Refuses a JPEG Lossless image whose scans hold other bits than its samples take.

    Raises:
        PixelDecodeError: bits are left over or missing. TruncatedPixelDataError: bits cannot be counted, and the end is
            missing.
    """
    whole = scan_bits_match(data, cells)
    if whole is None:
        require_whole_scan(data, cells, run)
    elif not whole:
        raise PixelDecodeError("JPEG 无损码流的位数与解出的像素不符：扫描数据已损坏或提前结束，像素不可信")


def require_whole_scan(data: bytes, cells: Cells, run: Callable[[bytes], Cells]) -> None:
    """Refuses an image that the decoder filled up because its scan ends early, though an EOI follows.

    A filled-up image ends in one value. If this one does, it is decoded again with bytes added before EOI, which a
    complete scan never reaches.

    Raises:
        TruncatedPixelDataError: the second decode differs.
    """
    tail = cells[-1, -8:]
    if not (tail == tail[-1]).all():
        return
    end = len(data[: data.rfind(b"\xff\xd9")].rstrip(b"\xff"))  # fill bytes (T.81 B.1.1.2), or half a stuffed one
    if not np.array_equal(run(data[:end] + _PROBE + data[end:]), cells):
        raise TruncatedPixelDataError("JPEG 码流的扫描数据提前结束，像素数据不完整")
