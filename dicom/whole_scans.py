"""Was a JPEG's scan there to its end? libjpeg fills up what is missing and only warns, even where an EOI follows.

Three ways to know, from cheap to dear: a decoder that stops at warnings (8-bit DCT), the bits that the decoded samples
take (JPEG Lossless), and a second decode (everything else).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dicom.codestreams import CodestreamInfo, jpeg_segments
from dicom.stored_values import Cells
from errors import TruncatedPixelDataError

_PROBE = b"\x55\xaa" * 64
_DCT_SOF = frozenset({0xC0, 0xC1, 0xC2})
_DHT, _DRI, _SOS, _LOSSLESS, _EOI = 0xC4, 0xDD, 0xDA, 0xC3, 0xD9
_LEFT_NEIGHBOUR = b"\x01\x00\x00"  # selection value 1, then Se; the point transform comes last and is 0
_MAX_PADDING_BITS = 7
_NO_CODE = 200  # more bits than any code: the sum cannot come out right
_CHUNK = 1 << 15


def decode_unwarned(data: bytes, info: CodestreamInfo, colour: str) -> Cells | None:
    """An 8-bit DCT picture as gray or RGB samples, decoded without a single warning, hence with a whole scan.

    None where nothing is known: libjpeg warned, or takes the colours for others than ``colour`` (Gray, RGB or YCbCr).
    """
    if info.precision != 8 or info.start_of_frame not in _DCT_SOF:
        return None
    try:
        if simplejpeg.decode_jpeg_header(data)[2] != colour:
            return None
        cells: Cells = simplejpeg.decode_jpeg(data, "GRAY" if colour == "Gray" else "RGB", strict=True)
    except ValueError:  # a warning, or an error that the other decoder will name
        return None
    return cells[..., 0] if colour == "Gray" else cells


def require_whole_scan(data: bytes, cells: Cells, run: Callable[[bytes], Cells]) -> None:
    """Refuse a picture that the decoder filled up because its scan ends early, though an EOI follows.

    A filled-up picture ends in one value; where this one does, its samples are counted (JPEG Lossless), or it is
    decoded again with bytes added before EOI: a whole scan never reaches them.
    """
    tail = cells[-1, -8:]
    if not (tail == tail[-1]).all() or takes_whole_scan(data, cells):
        return
    end = len(data[: data.rfind(b"\xff\xd9")].rstrip(b"\xff"))  # fill bytes (T.81 B.1.1.2), or half a stuffed one
    if not np.array_equal(run(data[:end] + _PROBE + data[end:]), cells):
        raise TruncatedPixelDataError("JPEG 码流的扫描数据提前结束，像素数据不完整")


# --- JPEG Lossless -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LosslessScan:
    """The only scan of a JPEG Lossless picture of one component, predicted from the left (ITU-T T.81 annex H).

    Attributes:
        precision: bits of a sample.
        table: payload of the Huffman table's segment, class and number first.
        start: offset of the entropy-coded bytes.
    """

    precision: int
    table: bytes
    start: int


def takes_whole_scan(data: bytes, cells: Cells) -> bool:
    """Whether the samples take exactly the bits of a JPEG Lossless scan; False also where that cannot be told.

    Each difference has one code, so the decoded samples tell how long their scan has to be. Where samples were filled
    up, it would have to be longer than it is: each of them takes at least a bit beyond its end.
    """
    scan = _lossless_scan(data)
    if scan is None or cells.ndim != 2:
        return False
    bits = _bits_of_scan(data, scan.start)
    return bits is not None and 0 <= bits - _bits_of_samples(cells, scan) <= _MAX_PADDING_BITS


def _lossless_scan(data: bytes) -> _LosslessScan | None:
    """None for every other kind of JPEG, and for what is rare: other predictors, point transforms, restarts, several
    components or tables."""
    precision, tables = 0, []
    for marker, payload, behind in jpeg_segments(data):
        if marker == _DRI and any(payload):
            return None
        if marker == _LOSSLESS and payload[5:6] == b"\x01":
            precision = payload[0]
        if marker == _DHT:
            tables.append(payload)
        if marker == _SOS and precision and len(tables) == 1 and payload[-3:] == _LEFT_NEIGHBOUR:
            single = len(tables[0]) == 17 + sum(tables[0][1:17])
            return _LosslessScan(precision, tables[0], behind) if single else None
    return None


def _bits_of_scan(data: bytes, start: int) -> int | None:
    """Bits of entropy-coded data from ``start`` to EOI, without stuffed bytes; None where there are other markers."""
    coded = np.frombuffer(data, np.uint8, offset=start)
    marks = np.flatnonzero(coded[:-1] == 0xFF)
    behind = coded[marks + 1]
    markers = np.flatnonzero(behind)
    if not markers.size or behind[markers[0]] != _EOI:
        return None
    return 8 * int(marks[markers[0]] - markers[0])


def _bits_of_samples(cells: Cells, scan: _LosslessScan) -> int:
    """How many bits the differences of all samples take."""
    bits = _bits_of_differences(scan.table)
    first = cells[:, 0].astype(np.uint16)
    above = np.concatenate([np.array([1 << (scan.precision - 1)], np.uint16), first[:-1]])
    total = int(bits[first - above].sum(dtype=np.int64))
    rows = max(_CHUNK // cells.shape[1], 1)
    for start in range(0, cells.shape[0], rows):
        block = cells[start : start + rows]
        differences = np.subtract(block[:, 1:], block[:, :-1], dtype=np.uint16)
        total += int(np.take(bits, differences, mode="wrap").sum(dtype=np.uint32))
    return total


def _bits_of_differences(table: bytes) -> NDArray[np.uint8]:
    """The bits that each difference (modulo 65536) takes: its category's code, and as many as the category says,
    except for the largest one, which has a single member (T.81 H.1.2.2)."""
    codes = np.full(256, _NO_CODE, np.uint8)
    codes[list(table[17:])] = np.repeat(np.arange(1, 17), list(table[1:17]))
    magnitudes = np.abs(np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.float64))
    categories = np.frexp(magnitudes)[1]
    return codes[categories] + np.where(categories < 16, categories, 0).astype(np.uint8)
