"""A film on which shapes absorb rays: layers in centimetres, exposed to stored values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from demo.spine_curve import Point

DRAWN_PX_PER_CM = 25
_MM_PER_CM = 10.0


class Pen:
    """Draws on one layer; ``shade`` 0-255 is how much of the layer's absorption a shape has."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def area(self, corners: Sequence[Point], shade: int, rim: int | None = None, rim_cm: float = 0.1) -> None:
        """A filled shape with rounded corners, and a denser rim where ``rim`` is given (cortical bone)."""
        points = [_to_pixels(corner) for corner in _rounded(corners)]
        self._draw.polygon(points, fill=shade)
        if rim is not None:
            self._draw.line([*points, points[0], points[1]], fill=rim, width=_width(rim_cm), joint="curve")

    def line(self, points: Sequence[Point], width_cm: float, shade: int) -> None:
        """A band along a line."""
        self._draw.line([_to_pixels(point) for point in points], fill=shade, width=_width(width_cm), joint="curve")

    def ellipse(self, center: Point, radii: Point, shade: int, rim: int | None = None, rim_cm: float = 0.1) -> None:
        """A filled ellipse, with a rim where ``rim`` is given."""
        (x, y), (rx, ry) = _to_pixels(center), _to_pixels(radii)
        box = (x - rx, y - ry, x + rx, y + ry)
        self._draw.ellipse(box, fill=shade, outline=rim, width=_width(rim_cm) if rim is not None else 1)


@dataclass(frozen=True, slots=True)
class Detector:
    """What turns absorption into stored values.

    Attributes:
        mm_per_pixel: distance of pixel centres.
        bits: bits stored; the values fill about 0.9 of the range.
        inverted: bone is stored dark (MONOCHROME1).
        grain: strength of the quantum noise.
    """

    mm_per_pixel: float
    bits: int
    inverted: bool = False
    grain: float = 0.012


class Film:
    """Absorption along each ray, (rows, columns) float32; bone is bright."""

    def __init__(self, width_cm: float, height_cm: float) -> None:
        self.width_cm, self.height_cm = width_cm, height_cm
        self._size = (round(width_cm * DRAWN_PX_PER_CM), round(height_cm * DRAWN_PX_PER_CM))
        self._absorption = np.zeros((self._size[1], self._size[0]), np.float32)

    @contextmanager
    def layer(self, strength: float, blur_cm: float = 0.04) -> Iterator[Pen]:
        """Shapes of one kind of tissue: they hide one another, and add to what is on the film already."""
        layer = Image.new("L", self._size, 0)
        yield Pen(ImageDraw.Draw(layer))
        soft = layer.filter(ImageFilter.GaussianBlur(blur_cm * DRAWN_PX_PER_CM))
        self._absorption += np.float32(strength / 255) * np.asarray(soft, np.float32)

    def expose(self, detector: Detector, lead: LeadMarks, seed: int) -> NDArray[np.uint16]:
        """The stored values, (rows, columns) uint16: enlarged, marked, grained; the same for the same seed."""
        size = (
            round(self.width_cm * _MM_PER_CM / detector.mm_per_pixel),
            round(self.height_cm * _MM_PER_CM / detector.mm_per_pixel),
        )
        chance = np.random.default_rng(seed)
        grown = Image.fromarray(self._absorption * self._texture(chance)).resize(size, Image.Resampling.BICUBIC)
        absorption = np.maximum(np.asarray(grown) + lead.drawn(size, detector.mm_per_pixel), 0)
        noise = chance.standard_normal(absorption.shape, np.float32)
        signal = absorption + noise * np.float32(detector.grain) * np.exp(absorption / 2)
        top = (1 << detector.bits) - 1
        stored = np.clip(signal * np.float32(0.9 * top / _FULL_SCALE) + np.float32(0.03 * top), 0, top)
        values: NDArray[np.uint16] = (top - stored if detector.inverted else stored).astype(np.uint16)
        return values

    def _texture(self, chance: np.random.Generator) -> NDArray[np.float32]:
        """Unevenness of tissue, coarse and fine, as a factor around 1."""
        factor = np.ones((self._size[1], self._size[0]), np.float32)
        for spread_cm, depth in ((0.05, 0.035), (0.5, 0.035)):
            cells = (round(self.width_cm / spread_cm), round(self.height_cm / spread_cm))
            coarse = chance.standard_normal((cells[1], cells[0]), np.float32)
            fine = Image.fromarray(coarse).resize(self._size, Image.Resampling.BICUBIC)
            factor += np.float32(depth) * np.asarray(fine)
        return factor


_FULL_SCALE = 3.2
"""Absorption at which the detector has 0.9 of its range; the densest bone of a film comes near it."""


@dataclass(frozen=True, slots=True)
class LeadMarks:
    """What is laid on the film: a ruler with a number every 5 cm, and the letter that names a side."""

    ruler_x: float
    ruler_from_cm: int
    ruler_to_cm: int
    letter: str
    letter_at: Point

    def drawn(self, size: tuple[int, int], mm_per_pixel: float) -> NDArray[np.float32]:
        """Their absorption at the detector's own resolution, (rows, columns)."""
        marks = Image.new("L", size, 0)
        draw, px = ImageDraw.Draw(marks), _MM_PER_CM / mm_per_pixel
        self._draw_ruler(draw, px)
        draw.text(_scaled(self.letter_at, px), self.letter, fill=255, font=ImageFont.load_default(1.8 * px))
        return np.float32(1.3 / 255) * np.asarray(marks, np.float32)

    def _draw_ruler(self, draw: ImageDraw.ImageDraw, px: float) -> None:
        font = ImageFont.load_default(0.75 * px)
        draw.line(
            [(self.ruler_x * px, self.ruler_from_cm * px), (self.ruler_x * px, self.ruler_to_cm * px)],
            fill=200,
            width=max(1, round(0.06 * px)),
        )
        for tick in range(2 * (self.ruler_to_cm - self.ruler_from_cm) + 1):
            y = (self.ruler_from_cm + tick / 2) * px
            length = 0.35 if tick % 2 else 0.9 if tick % 10 == 0 else 0.6
            end = (self.ruler_x + length) * px
            draw.line([(self.ruler_x * px, y), (end, y)], fill=230, width=max(1, round(0.05 * px)))
            if tick % 10 == 0:
                draw.text((end + 0.15 * px, y), str(tick // 2), fill=230, font=font, anchor="lm")


def _rounded(corners: Sequence[Point], rounds: int = 2) -> Sequence[Point]:
    """The polygon with its corners cut off, each time at a quarter of the sides (Chaikin)."""
    for _ in range(rounds):
        sides = zip(corners, [*corners[1:], corners[0]], strict=True)
        corners = [_between(a, b, part) for a, b in sides for part in (0.25, 0.75)]
    return corners


def _between(a: Point, b: Point, part: float) -> Point:
    return (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part)


def _to_pixels(point: Point) -> Point:
    return _scaled(point, DRAWN_PX_PER_CM)


def _scaled(point: Point, factor: float) -> Point:
    return (point[0] * factor, point[1] * factor)


def _width(width_cm: float) -> int:
    return max(1, round(width_cm * DRAWN_PX_PER_CM))
