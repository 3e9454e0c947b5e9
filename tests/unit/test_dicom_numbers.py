"""Numbers in text attributes: decimal commas, padding, and what is no number. Right values are worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom.header.values import integer, numbers
from dicom_processor import read_file
from models import ReadReply, ReadRequest, RenderOptions, WindowSource
from tests.dicom_elements import with_element
from tests.dicom_files import a_dicom_file


def a_spacing(value: bytes) -> Dataset:
    ds = Dataset()
    tag = Tag(0x0028, 0x0030)
    ds[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    return ds


def read(path: Path, content: bytes, options: RenderOptions | None = None) -> ReadReply:
    (path / "a.dcm").write_bytes(content)
    return read_file(ReadRequest(str(path / "a.dcm"), True, str(path / "out"), options or RenderOptions()))


def codes(reply: ReadReply) -> set[str]:
    assert reply.failure is None and reply.header is not None
    return {warning.code for warning in (*reply.warnings, *reply.header.warnings)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0,286\\0,143", (0.286, 0.143)),
        (b"0.286\\0,143", (0.286, 0.143)),
        (b" 0,286 \\\t0,143\r\n", (0.286, 0.143)),
        (b"0,286\0\\0,143\0\0", (0.286, 0.143)),
        (b",5\\5,", (0.5, 5.0)),
        (b"-1,5E2\\+2e-1", (-150.0, 0.2)),
    ],
)
def test_a_comma_is_a_decimal_point_and_padding_is_ignored(value: bytes, expected: tuple[float, ...]) -> None:
    assert numbers(a_spacing(value), "PixelSpacing") == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    [b"1.234,5", b"1,234.5", b"1,2,3", b"1 000", b"0, 5", b"0.1\0006", b"0.1 mm", b"1_000", b"inf", b"nan", b"0x10",
     b"\xa3\xb1", b",", b"."],
)  # fmt: skip
def test_anything_else_is_no_number(value: bytes) -> None:
    assert all(map(math.isnan, numbers(a_spacing(value), "PixelSpacing")))


@pytest.mark.parametrize(("value", "expected"), [(b"3", 3), (b"3,0", 3), (b"3.", 3), (b"3,5", None), (b"1e999", None)])
def test_a_fraction_is_no_integer(value: bytes, expected: int | None) -> None:
    assert integer(a_spacing(value), "PixelSpacing") == expected


@pytest.mark.parametrize(
    ("keyword", "value", "size"),
    [  # a file of 16 x 16 pixels whose rows lie twice as far apart, or columns three times
        ("PixelSpacing", b"0,286\\0,143", (16, 32)),
        ("PixelSpacing", b"0,1\\0.3", (48, 16)),
        ("ImagerPixelSpacing", b" 0,286\0\\ 0,143\0", (16, 32)),
        ("NominalScannedPixelSpacing", b"0,30\\0,10", (16, 48)),
        ("PixelAspectRatio", b"2,0\\1,0", (16, 32)),
    ],
)
def test_a_spacing_with_commas_makes_pixels_square(
    tmp_path: Path, keyword: str, value: bytes, size: tuple[int, int]
) -> None:
    reply = read(tmp_path, with_element(a_dicom_file(), keyword, value))
    assert "pixel_spacing_unreadable" not in codes(reply)
    assert [(image.width_px, image.height_px) for image in reply.images] == [size]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", b"1.234,5\\1"), ("PixelSpacing", b"0.3"), ("PixelSpacing", b"0\\0"),
        ("PixelSpacing", b"0.2 mm\\0.1 mm"), ("PixelSpacing", b"0,2;0,1"), ("PixelSpacing", b"0.2\\"),
        ("ImagerPixelSpacing", b"0.2\0x\\0.1"), ("PixelAspectRatio", b"2:1"), ("PixelAspectRatio", b"-2\\1"),
    ],
)  # fmt: skip
def test_a_spacing_that_cannot_be_used_is_warned_of(tmp_path: Path, keyword: str, value: bytes) -> None:
    reply = read(tmp_path, with_element(a_dicom_file(), keyword, value))
    assert "pixel_spacing_unreadable" in codes(reply)
    assert [(image.width_px, image.height_px) for image in reply.images] == [(16, 16)]


def test_another_usable_spacing_stands_in_for_an_unusable_one(tmp_path: Path) -> None:
    content = with_element(a_dicom_file(), "PixelSpacing", b"?\\?")
    reply = read(tmp_path, with_element(content, "ImagerPixelSpacing", b"0,2\\0,1"))
    assert "pixel_spacing_unreadable" not in codes(reply)
    assert (reply.images[0].width_px, reply.images[0].height_px) == (16, 32)


@pytest.mark.parametrize("value", [None, b"", b"  ", b"\0\0"])
def test_no_spacing_at_all_is_no_fault(tmp_path: Path, value: bytes | None) -> None:
    content = a_dicom_file() if value is None else with_element(a_dicom_file(), "PixelSpacing", value)
    assert "pixel_spacing_unreadable" not in codes(read(tmp_path, content))


def test_nothing_is_said_of_spacing_if_square_pixels_are_not_wanted(tmp_path: Path) -> None:
    content = with_element(a_dicom_file(), "PixelSpacing", b"?\\?")
    assert codes(read(tmp_path, content, RenderOptions(square_pixels=False))) == set()


def test_a_window_with_commas_is_the_files_window(tmp_path: Path) -> None:
    content = with_element(a_dicom_file(), "WindowCenter", b"512,5\\40")
    reply = read(tmp_path, with_element(content, "WindowWidth", b"1024,0\\400"))
    window = reply.images[0].window
    assert window is not None
    assert (window.center, window.width, window.source) == (512.5, 1024.0, WindowSource.FILE)
    assert codes(reply) == set()


@pytest.mark.parametrize("value", [b"1.234,5", b"512 HU", b"middle", b"?\\?"])
def test_a_window_that_is_no_number_is_passed_over_with_a_warning(tmp_path: Path, value: bytes) -> None:
    reply = read(tmp_path, with_element(a_dicom_file(), "WindowCenter", value))
    assert codes(reply) == {"window_unreadable"}


@pytest.mark.parametrize("value", [b"?\\512", b"512\\", b"", b"0"])
def test_a_window_that_is_usable_or_none_is_not_warned_of(tmp_path: Path, value: bytes) -> None:
    content = with_element(a_dicom_file(), "WindowCenter", value)
    content = with_element(content, "WindowWidth", b"0" if value == b"0" else b"1024\\1024")
    assert "window_unreadable" not in codes(read(tmp_path, content))


@pytest.mark.parametrize("value", [b"1,234", b"2.5", b"1\0x"])
def test_a_number_of_frames_that_is_no_integer_fails_the_file(tmp_path: Path, value: bytes) -> None:
    reply = read(tmp_path, with_element(a_dicom_file(), "NumberOfFrames", value))
    assert reply.failure is not None
    assert reply.failure.code == "missing_attribute"


def test_rescale_with_commas_moves_the_window(tmp_path: Path) -> None:
    plain = a_dicom_file(uid="1.2.3")
    comma = with_element(with_element(plain, "RescaleSlope", b"1,5"), "RescaleIntercept", b"-100,0")
    point = with_element(with_element(plain, "RescaleSlope", b"1.5"), "RescaleIntercept", b"-100.0")
    pictures = [Path(read(tmp_path, content).images[0].path).read_bytes() for content in (comma, point, plain)]
    assert pictures[0] == pictures[1] != pictures[2]
