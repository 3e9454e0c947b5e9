"""No picture by its nature, or a file that was cut off before its picture: the SOP class tells them apart."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from errors import FileError
from tests.unit.image_files import element
from tests.unit.test_dicom_processor_pictures import frames_of


@pytest.mark.parametrize(
    ("in_file", "in_meta", "code"),
    [
        ("1.2.840.10008.5.1.4.1.1.4", None, "truncated_file"),  # MR
        ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "truncated_file"),  # DX
        (None, "1.2.840.10008.5.1.4.1.1.2", "no_pixel_data"),  # a header alone, as directories of media name it
        ("1.2.840.10008.5.1.4.1.1.66.4", None, "truncated_file"),  # segmentation
        ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.2", "no_pixel_data"),  # a report, whatever meta says
        ("1.2.840.10008.5.1.4.1.1.481.2", None, "no_pixel_data"),  # RT dose may be a histogram only
        ("1.2.840.10008.5.1.4.1.1.4.2", None, "no_pixel_data"),  # MR spectroscopy
        ("1.2.840.10008.5.1.4.1.1.66", None, "no_pixel_data"),  # raw data
        ("1.3.12.2.1107.5.9.1", None, "no_pixel_data"),  # Siemens' non-image
        ("no uid at all", None, "no_pixel_data"),
        (None, None, "no_pixel_data"),
    ],
)
def test_a_file_that_ends_before_its_image_is_incomplete_if_its_class_is_that_of_images(
    in_file: str | None, in_meta: str | None, code: str
) -> None:
    elements = element(0x00080016, b"UI", in_file.encode()) if in_file else b""
    elements += element(0x00080060, b"CS", b"MR") + element(0x00100020, b"LO", b"P001")
    meta = element(0x00020002, b"UI", in_meta.encode()) if in_meta else b""
    content = bytes(128) + b"DICM" + meta + element(0x00020010, b"UI", b"1.2.840.10008.1.2.1") + elements
    assert refusal_of(content) == code


def test_an_mr_image_cut_between_any_two_elements_is_never_without_pixels_by_nature() -> None:
    whole = next(Path(pydicom.data.__file__).parent.rglob("MR_small.dcm")).read_bytes()
    dataset = pydicom.dcmread(BytesIO(whole))
    starts = [each.file_tell for each in dataset if each.file_tell is not None and 0x10 <= each.tag.group <= 0x7FE0]
    assert len(starts) > 40
    cuts = [whole[:start] for start in starts]
    assert {refusal_of(cut) for cut in cuts} <= {"truncated_file", "truncated_pixel_data"}


def refusal_of(content: bytes) -> str:
    with pytest.raises(FileError) as refused:
        frames_of(content)
    return refused.value.code
