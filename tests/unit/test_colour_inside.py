"""Photometric Interpretations that contradict the codestream, for each transfer syntax."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from PIL import Image
from rle.utils import encode_pixel_data

from tests.unit import image_files as files
from tests.unit.image_files import encapsulated, image, to_bytes
from tests.unit.test_dicom_processor_pictures import frames_of

RED = np.full((64, 64, 3), (200, 30, 30), np.uint8)
IMPOSSIBLE = ["YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"]
RAW: dict[str, Any] = {"colorspace": "UNKNOWN", "outcolorspace": "UNKNOWN"}


def lossless(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, **(options or RAW)))


def jpeg_2000(pixels: NDArray[np.uint8], *, transformed: bool = False) -> bytes:
    return bytes(encode_array(pixels, bits_stored=8, photometric_interpretation=1, use_mct=transformed))


def rle(pixels: NDArray[np.uint8]) -> bytes:
    rows, columns, samples = pixels.shape
    data: bytes = encode_pixel_data(
        pixels.tobytes(), rows=rows, columns=columns, samples_per_pixel=samples, bits_allocated=8, number_of_frames=1
    )
    return data


UNTRANSFORMED: dict[str, tuple[str, Callable[[NDArray[np.uint8]], bytes]]] = {
    "lossless": (files.JPEG_LOSSLESS, lossless),
    "lossless-57": ("1.2.840.10008.1.2.4.57", lossless),
    "jpeg-ls": (files.JPEG_LS, lambda pixels: bytes(imagecodecs.jpegls_encode(pixels))),
    "rle": (files.RLE, rle),
    "jpeg-2000": (files.JPEG_2000, jpeg_2000),
}


def shown(pixels: NDArray[np.uint8], data: bytes, syntax: str, photometric: str) -> NDArray[np.uint8]:
    ds = encapsulated(image(pixels, PhotometricInterpretation=photometric), [data])
    return frames_of(to_bytes(ds, syntax))[0].levels.pixels


def ybr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


@pytest.mark.parametrize("photometric", ["RGB", *IMPOSSIBLE])
@pytest.mark.parametrize("name", UNTRANSFORMED)
def test_rgb_stays_rgb_under_a_label_that_cannot_be(name: str, photometric: str) -> None:
    syntax, encode = UNTRANSFORMED[name]
    assert shown(RED, encode(RED), syntax, photometric)[0, 0].tolist() == [200, 30, 30]


@pytest.mark.parametrize("colour", [(30, 200, 30), (0, 0, 255), (128, 128, 128), (250, 250, 250), (0, 0, 0)])
def test_any_colour_stays_itself(colour: tuple[int, int, int]) -> None:
    pixels = np.full((64, 64, 3), colour, np.uint8)
    assert shown(pixels, lossless(pixels), files.JPEG_LOSSLESS, "YBR_FULL_422")[0, 0].tolist() == list(colour)


@pytest.mark.parametrize("name", UNTRANSFORMED)
def test_ybr_full_is_what_samples_may_be(name: str) -> None:
    """(200, 30, 30) is Y 80.8, Cb 99.3, Cr 213.0."""
    samples = np.full((64, 64, 3), (81, 99, 213), np.uint8)
    syntax, encode = UNTRANSFORMED[name]
    levels = shown(samples, encode(samples), syntax, "YBR_FULL")
    assert np.abs(levels[0, 0].astype(int) - (200, 30, 30)).max() <= 2


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_ICT"])
@pytest.mark.parametrize("name", UNTRANSFORMED)
def test_gray_that_is_written_as_ybr_shows_what_it_is(name: str, photometric: str) -> None:
    """An ultrasound screen: gray and black, chroma 128, with a coloured spot."""
    screen = np.zeros((64, 64, 3), np.uint8)
    screen[10:40] = np.arange(64, dtype=np.uint8)[:, np.newaxis] * 3
    screen[50:60, 50:60] = (200, 30, 30)
    syntax, encode = UNTRANSFORMED[name]
    levels = shown(screen, encode(ybr(screen)), syntax, photometric)
    assert np.abs(levels.astype(int) - screen).max() <= 3
    levels = shown(screen, encode(screen), syntax, photometric)
    assert np.array_equal(levels, screen)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
def test_adobes_marker_beats_the_label_of_a_lossless_stream(photometric: str) -> None:
    stream = lossless(RED, colorspace="RGB", outcolorspace="RGB")
    marker = stream.index(b"Adobe\0")
    assert stream[marker + 11] == 0
    assert shown(RED, stream, files.JPEG_LOSSLESS, photometric)[0, 0].tolist() == [200, 30, 30]


def test_components_named_rgb_beat_the_label_of_a_lossless_stream() -> None:
    stream = lossless(RED, colorspace="RGB", outcolorspace="RGB")
    at = stream.index(b"\xff\xee")
    nameless = stream[:at] + stream[at + 16 :]
    assert shown(RED, nameless, files.JPEG_LOSSLESS, "YBR_FULL")[0, 0].tolist() == [200, 30, 30]


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"])
def test_a_transformed_jpeg_2000_is_rgb_under_any_label(photometric: str) -> None:
    stream = jpeg_2000(RED, transformed=True)
    assert shown(RED, stream, files.JPEG_2000, photometric)[0, 0].tolist() == [200, 30, 30]


# --- DCT -----------------------------------------------------------------------------------------------------------


def by_pillow(**options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(RED).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"])
@pytest.mark.parametrize(
    "stream",
    [by_pillow(subsampling=0), by_pillow(subsampling=1), by_pillow(subsampling=2), by_pillow(keep_rgb=True)],
    ids=["4:4:4", "4:2:2", "4:2:0", "rgb"],
)
def test_a_dct_stream_that_names_its_colours_is_believed(stream: bytes, photometric: str) -> None:
    levels = shown(RED, stream, files.JPEG_BASELINE, photometric)
    assert np.abs(levels[0, 0].astype(int) - (200, 30, 30)).max() <= 3


@pytest.mark.parametrize("transform", [1, 2, 7])
def test_an_unknown_transform_of_adobes_is_ycbcr(transform: int) -> None:
    """As libjpeg takes it."""
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    stream = by_pillow(subsampling=0)
    levels = shown(RED, stream[:2] + marker + stream[20:], files.JPEG_BASELINE, "RGB")
    assert np.abs(levels[0, 0].astype(int) - (200, 30, 30)).max() <= 3


def a_photograph() -> NDArray[np.uint8]:
    """(128, 128, 3) uint8 of much light and shade and little colour, as most photographs are."""
    y, x = np.mgrid[0:128, 0:128]
    light = 128 + 100 * np.sin(x / 17) * np.cos(y / 13)
    return np.stack([light + 12 * np.sin(x / 30), light, light + 14 * np.cos(y / 40)], -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", UNTRANSFORMED)
def test_a_photograph_in_luminance_and_chrominance_is_known_by_its_samples(kind: str) -> None:
    syntax, encode = UNTRANSFORMED[kind]
    pixels = a_photograph()
    difference = np.abs(shown(ybr(pixels), encode(ybr(pixels)), syntax, "YBR_FULL_422").astype(int) - pixels)
    assert difference.mean() < 2


@pytest.mark.parametrize("colour", [(200, 150, 130), (120, 100, 90), (30, 200, 30), (130, 120, 125), (90, 110, 160)])
def test_one_colour_in_red_green_and_blue_stays(colour: tuple[int, int, int]) -> None:
    pixels = np.full((64, 64, 3), colour, np.uint8)
    assert np.array_equal(shown(pixels, lossless(pixels), files.JPEG_LOSSLESS, "YBR_FULL_422"), pixels)


@pytest.mark.parametrize("kind", UNTRANSFORMED)
def test_an_impossible_label_is_warned_of_and_a_possible_one_is_not(kind: str) -> None:
    syntax, encode = UNTRANSFORMED[kind]

    def notes(photometric: str) -> list[str]:
        ds = encapsulated(image(RED, PhotometricInterpretation=photometric), [encode(RED)])
        return list(frames_of(to_bytes(ds, syntax))[0].notes)

    assert notes("YBR_FULL_422") == ["colour_label_contradicted"]
    assert notes("RGB") == notes("YBR_FULL") == []
