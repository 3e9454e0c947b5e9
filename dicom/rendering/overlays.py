"""Overlay planes in groups 6000 to 601E (PS3.3 C.9.2): a bitmap of each frame, and its drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom.header.attributes import ImageAttributes
from dicom.header.values import bytes_of, integer, numbers, text, vr_of
from dicom.pixel_maths.stored_values import CellLayout, Cells, native_bits

Bitmap = NDArray[np.bool_]
_GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN = 0x0010, 0x0011, 0x0015, 0x0040, 0x0050
_FIRST_FRAME, _BIT_POSITION, _DATA = 0x0051, 0x0102, 0x3000
_WHITE = 255


@dataclass(frozen=True, slots=True)
class PackedBits:
    """Overlay Data (60xx,3000): one bit for each pixel, frames without gaps."""

    data: NDArray[np.uint8]
    little_endian: bool
    words: bool

    def frame(self, index: int, pixels: int) -> NDArray[np.uint8]:
        start, end = index * pixels, (index + 1) * pixels
        aligned = start // 16 * 2
        part = self.data[aligned : -(-end // 16) * 2]
        return native_bits(part, start - 8 * aligned, pixels, little_endian=self.little_endian, words=self.words)


@dataclass(frozen=True, slots=True)
class OverlayPlane:
    """One overlay plane.

    Attributes:
        rows, columns: of the plane.
        top, left: position of its first pixel in the image, 0-based; may be outside.
        drawable: it is graphics and complete; a region of interest is not drawn.
        frames: frames of the image (0-based) that it belongs to; None: the same for all.
        bits: packed bits, or the bit position in the image's own cells.
    """

    rows: int
    columns: int
    top: int
    left: int
    drawable: bool
    frames: range | None
    bits: PackedBits | int

    def bitmap(self, frame: int, cells: Cells, layout: CellLayout) -> Bitmap | None:
        """(rows, columns) bool of a frame (0-based); None if empty.

        Args:
            cells: of this frame, as decoded.
            layout: position of their stored values.
        """
        if isinstance(self.bits, int):
            return _embedded(cells, self.bits, layout)
        if self.frames is not None and frame not in self.frames:
            return None
        flat = self.bits.frame(self.frames.index(frame) if self.frames else 0, self.rows * self.columns)
        return flat.reshape(self.rows, self.columns).astype(np.bool_) if flat.any() else None

    def placed(self, bitmap: Bitmap, shape: tuple[int, int]) -> Bitmap:
        """The bitmap on a canvas of the image's (rows, columns); the rest is cut off."""
        canvas = np.zeros(shape, np.bool_)
        top, left = max(self.top, 0), max(self.left, 0)
        inside = bitmap[top - self.top :, left - self.left :][: max(shape[0] - top, 0), : max(shape[1] - left, 0)]
        canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return canvas


@dataclass(frozen=True, slots=True)
class FrameOverlays:
    """The overlays of a frame.

    Attributes:
        drawing: (rows, columns) bool, what to draw, or None.
        left_out: a plane has content that is not drawn.
    """

    drawing: Bitmap | None = None
    left_out: bool = False


def overlays_of_frame(
    planes: Sequence[OverlayPlane], frame: int, cells: Cells, layout: CellLayout, *, draw: bool
) -> FrameOverlays:
    """All planes of a frame (0-based); ``draw``: graphics are requested."""
    if not planes:
        return FrameOverlays()
    drawing, left_out = np.zeros(cells.shape[:2], np.bool_), False
    for plane in planes:
        bitmap = plane.bitmap(frame, cells, layout)
        if bitmap is None:
            continue
        placed = plane.placed(bitmap, (cells.shape[0], cells.shape[1]))
        drawn = draw and plane.drawable and bool(placed.any())
        drawing |= placed & drawn
        left_out = left_out or not drawn
    return FrameOverlays(drawing if drawing.any() else None, left_out)


def overlay_planes(ds: Dataset, image: ImageAttributes) -> tuple[OverlayPlane, ...]:
    groups = {tag >> 16 for tag in ds.keys()}  # noqa: SIM118  # iterating a data set converts its elements
    return tuple(plane for group in _GROUPS if group in groups if (plane := _plane(ds, group, image)) is not None)


def _plane(ds: Dataset, group: int, image: ImageAttributes) -> OverlayPlane | None:
    """None without data and without a free bit position."""
    bits = _bits(ds, group, image)
    if bits is None:
        return None
    rows = integer(ds, _key(group, _ROWS)) or image.rows
    columns = integer(ds, _key(group, _COLUMNS)) or image.columns
    drawable = text(ds, _key(group, _TYPE)) != "R"
    frames, (top, left) = _frames(ds, group), _origin(ds, group)
    if isinstance(bits, PackedBits) and not 0 < rows * columns * len(frames or (0,)) <= 8 * bits.data.size:
        rows, columns, frames, drawable = (
            1,
            8 * bits.data.size,
            None,
            False,
        )  # truncated: only whether it is empty is known
    return OverlayPlane(rows, columns, top, left, drawable, frames, bits)


def _key(group: int, element: int) -> str:
    return f"{group:04X}{element:04X}"


def _bits(ds: Dataset, group: int, image: ImageAttributes) -> PackedBits | int | None:
    data, little_endian = bytes_of(ds, _key(group, _DATA))
    if data:
        words = vr_of(ds, _key(group, _DATA)) != "OB"
        return PackedBits(np.frombuffer(data, np.uint8), little_endian, words)
    position = integer(ds, _key(group, _BIT_POSITION))
    if position is None or image.samples != 1 or not 0 <= position < image.bits_allocated:
        return None
    return position


def _frames(ds: Dataset, group: int) -> range | None:
    """Number of Frames in Overlay and Image Frame Origin; None: the plane belongs to every frame."""
    count, first = integer(ds, _key(group, _FRAMES)), integer(ds, _key(group, _FIRST_FRAME))
    if not count and not first:
        return None
    start = max(first or 1, 1) - 1
    return range(start, start + max(count or 1, 1))


def _origin(ds: Dataset, group: int) -> tuple[int, int]:
    """Overlay Origin as (top, left), 0-based."""
    origin = numbers(ds, _key(group, _ORIGIN))[:2]
    if len(origin) < 2 or not all(map(math.isfinite, origin)):
        return 0, 0
    return int(origin[0]) - 1, int(origin[1]) - 1


def _embedded(cells: Cells, position: int, layout: CellLayout) -> Bitmap | None:
    """The bit of each cell, unless it is part of the value or its sign extension."""
    if cells.ndim != 2 or cells.dtype.kind != "u" or position >= 8 * cells.dtype.itemsize:
        return None
    highest = layout.shift + layout.bits - 1
    if layout.shift <= position <= highest:
        return None
    bitmap: Bitmap = (cells >> position & 1).astype(np.bool_)
    if layout.signed and np.array_equal(bitmap, (cells >> highest & 1).astype(np.bool_)):
        return None
    return bitmap if bitmap.any() else None


def draw(pixels: NDArray[np.uint8], drawing: Bitmap) -> NDArray[np.uint8]:
    """A copy with the drawing in white, with a black outline.

    Args:
        pixels: (rows, columns) or (rows, columns, 3) uint8, of any size.
        drawing: (rows, columns) bool over the same area.
    """
    rows, columns = pixels.shape[:2]
    marks = np.asarray(Image.fromarray(drawing).resize((columns, rows), Image.Resampling.NEAREST), np.bool_)
    padded = np.pad(marks, 1)
    out = pixels.copy()
    for down in range(3):
        for right in range(3):
            out[padded[down : down + rows, right : right + columns]] = 0
    out[marks] = _WHITE
    return out
