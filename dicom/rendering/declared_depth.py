"""Checks whether window and rescale fit a grayscale codestream with other bits than Bits Stored.

Fewer bits are often just enough for the values: 14 bits for a CT under 16. But software that reduces an image to 8 bits
may keep its header, and then the window shows it nearly black.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dicom.decoding.pixel_decoders import DecodedFrame, Depth
from dicom.pixel_maths.grayscale import GrayscaleRules, Modality
from dicom.pixel_maths.voi import TableVoi, VoiChoice
from models import FileWarning

_EIGHT_BITS = 8
_Span = tuple[float, float]


def fitting_rules(
    decoded: DecodedFrame, bits_stored: int, rules: GrayscaleRules
) -> tuple[GrayscaleRules, tuple[FileWarning, ...]]:
    """The rules adapted to the decoded values, and what an operator should know of them.

    The request's window always applies.
    """
    bits = decoded.layout.bits
    if decoded.depth is Depth.EXCEEDED:
        return rules, (_warning(bits, bits_stored, "已按码流的全部位数显示"),)
    requested = rules.requested is not None and rules.requested.usable
    if bits < bits_stored and not requested and _misfit(decoded, rules):
        own = decoded.layout.full_range if bits <= _EIGHT_BITS else None
        rules = replace(rules, modality=Modality(), voi=VoiChoice(), default=None, padding=None, full_range=own)
        return rules, (_warning(bits, bits_stored, "窗宽窗位和换算与这些值不符，未使用；已按码流自身的值显示"),)
    if decoded.depth is Depth.REDUCED:
        return rules, (_warning(bits, bits_stored, "窗宽窗位可能不适用"),)
    return rules, ()


def _warning(bits: int, bits_stored: int, done: str) -> FileWarning:
    return FileWarning("bit_depth_mismatch", f"码流每个样本 {bits} 位，文件头 BitsStored={bits_stored}：{done}，请核对")


def _misfit(decoded: DecodedFrame, rules: GrayscaleRules) -> bool:
    """Whether the file's tables or window need values that so few bits cannot hold.

    Up to 8 bits they must fit closely. More bits come from encoders that store only the values that occur.
    """
    own = decoded.layout.full_range
    close = decoded.layout.bits <= _EIGHT_BITS
    if rules.modality.table is not None:
        return _is_unrelated((rules.modality.table.first, rules.modality.table.last), own, close=close)
    meant = _voi_span(rules)
    if meant is None:
        return decoded.depth is Depth.REDUCED
    low, high = sorted(rules.modality.apply(np.asarray(own, np.float64)).tolist())
    return _is_unrelated(meant, (low, high), close=close)


def _voi_span(rules: GrayscaleRules) -> _Span | None:
    """Black to white in modality units, by the file's LUT, its first usable window or the default."""
    voi = next(rules.voi.usable(), rules.default)
    if isinstance(voi, TableVoi):
        return voi.ends
    return (voi.center - voi.width / 2, voi.center + voi.width / 2) if voi is not None else None


def _is_unrelated(meant: _Span, own: _Span, *, close: bool) -> bool:
    """Whether black to white spans far more than the values, or hardly any of them."""
    width = max(meant[1] - meant[0], 1.0)
    shared = min(meant[1], own[1]) - max(meant[0], own[0])
    widest, least = (1.5, 0.5) if close else (3.0, 0.25)
    return width > widest * (own[1] - own[0] + 1) or shared < least * width
