"""Colour samples → 8-bit RGB (PS3.3 C.7.6.3.1.2). Arrays and numbers only; colours are never stretched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom.pixel_maths.grayscale import GrayscaleFrame, GrayscaleRules, render_grayscale, take
from dicom.pixel_maths.lookup_tables import PaletteTables
from dicom.pixel_maths.stored_values import CellLayout, Cells
from errors import UnsupportedImageError

_ROWS_AT_A_TIME = 64
_PARTIAL = np.array([[1.1644, 0.0, 1.5960], [1.1644, -0.3917, -0.8130], [1.1644, 2.0173, 0.0]])


def to_rgb(cells: Cells, layout: CellLayout, photometric: str) -> NDArray[np.uint8]:
    """Colour-by-pixel cells → (rows, columns, 3) uint8 RGB.

    Args:
        cells: (rows, columns, 3) unsigned integers.
        layout: significant bits; more than 8 lose their low ones, fewer are scaled to full range.
        photometric: RGB, YBR_FULL, YBR_FULL_422 or YBR_PARTIAL_422 (interpolated to one chroma per pixel).

    Raises:
        UnsupportedImageError: another colour space, another number of samples, or floats.
    """
    if cells.ndim != 3 or cells.shape[2] != 3 or cells.dtype.kind != "u":
        raise UnsupportedImageError(f"不支持 {cells.shape[-1] if cells.ndim == 3 else 1} 个分量的 {photometric} 图像")
    samples = _to_8_bits(cells, layout)
    if photometric == "RGB":
        return samples
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        image = Image.frombuffer("YCbCr", (samples.shape[1], samples.shape[0]), samples, "raw", "YCbCr", 0, 1)
        return np.asarray(image.convert("RGB"))
    if photometric == "YBR_PARTIAL_422":
        return _from_partial_range(samples)
    raise UnsupportedImageError(f"不支持颜色空间（PhotometricInterpretation）{photometric}")


def _to_8_bits(cells: Cells, layout: CellLayout) -> NDArray[np.uint8]:
    """Contiguous uint8 samples; of wide ones the eight highest significant bits."""
    if cells.dtype == np.uint8 and layout.shift == 0 and layout.bits == 8:
        return np.ascontiguousarray(cells)
    if cells.dtype.itemsize <= 2:
        domain = np.arange(1 << (8 * cells.dtype.itemsize), dtype=np.uint32)
        return take(_scaled(domain, layout), cells)
    return np.concatenate([_scaled(row, layout)[np.newaxis] for row in cells])


def _scaled(cells: Cells, layout: CellLayout) -> NDArray[np.uint8]:
    values = CellLayout(layout.bits, layout.shift).values(cells)
    if layout.bits >= 8:
        return (values >> (layout.bits - 8)).astype(np.uint8)
    return (values * 255 // ((1 << layout.bits) - 1)).astype(np.uint8)


def _from_partial_range(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YBR_PARTIAL_422 (retired): luminance 16..235, chrominance 16..240 about 128."""
    rgb = np.empty_like(samples)
    for start in range(0, samples.shape[0], _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        centred = samples[part].astype(np.float64) - (16.0, 128.0, 128.0)
        rgb[part] = np.clip(np.rint(centred @ _PARTIAL.T), 0, 255)
    return rgb


def interpolate_422(cells: Cells, rows: int, columns: int) -> Cells:
    """Native Y1 Y2 Cb Cr quadruples (C.7.6.3.1.2, YBR_FULL_422) → (rows, columns, 3)."""
    if columns % 2:
        raise UnsupportedImageError("YBR_FULL_422 图像的列数为奇数，无法解释")
    quadruples = cells.reshape(rows, columns // 2, 4)
    full = np.empty((rows, columns, 3), cells.dtype)
    full[:, 0::2, 0], full[:, 1::2, 0] = quadruples[..., 0], quadruples[..., 1]
    for chroma in (1, 2):
        full[:, 0::2, chroma] = full[:, 1::2, chroma] = quadruples[..., chroma + 1]
    return full


def render_palette(cells: Cells, layout: CellLayout, palette: PaletteTables) -> NDArray[np.uint8]:
    """PALETTE COLOR cells (rows, columns) of 8 or 16 bits → (rows, columns, 3) uint8."""
    return take(palette.colours(layout.values(_domain(cells))), cells)


def render_supplemental(
    cells: Cells, layout: CellLayout, rules: GrayscaleRules, palette: PaletteTables
) -> GrayscaleFrame:
    """A monochrome image whose values from the palette's first on are colours (PS3.3 C.7.6.19)."""
    gray = render_grayscale(cells, layout, rules)
    stored = layout.values(_domain(cells))
    coloured = take((stored >= palette.red.first).astype(np.uint8), cells).astype(np.bool_)
    rgb = np.repeat(gray.pixels[..., np.newaxis], 3, axis=2)
    rgb[coloured] = render_palette(cells, layout, palette)[coloured]
    return replace(gray, pixels=rgb)


def _domain(cells: Cells) -> NDArray[np.uint32]:
    """Every possible cell."""
    if cells.ndim != 2 or cells.dtype.kind != "u" or cells.dtype.itemsize > 2:
        raise UnsupportedImageError("调色板图像的像素必须是 8 或 16 位单分量整数")
    return np.arange(1 << (8 * cells.dtype.itemsize), dtype=np.uint32)
