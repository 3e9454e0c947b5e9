"""Overlay planes, shutters and other things that a picture leaves out: drawn, or told of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.unit import image_files as files
from tests.unit.films import Render, dot, film, plane

GRAY = np.full((8, 10), 2000, np.uint16)
GRAY[0, :2] = (0, 4095)  # black and white, so that the film is no constant
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
LEVEL = 125  # 2000 / 4095 * 255 = 124.5, so 125


def embedded(ds: Dataset, position: int) -> Dataset:
    """Adds a plane whose bits are in the image's cells."""
    for element, vr, value in ((0x10, "US", 8), (0x11, "US", 10), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        ds.add_new(0x60000000 | element, vr, value)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", position)
    return ds


def gray_film(**elements: Any) -> Dataset:
    return film(GRAY, **(WINDOW | elements))


def white(picture: NDArray[np.uint8]) -> list[list[int]]:
    """Where the picture is white, but for the film's own white pixel."""
    return [place for place in np.argwhere(picture == 255).tolist() if place != [0, 1]]


# --- told of -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [0x6000, 0x6002, 0x601E])
@pytest.mark.parametrize("kind", ["G", "R"])
def test_plane_that_is_not_drawn_is_told_of(render_film: Render, group: int, kind: str) -> None:
    made = render_film(plane(gray_film(), dot(), group, kind=kind))
    assert made.codes == ["overlay_not_drawn"]
    assert white(made.pictures[0]) == []


def test_empty_plane_is_not_told_of(render_film: Render) -> None:
    assert render_film(plane(gray_film(), np.zeros((8, 10)))).codes == []
    assert render_film(embedded(gray_film(), 12)).codes == []


def test_plane_in_the_unused_bits_is_told_of(render_film: Render) -> None:
    ds = embedded(film(GRAY | dot().astype(np.uint16) << 14, **WINDOW), 14)
    assert render_film(ds).codes == ["overlay_not_drawn"]


@pytest.mark.parametrize("position", [0, 11])
def test_bits_of_the_values_are_no_overlay(render_film: Render, position: int) -> None:
    assert render_film(embedded(gray_film(), position)).codes == []


def test_sign_in_the_upper_bits_is_no_overlay(render_film: Render) -> None:
    cells = np.linspace(-2000, 2000, 80).astype(np.int16).reshape(8, 10)
    assert render_film(embedded(film(cells), 15), draw_overlays=True).codes == []


@pytest.mark.parametrize("draw", [True, False])
def test_cut_plane_is_told_of(render_film: Render, draw: bool) -> None:
    ds = plane(gray_film(), dot(1, 1))
    ds[0x60000010].value = 5000
    made = render_film(ds, draw_overlays=draw)
    assert made.codes == ["overlay_not_drawn"]
    assert white(made.pictures[0]) == []


def test_plane_beside_the_image_is_told_of(render_film: Render) -> None:
    ds = plane(gray_film(), dot(), origin=[500, 1])
    assert render_film(ds, draw_overlays=True).codes == ["overlay_not_drawn"]


def test_region_of_interest_is_never_drawn(render_film: Render) -> None:
    made = render_film(plane(gray_film(), dot(), kind="R"), draw_overlays=True)
    assert (made.codes, white(made.pictures[0])) == (["overlay_not_drawn"], [])


# --- drawn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "syntax"),
    [("OW", files.EXPLICIT), ("OB", files.EXPLICIT), ("OW", files.IMPLICIT), ("OW", files.BIG_ENDIAN)],
)
def test_graphics_are_drawn_white_with_a_black_rim(render_film: Render, vr: str, syntax: str) -> None:
    big = syntax == files.BIG_ENDIAN
    pixels = GRAY.astype(">u2") if big else GRAY
    ds = plane(film(pixels, **WINDOW), dot(4, 5), vr=vr, big=big)
    made = render_film(ds, syntax, draw_overlays=True)
    picture = made.pictures[0]
    assert made.codes == []
    assert picture[3:6, 4:7].tolist() == [[0, 0, 0], [0, 255, 0], [0, 0, 0]]
    assert np.count_nonzero(picture == LEVEL) == 80 - 2 - 9


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_graphics_are_white_whatever_low_values_mean(render_film: Render, photometric: str) -> None:
    ds = plane(gray_film(PhotometricInterpretation=photometric), dot())
    assert render_film(ds, draw_overlays=True).pictures[0][4, 5] == 255


def test_graphics_show_on_white(render_film: Render) -> None:
    cells = np.full((8, 10), 4095, np.uint16)
    picture = render_film(plane(film(cells, **WINDOW), dot()), draw_overlays=True).pictures[0]
    assert (picture[4, 5], picture[4, 4], picture[3, 5]) == (255, 0, 0)


def test_graphics_are_drawn_into_colour(render_film: Render) -> None:
    pixels = np.full((8, 10, 3), (200, 30, 30), np.uint8)
    picture = render_film(plane(film(pixels, Modality="US"), dot()), draw_overlays=True).pictures[0]
    assert picture[4, 5].tolist() == [255, 255, 255]
    assert picture[0, 0].tolist() == [200, 30, 30]


@pytest.mark.parametrize(
    ("origin", "place"),
    # the plane is 3 x 4 with its last pixel (2, 3) set; origin 1\1 is the image's first pixel
    [([1, 1], [2, 3]), ([3, 2], [4, 4]), ([0, -1], [1, 1]), ([6, 7], [7, 9])],
)
def test_origin_places_a_smaller_plane(render_film: Render, origin: list[int], place: list[int]) -> None:
    ds = plane(gray_film(), dot(2, 3, (3, 4)), origin=origin)
    assert white(render_film(ds, draw_overlays=True).pictures[0]) == [place]


def test_what_lies_outside_the_image_is_cut_off(render_film: Render) -> None:
    ds = plane(gray_film(), np.ones((20, 30)), origin=[-3, -4])
    picture = render_film(ds, draw_overlays=True).pictures[0]
    assert (picture == 255).all()


def test_two_planes_are_drawn_together(render_film: Render) -> None:
    ds = plane(plane(gray_film(), dot(2, 2)), dot(6, 7), 0x6002)
    assert white(render_film(ds, draw_overlays=True).pictures[0]) == [[2, 2], [6, 7]]


def test_plane_in_the_unused_bits_is_drawn(render_film: Render) -> None:
    ds = embedded(film(GRAY | dot(3, 3).astype(np.uint16) << 12, **WINDOW), 12)
    made = render_film(ds, draw_overlays=True)
    assert (white(made.pictures[0]), made.codes) == ([[3, 3]], [])


def test_plane_below_the_values_is_drawn(render_film: Render) -> None:
    ds = embedded(film(GRAY << 4 | dot(3, 3), HighBit=15, **WINDOW), 0)
    assert white(render_film(ds, draw_overlays=True).pictures[0]) == [[3, 3]]


@pytest.mark.parametrize(
    ("spacing", "size", "block"),
    # twice as many rows: row 4 becomes 8 and 9; twice as many columns: column 5 becomes 10 and 11
    [([0.4, 0.2], (16, 10), [[8, 5], [9, 5]]), ([0.2, 0.4], (8, 20), [[4, 10], [4, 11]])],
)
def test_place_is_right_on_a_squared_picture(
    render_film: Render, spacing: list[float], size: tuple[int, int], block: list[list[int]]
) -> None:
    picture = render_film(plane(gray_film(PixelSpacing=spacing), dot(4, 5)), draw_overlays=True).pictures[0]
    assert picture.shape == size
    assert [place for place in np.argwhere(picture == 255).tolist() if place[0] > 2] == block


def test_frames_of_a_plane_need_not_begin_at_a_byte(render_film: Render) -> None:
    # planes of 3 x 3 are 9 bits; overlay frames 1 and 2 belong to the image's frames 2 and 3
    frames = np.stack([GRAY] * 4)
    bitmaps = np.stack([dot(0, 2, (3, 3)), dot(2, 1, (3, 3))])
    ds = plane(film(frames, **WINDOW), bitmaps, frames=2, first_frame=2, origin=[4, 4])
    made = render_film(ds, draw_overlays=True)
    assert [white(picture) for picture in made.pictures] == [[], [[3, 5]], [[5, 4]], []]


def test_long_plane_is_read_frame_by_frame(render_film: Render) -> None:
    bitmaps = np.stack([dot(n // 10, n % 10) for n in range(20, 60)])
    frames = np.stack([GRAY] * 40)
    made = render_film(plane(film(frames, **WINDOW), bitmaps, frames=40), draw_overlays=True)
    assert [white(picture) for picture in made.pictures] == [[[n // 10, n % 10]] for n in range(20, 60)]


def test_plane_without_frames_is_that_of_every_frame(render_film: Render) -> None:
    frames = np.stack([GRAY] * 3)
    made = render_film(plane(film(frames, **WINDOW), dot()), draw_overlays=True)
    assert [white(picture) for picture in made.pictures] == [[[4, 5]]] * 3


def test_plane_of_one_frame_leaves_the_others_alone(render_film: Render) -> None:
    frames = np.stack([GRAY] * 3)
    made = render_film(plane(film(frames, **WINDOW), dot(), first_frame=3), draw_overlays=True)
    assert [white(picture) for picture in made.pictures] == [[], [], [[4, 5]]]


# --- shutter, raw data, burned-in text -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP", ["CIRCULAR", "RECTANGULAR"]])
def test_shutter_is_told_of(render_film: Render, shape: str | list[str]) -> None:
    assert render_film(gray_film(ShutterShape=shape)).codes == ["shutter_not_applied"]


@pytest.mark.parametrize("elements", [{}, {"ShutterShape": ""}, {"CollimatorShape": "RECTANGULAR"}])
def test_no_shutter_is_none(render_film: Render, elements: dict[str, Any]) -> None:
    assert render_film(gray_film(**elements)).codes == []


@pytest.mark.parametrize("shared", [True, False])
def test_shutter_of_a_functional_group_is_told_of(render_film: Render, shared: bool) -> None:
    inner, group = Dataset(), Dataset()
    inner.ShutterShape = "CIRCULAR"
    group.FrameDisplayShutterSequence = Sequence([inner])
    ds = film(np.stack([GRAY] * 2), Modality="XA", **WINDOW)
    groups = {"SharedFunctionalGroupsSequence": [group], "PerFrameFunctionalGroupsSequence": [Dataset(), group]}
    keyword = list(groups)[0 if shared else 1]
    setattr(ds, keyword, Sequence(groups[keyword]))
    made = render_film(ds)
    assert made.codes == ["shutter_not_applied"]
    assert ("第 1 帧" if shared else "第 2 帧") in made.reply.warnings[0].message


@pytest.mark.parametrize(
    ("elements", "codes"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, ["for_processing"]),
        ({"PresentationIntentType": "FOR PRESENTATION"}, []),
        ({"BurnedInAnnotation": "YES"}, ["burned_in_annotation"]),
        ({"BurnedInAnnotation": "NO"}, []),
        (
            {"BurnedInAnnotation": "YES", "PresentationIntentType": "FOR PROCESSING", "ShutterShape": "CIRCULAR"},
            ["for_processing", "burned_in_annotation", "shutter_not_applied"],
        ),
    ],
)
def test_header_that_asks_for_care_is_told_of(render_film: Render, elements: dict[str, Any], codes: list[str]) -> None:
    made = render_film(gray_film(**elements))
    assert (made.codes, made.reply.failure) == (codes, None)
