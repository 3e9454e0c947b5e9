"""Each way to know that a JPEG's scan was whole: what passes is right to the last pixel, what was cut does not pass."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames

from dicom.codestreams import jpeg_segments, read_jpeg
from dicom.pixel_decoders import decode
from dicom.stored_values import Cells
from dicom.whole_scans import decode_unwarned, require_whole_scan, takes_whole_scan
from errors import TruncatedPixelDataError
from tests.unit import image_files as files
from tests.unit.test_dicom_processor_pictures import pydicom_images
from tests.unit.test_pixel_decoders import attributes

RNG = np.random.default_rng(29)


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Whichever tests ran before."""
    RNG.bit_generator.state = np.random.default_rng(29).bit_generator.state


EOI = b"\xff\xd9"


def screen(rows: int = 96, columns: int = 120, *, gray: bool = False) -> NDArray[np.uint8]:
    """Noise in the middle of black, as an ultrasound screen is."""
    pixels = np.zeros((rows, columns, 3), np.uint8)
    middle = pixels[rows // 4 : rows // 2, columns // 4 : columns // 2]
    middle[:] = RNG.integers(0, 256, middle.shape)
    return pixels[..., 0].copy() if gray else pixels


def by_pillow(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


DCT = {
    "4:4:4": by_pillow(screen(), subsampling=0),
    "4:2:2": by_pillow(screen(), subsampling=1),
    "4:2:0": by_pillow(screen(), subsampling=2),
    "4:1:1": bytes(imagecodecs.jpeg8_encode(screen(), subsampling="411")),
    "gray": by_pillow(screen(gray=True)),
    "rgb": by_pillow(screen(), keep_rgb=True),
    "progressive": by_pillow(screen(), progressive=True),
    "optimised": by_pillow(screen(), optimize=True),
    "restarts": by_pillow(screen(), restart_marker_blocks=3),
    "odd size": by_pillow(screen(61, 83), subsampling=2),
}


def colour_of(data: bytes) -> str:
    info = read_jpeg(data)
    return "Gray" if info.samples == 1 else "RGB" if info.adobe_transform == 0 else "YCbCr"


def unwarned(data: bytes) -> Cells | None:
    return decode_unwarned(data, read_jpeg(data), colour_of(data))


def by_imagecodecs(data: bytes) -> Cells:
    colour = colour_of(data)
    inside, outside = ("GRAYSCALE", "GRAYSCALE") if colour == "Gray" else (colour.upper(), "RGB")
    cells: Cells = imagecodecs.jpeg8_decode(data, colorspace=inside, outcolorspace=outside)
    return cells


def cuts(data: bytes) -> list[bytes]:
    """The stream cut within its last scan, near its end at every byte, EOI put behind."""
    scan = data.rindex(b"\xff\xda")
    start, end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big"), len(data) - 2
    places = {*range(max(start, end - 24), end), *(start + (end - start) * part // 7 for part in range(7))}
    return [data[:place] + EOI for place in sorted(places)]


# --- decoders that stop at warnings --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DCT.values(), ids=DCT)
def test_an_unwarned_decode_is_what_the_other_decoder_makes(data: bytes) -> None:
    cells = unwarned(data)
    assert cells is not None
    assert np.array_equal(cells, by_imagecodecs(data))


@pytest.mark.parametrize("data", DCT.values(), ids=DCT)
def test_no_cut_scan_decodes_unwarned(data: bytes) -> None:
    assert [cut for cut in cuts(data) if unwarned(cut) is not None] == []


def test_pydicoms_pictures_decode_alike() -> None:
    compared = 0
    for path in pydicom_images():
        ds = pydicom.dcmread(path, force=True)
        if getattr(ds.file_meta, "TransferSyntaxUID", "") not in (files.JPEG_BASELINE, files.JPEG_EXTENDED):
            continue
        for data in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))):
            cells = unwarned(data)
            compared += cells is not None
            assert cells is None or np.array_equal(cells, by_imagecodecs(data))
    assert compared >= 3


def test_colours_that_libjpeg_takes_otherwise_are_left_to_the_other_decoder() -> None:
    assert decode_unwarned(DCT["4:4:4"], read_jpeg(DCT["4:4:4"]), "RGB") is None


def test_twelve_bits_are_left_to_the_other_decoder() -> None:
    data = bytes(imagecodecs.jpeg8_encode(np.full((16, 16), 1100, np.uint16), bitspersample=12))
    assert decode_unwarned(data, read_jpeg(data), "Gray") is None


def test_bytes_between_scan_and_end_marker_are_warned_of_and_yet_no_fault() -> None:
    pixels = screen(gray=True)
    data = by_pillow(pixels)
    padded = data[:-2] + b"\0" * 64 + EOI
    assert unwarned(padded) is None
    decoded = decode(files.JPEG_BASELINE, padded, attributes(pixels, 8))
    assert np.array_equal(decoded.cells, by_imagecodecs(data))


@pytest.mark.parametrize("name", ["4:2:2", "gray", "progressive"])
def test_a_screen_cut_in_its_black_border_is_refused(name: str) -> None:
    data = DCT[name]
    pixels = screen(gray=name == "gray")
    photometric = "MONOCHROME2" if name == "gray" else "YBR_FULL_422"
    decode(files.JPEG_BASELINE, data, attributes(pixels, 8, photometric=photometric))
    with pytest.raises(TruncatedPixelDataError):
        decode(files.JPEG_BASELINE, data[:-12] + EOI, attributes(pixels, 8, photometric=photometric))


# --- the bits of JPEG Lossless -------------------------------------------------------------------------------------


def film(bits: int) -> NDArray[Any]:
    """Noise of every magnitude with a black corner."""
    spread = RNG.integers(0, 1 << bits, (60, 77)) >> RNG.integers(0, bits, (60, 77))
    spread[-20:, -30:] = 0
    return spread.astype(np.uint8 if bits <= 8 else np.uint16)


def lossless(pixels: NDArray[Any], bits: int, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=predictor))


def decoded(data: bytes) -> Cells:
    cells: Cells = imagecodecs.jpeg8_decode(data, colorspace="UNKNOWN", outcolorspace="UNKNOWN")
    return cells


def never(_: bytes) -> Cells:
    raise AssertionError("decoded a second time")


@pytest.mark.parametrize("bits", [2, 8, 10, 12, 16])
def test_a_whole_lossless_film_with_a_black_corner_is_decoded_once(bits: int) -> None:
    data = lossless(film(bits), bits)
    require_whole_scan(data, decoded(data), never)


def test_the_largest_difference_has_no_bits_of_its_own() -> None:
    pixels = np.zeros((4, 9), np.uint16)
    pixels[1, ::2] = 0x8000
    data = lossless(pixels, 16)
    assert takes_whole_scan(data, decoded(data))


@pytest.mark.parametrize("bits", [8, 14])
def test_a_cut_lossless_film_never_takes_its_whole_scan(bits: int) -> None:
    for cut in cuts(lossless(film(bits), bits)):
        assert not takes_whole_scan(cut, decoded(cut))


def test_a_cut_lossless_film_is_refused_although_its_corner_is_black() -> None:
    pixels = film(12)
    data = lossless(pixels, 12)
    with pytest.raises(TruncatedPixelDataError):
        decode(files.JPEG_LOSSLESS, data[:-20] + EOI, attributes(pixels, 12))


@pytest.mark.parametrize("junk", [b"\0\0", b"\xff\xff", b"\x55" * 40])
def test_what_follows_a_whole_scan_leaves_it_to_the_second_decode(junk: bytes) -> None:
    pixels = film(12)
    data = lossless(pixels, 12)
    padded = data[:-2] + junk + EOI
    assert not takes_whole_scan(padded, pixels)
    assert np.array_equal(decode(files.JPEG_LOSSLESS, padded, attributes(pixels, 12)).cells, pixels)


def test_bits_of_a_second_scan_or_behind_another_marker_do_not_count() -> None:
    pixels = film(12)
    data = lossless(pixels, 12)
    start = [behind for _, _, behind in jpeg_segments(data)][-1]
    half = (start + len(data)) // 2
    assert not takes_whole_scan(data[:half] + b"\xff\xd0" + data[half:], pixels)
    assert not takes_whole_scan(data[:-2], pixels)


@pytest.mark.parametrize("predictor", [2, 5, 7])
def test_other_predictors_are_left_to_the_second_decode(predictor: int) -> None:
    pixels = film(12)
    data = lossless(pixels, 12, predictor)
    assert not takes_whole_scan(data, decoded(data))
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 12)).cells, pixels)


def test_colours_are_left_to_the_second_decode() -> None:
    pixels = screen()
    data = bytes(
        imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, colorspace="UNKNOWN", outcolorspace="UNKNOWN")
    )
    assert not takes_whole_scan(data, decoded(data))
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 8)).cells, pixels)
