"""Codestreams of fewer or more bits than the data set declares: the values that are there, told of, or as meant."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom.rendering.frame_rendering import RenderedFrame
from dicom_processor import read_file
from models import ReadRequest, RenderOptions
from tests.unit import image_files as files
from tests.unit.image_files import encapsulated, image, to_bytes
from tests.unit.test_dicom_processor_pictures import frames_of

RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
"""64 x 256 pixels of 8 bits: the column is the value."""


def dct(pixels: NDArray[Any], bits: int = 8, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=bits, **options))


def lossless(pixels: NDArray[Any], bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=1))


def jpeg_2000(pixels: NDArray[Any], bits: int) -> bytes:
    return bytes(encode_array(pixels, bits_stored=bits, photometric_interpretation=2))


def film(stream: bytes, syntax: str, stored: int, shape: tuple[int, int] = (64, 256), **elements: Any) -> bytes:
    """A file of one frame that declares ``stored`` bits in 16."""
    ds = image(np.zeros(shape, np.uint16), BitsStored=stored, Modality="DX", **elements)
    return to_bytes(encapsulated(ds, [stream]), syntax)


def one(content: bytes, **options: Any) -> tuple[NDArray[np.uint8], list[str]]:
    (frame,) = frames_of(content, **options)
    return frame.levels.pixels, _codes(frame)


def _codes(frame: RenderedFrame) -> list[str]:
    return [warning.code for warning in frame.warnings]


# --- 8-bit DCT under more ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "elements"),
    [
        (12, {"WindowCenter": 2048, "WindowWidth": 4096}),
        (12, {}),
        (10, {"WindowCenter": 512, "WindowWidth": 1024}),
        (9, {"WindowCenter": 256, "WindowWidth": 512}),
        (16, {"WindowCenter": 32768, "WindowWidth": 65535}),
        (12, {"WindowCenter": 1500, "WindowWidth": 600}),
        (12, {"WindowCenter": 40, "WindowWidth": 400, "RescaleIntercept": -1024, "RescaleSlope": 1}),
        (12, {"WindowCenter": 2048, "WindowWidth": 4096, "PixelPaddingValue": 255}),
    ],
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_eight_bits_are_shown_as_they_are(stored: int, elements: dict[str, Any], options: dict[str, Any]) -> None:
    stream = dct(RAMP) if not options else _progressive(RAMP)
    levels, codes = one(film(stream, files.JPEG_BASELINE, stored, **elements))
    assert codes == ["bit_depth_mismatch"]
    assert np.abs(levels.astype(int) - RAMP).max() <= 2


def _progressive(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=98, progressive=True)
    return buffer.getvalue()


def test_eight_bits_under_a_lut_for_twelve_are_shown_as_they_are() -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    levels, codes = one(film(dct(RAMP), files.JPEG_BASELINE, 12, VOILUTSequence=Sequence([item])))
    assert codes == ["bit_depth_mismatch"]
    assert np.abs(levels.astype(int) - RAMP).max() <= 2


def test_eight_bits_are_inverted_where_low_is_bright() -> None:
    elements: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2048, "WindowWidth": 4096}
    levels, _ = one(film(dct(RAMP), files.JPEG_BASELINE, 12, **elements))
    assert np.abs(levels.astype(int) - (255 - RAMP.astype(int))).max() <= 2


def test_a_window_for_eight_bits_is_kept() -> None:
    """128/128 LINEAR: black up to 128 - 0.5 - 63.5 = 64, white above 191."""
    levels, codes = one(film(dct(RAMP), files.JPEG_BASELINE, 12, WindowCenter=128, WindowWidth=128))
    assert codes == ["bit_depth_mismatch"]
    assert (levels[:, :62] == 0).all()
    assert (levels[:, 194:] == 255).all()


def test_the_requests_window_is_kept() -> None:
    content = film(dct(RAMP), files.JPEG_BASELINE, 12, WindowCenter=2048, WindowWidth=4096)
    levels, codes = one(content, window_center=64, window_width=128)
    assert codes == ["bit_depth_mismatch"]
    assert (levels[:, 132:] == 255).all()


def test_eight_bits_under_eight_are_no_contradiction() -> None:
    ds = encapsulated(image(RAMP, WindowCenter=128, WindowWidth=256), [dct(RAMP)])
    assert one(to_bytes(ds, files.JPEG_BASELINE))[1] == []


# --- lossless codecs -----------------------------------------------------------------------------------------------

EIGHT = {
    files.JPEG_LOSSLESS: lossless(RAMP, 8),
    files.JPEG_LS: bytes(imagecodecs.jpegls_encode(RAMP)),
    files.JPEG_2000: jpeg_2000(RAMP, 8),
    files.HTJ2K: bytes(imagecodecs.htj2k_encode(RAMP)),
    files.JPEG_XL: bytes(imagecodecs.jpegxl_encode(RAMP, lossless=True)),
}


@pytest.mark.parametrize("syntax", EIGHT)
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1500, 400), (600, 1000)])
def test_eight_lossless_bits_under_a_window_for_twelve_are_shown_as_they_are(
    syntax: str, center: int, width: int
) -> None:
    levels, codes = one(film(EIGHT[syntax], syntax, 12, WindowCenter=center, WindowWidth=width))
    assert codes == ["bit_depth_mismatch"]
    assert np.array_equal(levels, RAMP)


@pytest.mark.parametrize("syntax", EIGHT)
def test_eight_lossless_bits_with_a_window_of_theirs_are_what_they_are(syntax: str) -> None:
    """100/100 LINEAR: 255 * ((x - 99.5) / 99 + 0.5): 50 is 0, 100 is 128.8, 149 is 255."""
    levels, codes = one(film(EIGHT[syntax], syntax, 12, WindowCenter=100, WindowWidth=100))
    assert codes == []
    assert [levels[0, column] for column in (50, 100, 149, 200)] == [0, 129, 255, 255]


WIDE = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (64, 1))


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (files.JPEG_2000, jpeg_2000(WIDE, 12)),
        (files.JPEG_LOSSLESS, lossless(WIDE, 12)),
        (files.JPEG_LS, bytes(imagecodecs.jpegls_encode(WIDE))),
    ],
)
@pytest.mark.parametrize("elements", [{"WindowCenter": 2048, "WindowWidth": 4096}, {}])
def test_twelve_bits_under_sixteen_are_the_values_that_the_window_means(
    syntax: str, stream: bytes, elements: dict[str, Any]
) -> None:
    levels, codes = one(film(stream, syntax, 16, **elements))
    assert codes == []
    assert np.abs(levels.astype(int) - WIDE / 4096 * 255).max() <= 2


def test_a_ct_of_fewer_bits_than_declared_keeps_its_hounsfield_units() -> None:
    """-1024 + 16 x; 40/400 LINEAR: 255 * ((u - 39.5) / 399 + 0.5): x = 64 is 0 HU, 102.3; x = 80 is above 239."""
    elements: dict[str, Any] = {"RescaleIntercept": -1024, "RescaleSlope": 1, "WindowCenter": 40, "WindowWidth": 400}
    levels, codes = one(film(jpeg_2000(WIDE, 12), files.JPEG_2000, 16, **elements))
    assert codes == []
    assert [levels[0, column] for column in (0, 64, 80)] == [0, 102, 255]


def test_twelve_bits_under_a_window_for_sixteen_are_shown_from_end_to_end() -> None:
    content = film(jpeg_2000(WIDE, 12), files.JPEG_2000, 16, WindowCenter=32768, WindowWidth=65536)
    levels, codes = one(content)
    assert codes == ["bit_depth_mismatch"]
    assert levels.min() == 0
    assert levels.max() == 255
    assert np.abs(levels.astype(int) - WIDE / 4080 * 255).max() <= 4


def test_eight_bits_of_colour_use_the_whole_range() -> None:
    patch = np.full((16, 16, 3), (200, 30, 30), np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(patch, lossless=True, colorspace="UNKNOWN", outcolorspace="UNKNOWN"))
    ds = image(np.zeros((16, 16, 3), np.uint16), BitsStored=12)
    levels, _ = one(to_bytes(encapsulated(ds, [stream]), files.JPEG_LOSSLESS))
    assert levels[0, 0].tolist() == [200, 30, 30]


# --- more bits than declared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [8, 10, 11])
@pytest.mark.parametrize("syntax", [files.JPEG_2000, files.JPEG_LOSSLESS])
def test_values_beyond_bits_stored_are_not_wrapped(syntax: str, stored: int) -> None:
    stream = jpeg_2000(WIDE, 12) if syntax == files.JPEG_2000 else lossless(WIDE, 12)
    levels, codes = one(film(stream, syntax, stored, WindowCenter=2048, WindowWidth=4096))
    assert codes == ["bit_depth_mismatch"]
    assert (np.diff(levels[0].astype(int)) >= 0).all()
    assert levels[0, -1] >= 253


def test_more_bits_that_nothing_needs_are_no_contradiction() -> None:
    content = film(jpeg_2000(WIDE, 14), files.JPEG_2000, 12, WindowCenter=2048, WindowWidth=4096)
    levels, codes = one(content)
    assert codes == []
    assert np.abs(levels.astype(int) - WIDE / 4096 * 255).max() <= 2


def test_the_warning_reaches_the_reply_once(tmp_path: Path) -> None:
    ds = image(np.zeros((2, 64, 256), np.uint16), BitsStored=12, WindowCenter=2048, WindowWidth=4096)
    path = tmp_path / "a.dcm"
    path.write_bytes(to_bytes(encapsulated(ds, [dct(RAMP), dct(RAMP)]), files.JPEG_BASELINE))
    reply = read_file(ReadRequest(str(path), True, str(tmp_path / "a"), RenderOptions()))
    assert len(reply.images) == 2
    assert [warning.code for warning in reply.warnings] == ["bit_depth_mismatch"]
