"""Strips a JPEG of all that decoding does not need (ITU-T T.81 annex B): lossless, no metadata left."""

from __future__ import annotations

from dicom.decoding.codestreams import SCAN_END, scan_end

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP14, _SOS = 0xE0, 0xEE, 0xDA
_KEPT = frozenset({0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD})  # frame headers that every viewer reads, tables, DRI
_DROPPED = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn, COM
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"  # no density, no thumbnail
_ADOBE_BYTES = 12


def stripped_jpeg(data: bytes) -> bytes | None:
    """``data`` up to its EOI with tables, frame header and scans unchanged, and bare JFIF and Adobe headers.

    None if it has segments that not every viewer understands, or is malformed.
    """
    parts = [_SOI]
    at = len(_SOI)
    while found := _segment(data, at):
        marker, segment = found
        if data[at : at + 2] == _EOI:
            return b"".join((*parts, _EOI))
        kept = _kept(marker, segment)
        if kept is None:
            return None
        parts.append(kept)
        at += len(segment)
        if marker == _SOS:
            marker_behind = SCAN_END.search(data, at)
            if marker_behind is None:
                return None
            parts.append(data[at : scan_end(data, at)])
            at = marker_behind.start()
    return None


def _segment(data: bytes, at: int) -> tuple[int, bytes] | None:
    """(marker, whole segment) at ``at``; None if it is incomplete. Of EOI the marker alone."""
    if data[at : at + 1] != b"\xff" or at + 2 > len(data):
        return None
    if data[at : at + 2] == _EOI:
        return 0xD9, _EOI
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return (data[at + 1], data[at:end]) if at + 4 <= end <= len(data) else None


def _kept(marker: int, segment: bytes) -> bytes | None:
    """What stays of a segment; None if not every viewer understands the stream."""
    payload = segment[4:]
    if marker == _APP0 and payload.startswith(b"JFIF\0"):
        return _JFIF
    if marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= _ADOBE_BYTES:
        return b"\xff\xee" + (2 + _ADOBE_BYTES).to_bytes(2, "big") + payload[:_ADOBE_BYTES]
    if marker in _KEPT or marker == _SOS:
        return segment
    return b"" if marker in _DROPPED else None
