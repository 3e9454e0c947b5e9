"""A slow rendering in float64, written from the standard and not from our code: the yardstick of the picture tests.

Pixels are decoded by pydicom with other decoders than ours wherever one exists (GDCM, Pillow, pydicom's own
RLE). Every step acts on whole float64 arrays, without tables, and reads values through pydicom.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.pixels.utils import pixel_array

Array = NDArray[np.float64]

_PLUGIN_OF = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "gdcm",
    "1.2.840.10008.1.2.4.81": "gdcm",
    "1.2.840.10008.1.2.4.90": "gdcm",
    "1.2.840.10008.1.2.4.91": "gdcm",
    "1.2.840.10008.1.2.5": "pydicom",
}


def reference_frame(path: str, index: int) -> Array:
    """Levels 0..255 of a frame (0-based), unrounded: (rows, columns) or (rows, columns, 3)."""
    ds = pydicom.dcmread(path, force=True)
    stored = _stored(ds, index)
    photometric = str(ds.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        return _palette(ds, stored)
    if not photometric.startswith("MONOCHROME"):
        return _colour(ds, stored)
    return grayscale(ds, _unused_bits_removed(ds, stored))


def _stored(ds: Dataset, index: int) -> NDArray[Any]:
    """A frame as it was stored, before any conversion of colours."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == "1.2.840.10008.1.2.4.51":
        import imagecodecs  # noqa: PLC0415  # no other permissive library decodes 12-bit JPEG
        from pydicom.encaps import get_frame  # noqa: PLC0415

        return np.asarray(imagecodecs.jpeg_decode(get_frame(ds.PixelData, index, number_of_frames=_frames(ds))))
    plugin = _PLUGIN_OF.get(syntax, "")
    return np.asarray(pixel_array(ds, index=index, raw=True, decoding_plugin=plugin))


def _frames(ds: Dataset) -> int:
    return int(ds.get("NumberOfFrames") or 1)


def _unused_bits_removed(ds: Dataset, cells: NDArray[Any]) -> Array:
    """PS3.3 C.7.6.3.1.1: only Bits Stored bits up to High Bit count; the sign sits in the High Bit."""
    if cells.dtype.kind == "f":
        return cells.astype(np.float64)
    shift = int(ds.HighBit) + 1 - int(ds.BitsStored)
    values = (cells.astype(np.int64) >> shift) % (1 << int(ds.BitsStored))
    if ds.PixelRepresentation == 1:
        values = np.where(values >= 1 << (int(ds.BitsStored) - 1), values - (1 << int(ds.BitsStored)), values)
    return values.astype(np.float64)


def grayscale(ds: Dataset, stored: Array) -> Array:
    """The grayscale pipeline of PS3.4 N.2 on stored values."""
    values = _modality(ds, stored)
    shown = _voi(ds, stored, values)
    inverted = ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE"
    return 255.0 - shown if inverted else shown


def _modality(ds: Dataset, stored: Array) -> Array:
    """PS3.3 C.11.1: a table, or slope and intercept; a slope of 0 is a mistake and counts as 1."""
    for item in ds.get("ModalityLUTSequence") or []:
        if "LUTData" in item:
            return _table(item, stored, signed=ds.PixelRepresentation == 1)
    slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
    return stored * (float(1 if slope is None else slope) or 1.0) + float(intercept or 0)


def _table(item: Dataset, values: Array, *, signed: bool) -> Array:
    """PS3.3 C.11.1.1: inputs before the first mapped value take the first entry, those behind the last one the last."""
    count, first = int(item.LUTDescriptor[0]) or 65536, int(item.LUTDescriptor[1])
    if signed and first > 32767:
        first -= 65536
    data = item.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    out = np.empty(values.shape)
    for position, value in np.ndenumerate(values):
        out[position] = entries[min(max(round(value) - first, 0), count - 1)]
    return out


def _voi(ds: Dataset, stored: Array, values: Array) -> Array:
    """PS3.3 C.11.2: LUT before window; the first window that the function allows; else the rules of this project."""
    for item in ds.get("VOILUTSequence") or []:
        if "LUTData" in item:
            shown = _table(item, values, signed=ds.PixelRepresentation == 1)
            return shown * (255.0 / (2.0 ** int(item.LUTDescriptor[2]) - 1.0))
    function = ds.get("VOILUTFunction") or "LINEAR"
    for center, width in zip(_list(ds.get("WindowCenter")), _list(ds.get("WindowWidth")), strict=False):
        if math.isfinite(center) and (width >= 1 if function == "LINEAR" else width > 0):
            return window(values, center, width, function)
    if ds.get("Modality") == "CT" and ds.BitsStored > 8 and "RescaleSlope" in ds:
        return window(values, 40.0, 400.0, "LINEAR")
    if ds.BitsStored == 8:
        return stored + 128.0 if ds.PixelRepresentation == 1 else stored
    return _min_max(ds, stored, values)


def _list(value: Any) -> list[float]:
    if value is None:
        return []
    return (
        [float(part) for part in value]
        if isinstance(value, (list, tuple, pydicom.multival.MultiValue))
        else [float(value)]
    )


def window(values: Array, center: float, width: float, function: str) -> Array:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2 with an output range of 0..255, pseudo-code and all."""
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 255.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function == "LINEAR_EXACT":
        inner = ((values - center) / width + 0.5) * 255.0
        return np.where(values <= center - width / 2, 0.0, np.where(values > center + width / 2, 255.0, inner))
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255.0
    return np.where(values <= low, 0.0, np.where(values > high, 255.0, inner))


def _min_max(ds: Dataset, stored: Array, values: Array) -> Array:
    """Smallest to largest value, Pixel Padding Value (PS3.3 C.7.5.1.1.2) left out."""
    counted = values
    if ds.get("PixelPaddingValue") is not None:
        ends = sorted([int(ds.PixelPaddingValue), int(ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue))])
        counted = values[(stored < ends[0]) | (stored > ends[1])]
    low, high = float(counted.min()), float(counted.max())
    if low == high:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0


def _palette(ds: Dataset, stored: NDArray[Any]) -> Array:
    """PS3.3 C.7.6.3.1.5; the high byte of 16-bit entries."""
    colours = apply_color_lut(stored, ds)
    return (colours >> 8 if colours.dtype == np.uint16 else colours).astype(np.float64)


def _colour(ds: Dataset, stored: NDArray[Any]) -> Array:
    """RGB of 8 bits; what the transfer syntax's decoders leave as YCbCr is converted (PS3.3 C.7.6.3.1.2)."""
    photometric, syntax = str(ds.PhotometricInterpretation), str(ds.file_meta.TransferSyntaxUID)
    if syntax == "1.2.840.10008.1.2.4.50" and photometric == "RGB" and not _jpeg_holds_rgb(ds):
        photometric = "YBR_FULL"
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        stored = convert_color_space(stored, photometric, "RGB")
    return np.floor(stored.astype(np.float64) / 2.0 ** (int(ds.BitsStored) - 8))


def _jpeg_holds_rgb(ds: Dataset) -> bool:
    """Pillow turns a stream with Adobe's marker into RGB by itself; without marker and JFIF the data set is right."""
    return b"JFIF\0" not in ds.PixelData[:4096]
