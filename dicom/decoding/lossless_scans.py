"""Compares the bits in the scans of a JPEG Lossless image with the bits that its samples take (ITU-T T.81 annex H).

Each difference has one code, so the decoded samples determine the length of their scans. A scan that ends early holds
fewer bits. After overwritten bytes the decoder resynchronises, so that bits are left over or missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom.decoding.codestreams import CODED, jpeg_segments
from dicom.pixel_maths.stored_values import Cells
from errors import PixelDecodeError

_LOSSLESS, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_MAX_PADDING_BITS, _MAX_ZERO_BYTES = 7, 7
_NO_CODE = 200  # more bits than any code: the sum cannot come out right
_CHUNK = 1 << 15
_Differences = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan of a Huffman-coded lossless image.

    Attributes:
        components: numbers in the frame, 0-based, and the code lengths of each one's table.
        predictor: selection value, 1 to 7.
        first: prediction of the first sample, without the bits that the point transform drops.
        dropped: bits that the point transform drops.
        restart: samples of a component between restarts, 0 for none.
        coded: the entropy-coded bytes.
    """

    components: tuple[tuple[int, bytes], ...]
    predictor: int
    first: int
    dropped: int
    restart: int
    coded: bytes


def scan_bits_match(data: bytes, cells: Cells) -> bool | None:
    """Whether the samples take exactly the bits of a JPEG Lossless image's scans.

    None for another kind of JPEG, components of different resolution, or restarts within a row.
    """
    planes = cells[..., np.newaxis] if cells.ndim == 2 else cells
    scans = _scans(data)
    first = next(scans, None)
    if first is None or first.restart % planes.shape[1]:
        return None
    try:
        found = [first, *scans]
    except PixelDecodeError:  # overwritten bytes that look like a marker, with no segment behind it
        return False
    coded = sorted(number for scan in found if scan is not None for number, _ in scan.components)
    return coded == list(range(planes.shape[2])) and all(scan is not None and _fits(scan, planes) for scan in found)


def _scans(data: bytes) -> Iterator[_Scan | None]:
    """Each scan; None for one whose bits cannot be counted."""
    tables: dict[int, bytes] = {}
    frame, header, restart = b"", b"", 0
    for marker, payload, _ in jpeg_segments(data, all_scans=True):
        if marker == _LOSSLESS:
            frame = payload
        elif marker == _DHT:
            tables |= dict(_tables(payload))
        elif marker == _DRI:
            restart = int.from_bytes(payload[:2], "big")
        elif marker == _SOS:
            header = payload
        elif marker == CODED:
            yield _scan(frame, header, tables, restart, payload)


def _tables(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, table) of each DC table of a DHT segment: 16 counts and the values (T.81 B.2.4.2)."""
    at = 0
    while at + 17 <= len(payload):
        end = at + 17 + sum(payload[at + 1 : at + 17])
        yield payload[at], payload[at + 1 : end]
        at = end


def _scan(frame: bytes, header: bytes, tables: dict[int, bytes], restart: int, coded: bytes) -> _Scan | None:
    """The scan of a SOS segment (T.81 B.2.3) in a frame (B.2.2); None if its bits cannot be counted."""
    ids, sampling = frame[6::3], frame[7::3]
    count = header[0] if header else 0
    chosen = [(header[1 + 2 * index], header[2 + 2 * index] >> 4) for index in range(count) if len(header) > 2 * count]
    known = all(number in ids and table in tables for number, table in chosen)
    if not frame or not chosen or not known or len(header) != 4 + 2 * count or len(set(sampling)) > 1:
        return None
    predictor, dropped = header[-3], header[-1] & 15
    if not 1 <= predictor <= 7 or dropped >= frame[0]:
        return None
    components = tuple((ids.index(number), _code_bits(tables[table])) for number, table in chosen)
    return _Scan(components, predictor, 1 << (frame[0] - dropped - 1), dropped, restart, coded)


def _code_bits(table: bytes) -> bytes:
    codes = np.full(256, _NO_CODE, np.uint8)
    codes[list(table[16:])] = np.repeat(np.arange(1, 17), list(table[:16]))[: len(table) - 16]
    return codes.tobytes()


# --- the bits that are there ---------------------------------------------------------------------------------------


def _fits(scan: _Scan, planes: Cells) -> bool:
    """Whether each stretch between restarts has the bits that its samples take, padded to a byte."""
    if not scan.coded:
        return False
    rows = planes.shape[0]
    stretch = scan.restart // planes.shape[1] or rows
    starts = np.arange(0, rows, stretch)
    taken = np.add.reduceat(
        sum(_bits_of_rows(scan, planes[..., number], bits) for number, bits in scan.components), starts
    )
    there = _bits_of_stretches(scan.coded) if scan.restart else np.array([_bits_of(scan.coded)])
    if there.size != taken.size:
        return False
    left = there - taken
    most = np.full(left.size, _MAX_PADDING_BITS)
    most[-1] += 8 * min(_zero_bytes_behind(scan.coded), _MAX_ZERO_BYTES)
    return bool(((left >= 0) & (left <= most)).all())


def _bits_of(coded: bytes) -> int:
    """Bits of entropy-coded data without restarts; the stuffed byte after each FF does not count."""
    return 8 * (len(coded) - int(np.count_nonzero(np.frombuffer(coded, np.uint8) == 0xFF)))


def _zero_bytes_behind(coded: bytes) -> int:
    """Zeros at the end, as some encoders pad their buffers; stuffed bytes do not count."""
    kept = coded[-2 - _MAX_ZERO_BYTES :].rstrip(b"\0")
    zeros = min(len(coded), 2 + _MAX_ZERO_BYTES) - len(kept)
    return max(zeros - kept.endswith(b"\xff"), 0)


def _bits_of_stretches(data: bytes) -> NDArray[np.int64]:
    """Bits between restart markers, without stuffed and fill bytes."""
    coded = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(coded[:-1] == 0xFF)
    behind = coded[marks + 1]
    idle = marks[(behind == 0) | (behind == 0xFF)]
    restarts = marks[(behind != 0) & (behind != 0xFF)]  # what else could follow ends the scan
    edges = np.array([-2, *restarts, coded.size])
    bits = 8 * (np.diff(edges) - 2 - np.diff(np.searchsorted(idle, edges)))
    return bits.astype(np.int64)


# --- the bits that the samples take --------------------------------------------------------------------------------


def _bits_of_rows(scan: _Scan, plane: Cells, code_bits: bytes) -> NDArray[np.int64]:
    """(rows,) bits that the differences of each row take; without restarts, sums of several rows."""
    bits = _bits_of_differences(code_bits)
    rows, columns = plane.shape
    taken = np.zeros(rows, np.int64)
    step = max(_CHUNK // columns, 1)
    for start in range(0, rows, step):
        samples = plane[max(start - 1, 0) : start + step].astype(np.uint16, copy=False)
        samples = samples >> np.uint16(scan.dropped) if scan.dropped else samples
        block = samples[1:] if start else samples
        differences = np.empty(block.shape, np.uint16)
        _predict(samples, scan.predictor, differences[0 if start else 1 :])
        _restart_rows(differences, block, start, scan, rows)
        found = bits.take(differences, mode="wrap")
        if scan.restart:
            taken[start : start + step] = found.sum(axis=1, dtype=np.uint32)
        else:
            taken[start] = found.sum(dtype=np.uint32)
    return taken


def _restart_rows(differences: _Differences, block: _Differences, start: int, scan: _Scan, rows: int) -> None:
    """The first row, and each one after a restart, is predicted from the left (T.81 H.1.2.1)."""
    stretch = scan.restart // block.shape[1] or rows
    first = slice(-start % stretch, None, stretch)
    differences[first, 0] = block[first, 0] - np.uint16(scan.first)
    differences[first, 1:] = block[first, 1:] - block[first, :-1]


def _predict(samples: _Differences, predictor: int, differences: _Differences) -> None:
    """Writes the differences (modulo 65536) of all rows but the first (T.81 table H.1)."""
    differences[:, 0] = samples[1:, 0] - samples[:-1, 0]
    left, above, corner = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1]
    np.subtract(samples[1:, 1:], _PREDICTIONS[predictor](left, above, corner), out=differences[:, 1:])


def _half(minuend: _Differences, subtrahend: _Differences) -> _Differences:
    return (np.subtract(minuend, subtrahend, dtype=np.int32) >> 1).astype(np.uint16)


_PREDICTIONS: dict[int, Callable[[_Differences, _Differences, _Differences], _Differences]] = {
    1: lambda left, above, corner: left,
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + _half(above, corner),
    6: lambda left, above, corner: above + _half(left, corner),
    7: lambda left, above, corner: (np.add(left, above, dtype=np.uint32) >> 1).astype(np.uint16),
}


def _bits_of_differences(code_bits: bytes) -> NDArray[np.uint8]:
    """(65536,) uint8: bits of each difference, its category's code plus the category's number.

    The largest category has a single member and no further bits (T.81 H.1.2.2).
    """
    magnitudes = np.abs(np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.float64))
    categories = np.frexp(magnitudes)[1]
    codes = np.frombuffer(code_bits, np.uint8)
    return codes[categories] + np.where(categories < 16, categories, 0).astype(np.uint8)
