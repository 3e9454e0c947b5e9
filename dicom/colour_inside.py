"""Which colour space a codestream's samples are in, where the data set's word for it may be wrong (PS3.5 8.2)."""

from __future__ import annotations

import numpy as np

from dicom.codestreams import CodestreamInfo
from dicom.stored_values import Cells

_ONE_RESOLUTION_ONLY = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"})
_LOOKED_AT = 1 << 16
_NEAR = 2 / 256


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


def _looks_like_ybr(cells: Cells, bits: int) -> bool:
    """Whether most pixels are gray as luminance and chrominance, and not as red, green and blue, write it."""
    step = max(int((cells.shape[0] * cells.shape[1] / _LOOKED_AT) ** 0.5), 1)
    first, second, third = (cells[::step, ::step, sample].astype(np.float64) / (1 << bits) for sample in range(3))
    as_ybr = (np.abs(second - 0.5) <= _NEAR) & (np.abs(third - 0.5) <= _NEAR)
    as_rgb = (np.abs(first - second) <= _NEAR) & (np.abs(second - third) <= _NEAR)
    return bool(as_ybr.mean() > max(as_rgb.mean(), 0.5))
