"""The colour space of decoded samples, if the data set's label may be wrong (PS3.5 8.2)."""

from __future__ import annotations

import numpy as np

from dicom.decoding.codestreams import CodestreamInfo
from dicom.pixel_maths.stored_values import Cells

_ONE_RESOLUTION_ONLY = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"})
_LOOKED_AT = 1 << 16
_NEAR = 2 / 256
_BEYOND = 0.01


def lossless_colour(photometric: str, cells: Cells, bits: int, info: CodestreamInfo | None = None) -> str:
    """The colour space of samples that no decoder transformed, by the codestream, else by the data set.

    Samples of one resolution have no shared chroma and none of JPEG 2000's transforms. A data set that declares these
    kept the label of another transfer syntax (PS3.5 table 8.2.1-1); such samples are RGB, unless they look like YBR.

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
    """Whether samples of one resolution are labelled as shared chroma or a JPEG 2000 transform."""
    return photometric in _ONE_RESOLUTION_ONLY and inside != photometric


def _looks_like_ybr(cells: Cells, bits: int) -> bool:
    """Whether samples are luminance and chrominance rather than red, green and blue.

    Either most pixels are gray as YBR; or the second and third samples vary far less than the first, and nearly every
    pixel is a colour that RGB can show.
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
