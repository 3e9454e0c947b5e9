"""Draws full-spine X-rays, frontal and lateral: enough anatomy to judge window, inversion and squareness by eye."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from demo.film import Film, LeadMarks, Pen
from demo.spine_curve import Point, SpineCurve, Vertebra

WIDTH_CM, HEIGHT_CM = 36.0, 72.0
MIDDLE_X = WIDTH_CM / 2
LATERAL_MIDDLE_X = 20.0
LEAD = LeadMarks(ruler_x=1.2, ruler_from_cm=4, ruler_to_cm=69, letter="L", letter_at=(31.5, 6.0))

_FRONTAL_OUTLINE = (
    (0, 4.6), (5, 5.0), (9, 5.2), (12, 9.0), (15, 15.5), (20, 16.0), (28, 14.5), (38, 13.2), (46, 12.8), (54, 15.2),
    (62, 16.6), (72, 16.0),
)  # fmt: skip
"""Half the body's width at heights, in centimetres from the middle."""
_LATERAL_OUTLINE = (
    (0, -9.0, 5.0), (6, -6.0, 4.2), (11, -5.5, 5.0), (16, -10.5, 6.0), (24, -13.5, 6.5), (32, -13.0, 6.0),
    (42, -11.0, 5.0), (50, -10.5, 4.6), (58, -11.0, 7.5), (66, -9.5, 9.0), (72, -8.5, 7.0),
)  # fmt: skip
"""Front and back of the body beside the spine's line."""


def draw_frontal(curve: SpineCurve) -> Film:
    """The spine from the front; the body leans along with it."""
    film = Film(WIDTH_CM, HEIGHT_CM)
    vertebrae = curve.vertebrae()
    _frontal_soft_tissue(film, curve)
    _frontal_chest(film, curve, [one for one in vertebrae if one.name[0] == "T"])
    _frontal_pelvis(film, vertebrae[-1])
    with film.layer(0.66, 0.06) as pen:
        for vertebra in vertebrae:
            _frontal_body(pen, vertebra)
    with film.layer(0.34, 0.06) as pen:
        for vertebra in vertebrae:
            _frontal_arch(pen, vertebra)
    return film


def draw_lateral(curve: SpineCurve) -> Film:
    """The spine from the side; the patient looks to the left."""
    film = Film(WIDTH_CM, HEIGHT_CM)
    vertebrae = curve.vertebrae()
    _lateral_soft_tissue(film, curve)
    _lateral_chest(film, [one for one in vertebrae if one.name[0] == "T"])
    _lateral_pelvis(film, vertebrae[-1])
    with film.layer(0.75, 0.05) as pen:
        for vertebra in vertebrae:
            _lateral_vertebra(pen, vertebra)
    return film


# --- frontal -------------------------------------------------------------------------------------------------------


def _frontal_soft_tissue(film: Film, curve: SpineCurve) -> None:
    left = [(curve.x(y) - half, y) for y, half in _FRONTAL_OUTLINE]
    right = [(curve.x(y) + half, y) for y, half in _FRONTAL_OUTLINE]
    with film.layer(0.75, 1.6) as pen:
        pen.area([*left, *reversed(right)], 255)
    with film.layer(0.3, 4.0) as pen:
        pen.area([*left, *reversed(right)], 255)
    with film.layer(0.55, 0.5) as pen:
        pen.ellipse((curve.x(0), 0.5), (6.5, 6.5), 255)
        pen.area([(curve.x(4) - 5.4, 3), (curve.x(4) + 5.4, 3), (curve.x(6) + 2.2, 7), (curve.x(6) - 2.2, 7)], 210)


def _frontal_chest(film: Film, curve: SpineCurve, thoracic: Sequence[Vertebra]) -> None:
    with film.layer(-0.5, 0.7) as pen:
        for side in (-1, 1):
            pen.area([_beside(curve, side * across, y) for across, y in _LUNG], 255)
        pen.area([_beside(curve, across, y) for across, y in ((-0.7, 8), (0.7, 8), (0.9, 20), (-0.9, 20))], 120)
    with film.layer(0.22, 0.9) as pen:
        pen.ellipse(_beside(curve, 2.6, 28.5), (5.0, 5.0), 255)
        pen.area([_beside(curve, across, y) for across, y in ((-2.2, 19), (2.4, 19), (2.8, 32), (-2.6, 32))], 200)
    for ribs, strength in ((_posterior_rib, 0.34), (_anterior_rib, 0.14)):
        _ribs(film, thoracic, ribs, strength)
    with film.layer(0.3, 0.06) as pen:
        for side in (-1, 1):
            clavicle = [_beside(curve, side * across, y) for across, y in ((1.6, 17.6), (6, 16.4), (13.5, 14.2))]
            pen.line(clavicle, 1.0, 255)
            pen.line(clavicle, 0.6, 150)


_LUNG = (
    (2.0, 18.5), (4.5, 15.6), (8.0, 16.5), (10.6, 21.0), (11.8, 28.0), (12.0, 36.0), (9.0, 34.6), (5.0, 34.2),
    (2.6, 35.0), (2.0, 27.0),
)  # fmt: skip


def _ribs(
    film: Film, thoracic: Sequence[Vertebra], course: Callable[[Vertebra, int, int], list[Point]], strength: float
) -> None:
    for side in (-1, 1):
        with film.layer(strength, 0.07) as pen:
            for number, vertebra in enumerate(thoracic, 1):
                points = course(vertebra, number, side)
                pen.line(points, 0.85, 255)
                pen.line(points, 0.5, 150)


def _posterior_rib(vertebra: Vertebra, number: int, side: int) -> list[Point]:
    reach = (7.0, 9.6, 11.2, 12.0, 12.4, 12.6, 12.6, 12.4, 11.8, 11.0, 9.0, 6.0)[number - 1]
    drop = 0.16 * reach + 0.25 * number
    angles = [step / 12 * math.pi * 0.5 for step in range(13)]
    return [
        vertebra.place(side * (1.6 + (reach - 1.6) * math.sin(angle)), -0.5 + drop * (1 - math.cos(angle)))
        for angle in angles
    ]


def _anterior_rib(vertebra: Vertebra, number: int, side: int) -> list[Point]:
    reach = _posterior_rib(vertebra, number, side)[-1]
    if number > 9:
        return [reach, reach]
    inward = 0.55 if number < 7 else 0.35
    span = (reach[0] - vertebra.center[0]) * inward
    return [(reach[0] - span * step / 8, reach[1] + 3.2 * math.sin(step / 8 * math.pi / 2)) for step in range(9)]


def _frontal_body(pen: Pen, vertebra: Vertebra) -> None:
    half, up = vertebra.width / 2, vertebra.height / 2
    pen.line([vertebra.place(-1.75 * half, -0.1 * up), vertebra.place(1.75 * half, -0.1 * up)], 0.42 * up, 85)
    pen.area([vertebra.place(across * half, along * up) for across, along in _BODY], 160, rim=240, rim_cm=0.12)


def _frontal_arch(pen: Pen, vertebra: Vertebra) -> None:
    """Pedicles and spinous process."""
    half, up = vertebra.width / 2, vertebra.height / 2
    for side in (-1, 1):
        pen.ellipse(vertebra.place(side * 0.62 * half, -0.35 * up), (0.2 * half, 0.36 * up), 110, rim=255)
    process = ((-0.05, -0.2), (0.05, -0.2), (0.16, 0.9), (-0.16, 0.9))
    pen.area([vertebra.place(across * half, along * up) for across, along in process], 210)


_BODY = (
    (-1.0, -1.0), (-0.97, -1.0), (-0.5, -0.95), (0.5, -0.95), (0.97, -1.0), (1.0, -1.0), (0.99, -0.8), (0.88, 0.0),
    (0.99, 0.8), (1.0, 1.0), (0.97, 1.0), (0.5, 0.95), (-0.5, 0.95), (-0.97, 1.0), (-1.0, 1.0), (-0.99, 0.8),
    (-0.88, 0.0), (-0.99, -0.8),
)  # fmt: skip
"""A vertebral body in halves of its width and height: flat end plates, a slight waist."""


def _frontal_pelvis(film: Film, lowest: Vertebra) -> None:
    x, y = lowest.place(0, lowest.height / 2)
    with film.layer(0.5, 0.09) as pen:
        for side in (-1, 1):
            wing = [(x + side * across, y + down) for across, down in _ILIUM]
            pen.area(wing, 120, rim=235, rim_cm=0.25)
            pen.ellipse((x + side * 8.6, y + 14.0), (2.4, 2.4), 170, rim=245, rim_cm=0.18)
            pen.area([(x + side * across, y + down) for across, down in _FEMUR], 150, rim=230, rim_cm=0.3)
    with film.layer(0.42, 0.08) as pen:
        sacrum = [(x - 4.2, y + 0.4), (x + 4.2, y + 0.4), (x + 2.6, y + 6.5), (x + 0.6, y + 10), (x - 0.6, y + 10)]
        pen.area([*sacrum, (x - 2.6, y + 6.5)], 150, rim=225, rim_cm=0.15)
        for side in (-1, 1):
            for row in range(4):
                pen.ellipse((x + side * (2.0 - 0.3 * row), y + 2.0 + 1.7 * row), (0.45, 0.35), 60)
    with film.layer(-0.2, 0.5) as pen:
        pen.ellipse((x + 5, y - 9), (2.6, 1.6), 255)
        pen.ellipse((x - 6, y - 5), (1.8, 2.6), 220)
        pen.ellipse((x + 7, y - 3), (1.4, 2.2), 180)


_ILIUM = (
    (3.6, 1.2), (7.0, -2.2), (11.0, -2.6), (13.6, 0.4), (13.4, 4.0), (11.2, 8.5), (11.8, 12.0), (10.0, 16.2),
    (6.4, 18.0), (2.0, 16.6), (2.2, 15.2), (6.0, 15.6), (6.4, 12.0), (5.0, 8.4), (3.4, 5.5),
)  # fmt: skip
_FEMUR = ((9.6, 12.6), (12.0, 13.4), (14.6, 14.2), (14.8, 17.0), (13.4, 20.0), (11.0, 20.0), (10.4, 16.8), (8.8, 15.8))


# --- lateral -------------------------------------------------------------------------------------------------------


def _lateral_soft_tissue(film: Film, curve: SpineCurve) -> None:
    front = [(curve.middle_x + before, y) for y, before, _ in _LATERAL_OUTLINE]
    back = [(curve.middle_x + behind, y) for y, _, behind in _LATERAL_OUTLINE]
    for strength, blur in ((0.8, 1.3), (0.35, 4.0)):
        with film.layer(strength, blur) as pen:
            pen.area([*front, *reversed(back)], 255)
    with film.layer(0.55, 0.6) as pen:
        pen.ellipse((curve.x(0) - 2.5, -1.5), (8.0, 6.5), 255)
        pen.area([(curve.x(4) - 9, 1.5), (curve.x(4) - 2, 2.5), (curve.x(4) - 2.2, 5.0), (curve.x(4) - 8.5, 5.6)], 200)
    with film.layer(0.25, 1.2) as pen:  # the raised arms
        x = curve.middle_x
        pen.area([(x - 12, 11), (x - 1, 15), (x - 4, 20), (x - 14, 15)], 255)


def _lateral_chest(film: Film, thoracic: Sequence[Vertebra]) -> None:
    x = thoracic[0].center[0]
    with film.layer(-0.55, 0.8) as pen:
        pen.area([(x + across, y) for across, y in _LATERAL_LUNG], 255)
    with film.layer(0.3, 1.0) as pen:
        pen.ellipse((x - 7.2, 31.0), (4.2, 5.0), 255)
    for nearer, strength in ((0.0, 0.2), (0.9, 0.14)):
        with film.layer(strength, 0.08) as pen:
            for number, vertebra in enumerate(thoracic, 1):
                course = _lateral_rib(vertebra, number, nearer)
                pen.line(course, 0.75, 255)
                pen.line(course, 0.4, 140)


_LATERAL_LUNG = (
    (-2.0, 16.5), (1.6, 18.0), (4.2, 24.0), (5.0, 31.0), (4.0, 38.5), (1.0, 37.0), (-4.0, 34.6), (-10.0, 35.0),
    (-11.0, 28.0), (-8.5, 21.0), (-4.5, 17.0),
)  # fmt: skip


def _lateral_rib(vertebra: Vertebra, number: int, shift: float) -> list[Point]:
    reach = (4.0, 6.0, 8.0, 9.5, 10.5, 11.0, 11.0, 10.5, 9.5, 8.0, 5.5, 3.5)[number - 1]
    x, y = vertebra.place(0.9, 0)
    points = []
    for step in range(13):
        part = step / 12
        points.append((x + 1.4 * math.sin(part * math.pi) - reach * part**1.3, y + shift + 0.9 * reach * part**1.1))
    return points


def _lateral_vertebra(pen: Pen, vertebra: Vertebra) -> None:
    half, up = 0.46 * vertebra.width, vertebra.height / 2
    behind = 0.9 + 0.5 * half
    pedicle = [vertebra.place(0.8 * half, -0.35 * up), vertebra.place(half + 0.7 * behind, -0.1 * up)]
    spinous_process = [vertebra.place(half + 0.6 * behind, -0.2 * up), vertebra.place(half + 2 * behind, 1.1 * up)]
    facet = [vertebra.place(half + 0.5 * behind, -1.1 * up), vertebra.place(half + 0.6 * behind, up)]
    pen.line(pedicle, 0.7 * up, 120)
    pen.line(spinous_process, 0.5 * up, 110)
    pen.line(facet, 0.35 * up, 130)
    pen.area([vertebra.place(across * half, along * up) for across, along in _BODY], 160, rim=245, rim_cm=0.12)


def _lateral_pelvis(film: Film, lowest: Vertebra) -> None:
    x, y = lowest.place(0, lowest.height / 2)
    with film.layer(0.55, 0.12) as pen:
        sacrum = [(x - 1.9, y + 0.5), (x + 1.9, y + 0.1), (x + 5.4, y + 5.0), (x + 5.4, y + 9.5), (x + 4.0, y + 12)]
        pen.area([*sacrum, (x + 3.8, y + 9.0), (x + 1.6, y + 5.0)], 160, rim=235, rim_cm=0.15)
    for shift in (0.0, 0.8):
        with film.layer(0.3, 0.12) as pen:
            pen.area([(x + across + shift, y + down) for across, down in _LATERAL_ILIUM], 110, rim=220, rim_cm=0.2)
            pen.ellipse((x - 2.2 + shift, y + 11.5), (2.4, 2.4), 190, rim=245, rim_cm=0.18)
            pen.line([(x - 1.8 + shift, y + 12.5), (x - 0.4 + shift, y + 20)], 3.0, 160)


_LATERAL_ILIUM = (
    (-6.0, -0.5), (-2.0, -3.0), (3.0, -2.5), (4.5, 1.5), (3.0, 6.0), (1.6, 9.0), (2.0, 14.0), (-0.5, 16.0),
    (-3.8, 14.5), (-4.8, 10.5), (-4.0, 6.0),
)  # fmt: skip


def _beside(curve: SpineCurve, across: float, y: float) -> Point:
    return (curve.x(y) + across, y)
