"""Which colour space a codestream's samples are in, where the data set's word for it may be wrong (PS3.5 8.2)."""

from __future__ import annotations

import numpy as np

from dicom.decoding.codestreams import CodestreamInfo
from dicom.pixel_maths.stored_values import Cells

_ONE_RESOLUTION_ONLY = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"})
_LOOKED_AT = 1 << 16
_NEAR = 2 / 256
_BEYOND = 0.01


def lossless_colour(photometric: str, cells: Cells, bits: int, info: CodestreamInfo | None = None) -> str:
    """The colour space of samples that come out as they were put in: what the codestream says, else the data set.

    Shared chroma and JPEG 2000's transforms cannot be in samples of one resolution. A data set that speaks of them
    kept the word of another transfer syntax (PS3.5 table 8.2.1-1); such samples are RGB, unless they show otherwise.

    Args:
        photometric: of the data set. cells: (rows, columns, 3). bits: of a sample. info: of JPEG, JPEG-LS, JPEG 2000.
    """
    if cells.ndim != 3 or cells.shape[2] != 3 or not photometric.startswith(("RGB", "YBR")):
        return photometric
    if info is not None and info.adobe_transform is not None:
        return "YBR_FULL" if info.adobe_transform == 1 else "RGB"
    if info is not None and info.component_ids == b"RGB":
        return "RGB"
    if photometric not in _ONE_RESOLUTION_ONLY:
        return photometric
    declared = info is not None and (info.jfif or info.subsampled)
    return "YBR_FULL" if declared or _looks_like_ybr(cells, bits) else "RGB"


def is_contradicted(photometric: str, inside: str) -> bool:
    """Whether samples of one resolution are labelled as shared chroma or as a transform of JPEG 2000."""
    return photometric in _ONE_RESOLUTION_ONLY and inside != photometric


def _looks_like_ybr(cells: Cells, bits: int) -> bool:
    """Whether samples read as luminance and chrominance rather than as red, green and blue.

    Either most pixels are gray as luminance and chrominance write it, or the picture is varied, its second and third
    samples vary far less than its first, and nearly every pixel stays within the colours that RGB can show.
    """
    step = max(int((cells.shape[0] * cells.shape[1] / _LOOKED_AT) ** 0.5), 1)
    first, second, third = (cells[::step, ::step, sample].astype(np.float64) / (1 << bits) for sample in range(3))
    as_ybr = (np.abs(second - 0.5) <= _NEAR) & (np.abs(third - 0.5) <= _NEAR)
    as_rgb = (np.abs(first - second) <= _NEAR) & (np.abs(second - third) <= _NEAR)
    if max(as_ybr.mean(), as_rgb.mean()) > 0.5:
        return bool(as_ybr.mean() > as_rgb.mean())
    blue, red = second - 0.5, third - 0.5
    shown = np.stack([first + 1.402 * red, first - 0.344 * blue - 0.714 * red, first + 1.772 * blue])
    beyond = ((shown < -_NEAR) | (shown > 1 + _NEAR)).any(axis=0).mean()
    return bool(beyond < _BEYOND and first.std() > 2 * max(second.std(), third.std()))
