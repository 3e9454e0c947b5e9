"""Draws a simple X-ray of a spine: enough to judge window, inversion and square pixels by eye."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Point = tuple[float, float]

WIDTH_CM, HEIGHT_CM = 36.0, 72.0
_PX_PER_CM = 25
_SIZE = (round(WIDTH_CM * _PX_PER_CM), round(HEIGHT_CM * _PX_PER_CM))
_VERTEBRAE = 22
_FULL_SCALE = 3.2
"""Absorption at which the detector reaches 0.9 of its range."""
_BODY = ((0, 4), (8, 5), (14, 15), (28, 14), (44, 12.5), (56, 16), (72, 16))
"""Height and half the width of the body, in centimetres."""


@dataclass(frozen=True, slots=True)
class Bend:
    """A bell-shaped sideways shift of the spine around a height, in centimetres."""

    y: float
    shift: float
    spread: float


@dataclass(frozen=True, slots=True)
class Detector:
    """What turns absorption into stored values.

    Attributes:
        mm_per_row, mm_per_column: distance of pixel centres; they differ if pixels are not square.
        bits: bits stored.
        inverted: bone is stored dark (MONOCHROME1).
        grain: strength of the quantum noise.
    """

    mm_per_row: float
    mm_per_column: float
    bits: int
    inverted: bool = False
    grain: float = 0.012


def draw(bends: Sequence[Bend], *, lateral: bool) -> NDArray[np.float32]:
    """Absorption along each ray, (rows, columns); bone is bright. Frontal: with lungs and pelvis."""
    film = np.zeros((_SIZE[1], _SIZE[0]), np.float32)
    width = 0.7 if lateral else 1.0
    left = [(_spine_x(bends, y) - half * width, y) for y, half in _BODY]
    right = [(_spine_x(bends, y) + half * width, y) for y, half in _BODY]
    with _layer(film, 1.3, blur_cm=1.5) as pen:
        pen.polygon(_to_pixels([*left, *reversed(right)]), fill=255)
    if not lateral:
        _lungs_and_pelvis(film, bends)
    with _layer(film, 0.7, blur_cm=0.06) as pen:
        for number in range(_VERTEBRAE):
            pen.polygon(_to_pixels(_vertebra(bends, number)), fill=170, outline=255, width=4)
    with _layer(film, 1.3, blur_cm=0.02) as pen:
        _lead_marks(pen)
    return film


def expose(absorption: NDArray[np.float32], detector: Detector, seed: int) -> NDArray[np.uint16]:
    """The stored values, (rows, columns); the same seed gives the same noise."""
    size = (round(WIDTH_CM * 10 / detector.mm_per_column), round(HEIGHT_CM * 10 / detector.mm_per_row))
    signal = np.asarray(Image.fromarray(absorption).resize(size, Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).standard_normal(signal.shape, np.float32)
    top = (1 << detector.bits) - 1
    signal = signal + noise * np.float32(detector.grain) * np.exp(signal / 2)
    stored = np.clip(signal * np.float32(0.9 * top / _FULL_SCALE) + np.float32(0.03 * top), 0, top)
    values: NDArray[np.uint16] = (top - stored if detector.inverted else stored).astype(np.uint16)
    return values


def _spine_x(bends: Sequence[Bend], y: float) -> float:
    return WIDTH_CM / 2 + sum(bend.shift * math.exp(-((y - bend.y) ** 2) / (2 * bend.spread**2)) for bend in bends)


def _vertebra(bends: Sequence[Bend], number: int) -> list[Point]:
    """The corners of a vertebral body; bodies grow downwards and tilt with the spine."""
    y = 7 + 1.5 * number + 0.03 * number**2
    half_width, half_height = 0.9 + 0.06 * number, 0.55 + 0.025 * number
    tilt = -math.atan(_spine_x(bends, y + 0.5) - _spine_x(bends, y - 0.5))
    cos, sin = math.cos(tilt), math.sin(tilt)
    corners = [
        (-half_width, -half_height),
        (half_width, -half_height),
        (half_width, half_height),
        (-half_width, half_height),
    ]
    return [(_spine_x(bends, y) + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners]


def _lungs_and_pelvis(film: NDArray[np.float32], bends: Sequence[Bend]) -> None:
    with _layer(film, -0.5, blur_cm=0.7) as pen:
        for side in (-1, 1):
            _ellipse(pen, (_spine_x(bends, 26) + side * 7, 26), (4.5, 10), fill=255)
    with _layer(film, 0.5, blur_cm=0.15) as pen:
        for side in (-1, 1):
            _ellipse(pen, (_spine_x(bends, 58) + side * 8, 58), (5.5, 6.5), fill=130, outline=240)


def _lead_marks(pen: ImageDraw.ImageDraw) -> None:
    """The letter of a side, a ring that is round only if pixels are square, and a tick each centimetre."""
    pen.text((31 * _PX_PER_CM, 5 * _PX_PER_CM), "L", fill=255, font=ImageFont.load_default(2 * _PX_PER_CM))
    _ellipse(pen, (32, 12), (1.5, 1.5), fill=0, outline=255)
    for y in range(4, 70):
        length = 1.0 if y % 5 == 0 else 0.5
        pen.line(_to_pixels([(1, y), (1 + length, y)]), fill=230, width=2)


@contextmanager
def _layer(film: NDArray[np.float32], strength: float, blur_cm: float) -> Iterator[ImageDraw.ImageDraw]:
    """Shapes of one kind of tissue: they cover one another, and add to what is on the film already."""
    layer = Image.new("L", _SIZE, 0)
    yield ImageDraw.Draw(layer)
    film += np.float32(strength / 255) * np.asarray(layer.filter(ImageFilter.GaussianBlur(blur_cm * _PX_PER_CM)))


def _ellipse(pen: ImageDraw.ImageDraw, center: Point, radii: Point, fill: int, outline: int | None = None) -> None:
    corners = [(center[0] - radii[0], center[1] - radii[1]), (center[0] + radii[0], center[1] + radii[1])]
    pen.ellipse(_to_pixels(corners), fill=fill, outline=outline, width=4)


def _to_pixels(points: Sequence[Point]) -> list[Point]:
    return [(x * _PX_PER_CM, y * _PX_PER_CM) for x, y in points]
