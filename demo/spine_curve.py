"""Where each vertebra lies in a drawn full-spine X-ray, in centimetres: x to the right, y down from the upper edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

Point = tuple[float, float]

_FIRST_Y = 7.5
_GROUPS = (("C", 3, 7, 1.25, 0.4, 1.8), ("T", 1, 12, 1.4, 0.3, 2.3), ("L", 1, 5, 2.05, 0.75, 3.6))
"""Letter, first and last number; height of the first body, of the disc below, width of the first body."""
_GROWTH_PER_LEVEL = {"C": 0.03, "T": 0.05, "L": 0.06}


class View(Enum):
    """How the rays went through the patient."""

    FRONTAL = "frontal"
    LATERAL = "lateral"


@dataclass(frozen=True, slots=True)
class Bump:
    """One bend of the spine: a bell-shaped sideways shift."""

    center_y: float
    shift: float
    spread: float

    def at(self, y: float) -> float:
        """Shift at height ``y``."""
        return self.shift * math.exp(-((y - self.center_y) ** 2) / (2 * self.spread**2))


FRONTAL_STRAIGHT = (Bump(30, 0.3, 8),)
LATERAL_NORMAL = (Bump(13, -1.6, 6), Bump(31, 2.6, 8), Bump(50, -2.0, 6))
"""Cervical lordosis, thoracic kyphosis, lumbar lordosis, of a patient who looks to the left (front = smaller x)."""


@dataclass(frozen=True, slots=True)
class Vertebra:
    """One vertebral body: centre, size along and across the spine, tilt in radians (0: upright)."""

    name: str
    center: Point
    width: float
    height: float
    tilt: float

    def place(self, across: float, along: float) -> Point:
        """A point given in the vertebra's own axes: ``across`` to the right, ``along`` downwards."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return (self.center[0] + across * cos - along * sin, self.center[1] + across * sin + along * cos)


@dataclass(frozen=True, slots=True)
class SpineCurve:
    """The line through the vertebrae: ``middle_x`` and the bends."""

    middle_x: float
    bumps: tuple[Bump, ...]

    def x(self, y: float) -> float:
        """Where the line is at height ``y``."""
        return self.middle_x + sum(bump.at(y) for bump in self.bumps)

    def tilt(self, y: float) -> float:
        """Its slant there in radians, positive where it runs down to the left."""
        return -math.atan(self.x(y + 0.5) - self.x(y - 0.5))

    def vertebrae(self) -> list[Vertebra]:
        """C3 to L5, from above, with discs between them."""
        found: list[Vertebra] = []
        y = _FIRST_Y
        for letter, first, last, height, disc, width in _GROUPS:
            for number in range(first, last + 1):
                growth = 1 + _GROWTH_PER_LEVEL[letter] * (number - first)
                step = height * growth * math.cos(self.tilt(y))
                middle = y + step / 2
                center = (self.x(middle), middle)
                found.append(Vertebra(f"{letter}{number}", center, width * growth, height * growth, self.tilt(middle)))
                y += step + disc * math.cos(self.tilt(y))
        return found
