"""No optional attribute, whatever its bytes, keeps a film from being read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom.exam.exam_rules import load_table
from dicom_processor import read_file
from models import ReadReply, ReadRequest, RenderOptions
from tests.dicom_elements import element, with_element, with_sequence
from tests.dicom_files import a_dicom_file

_EXAM_ATTRIBUTES = {keyword for attribute in load_table(None).attributes for keyword in attribute.split(".")}
_OPTIONAL = sorted(
    {
        "SpecificCharacterSet", "PatientName", "PatientBirthDate", "PatientSex", "StudyDescription",
        "SeriesDescription", "ProtocolName", "ViewPosition", "Modality", "StudyDate", "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing", "PixelAspectRatio", "WindowCenter", "WindowWidth", "VOILUTFunction",
        "PresentationLUTShape", "PixelPaddingValue", "RescaleType", "PixelIntensityRelationship", "PixelPresentation",
    }
    | _EXAM_ATTRIBUTES
)  # fmt: skip
_VALUES = [
    b"", b"\0", b"A\0B", b"\0\0ISO_IR 100", b"ISO_IR 100\0\0left over", b"ISO_IR 100\\\0", b"NONSENSE", b"idna",
    b"\xff\xfe\xfd", b"\\" * 50, b"x" * 5000, b"\x1b", b"\x1b$)A\xd5\xc5",
    "王".encode(), b"1e999", b"-1", b"\xfe\xff\x00\xe0\x10\0\0\0" + b"\xff" * 16,
]  # fmt: skip
_NUL_TERMS = [
    b"ISO_IR\x00100",
    b"ISO_IR 100\0junk",
    b"GB18030\\ISO\0IR 58",
    b"A\0B",
    b"ISO_IR \x01192",
]


def read(path: Path, content: bytes) -> ReadReply:
    (path / "a.dcm").write_bytes(content)
    return read_file(ReadRequest(str(path / "a.dcm"), True, str(path / "out"), RenderOptions()))


def codes(reply: ReadReply) -> set[str]:
    assert reply.header is not None
    return {warning.code for warning in reply.header.warnings}


@pytest.mark.parametrize("vr", [None, "UN", "US", "SQ"])
@pytest.mark.parametrize("keyword", _OPTIONAL)
def test_a_film_is_read_whatever_an_optional_attribute_holds(tmp_path: Path, keyword: str, vr: str | None) -> None:
    film = a_dicom_file()
    for value in _VALUES:
        reply = read(tmp_path, with_element(film, keyword, value, vr))
        assert reply.failure is None, value
        assert len(reply.images) == 1


@pytest.mark.parametrize("delimited", [False, True])
@pytest.mark.parametrize("sequence", ["ViewCodeSequence", "AnatomicRegionSequence", "VOILUTSequence"])
def test_a_film_is_read_whatever_the_character_set_of_a_sequence_item(
    tmp_path: Path, sequence: str, delimited: bool
) -> None:
    film = a_dicom_file()
    for value in _VALUES:
        item = element("SpecificCharacterSet", value) + element("CodeMeaning", b"x")
        assert read(tmp_path, with_sequence(film, sequence, item, delimited=delimited)).failure is None, value


@pytest.mark.parametrize("terms", _NUL_TERMS)
def test_a_character_set_with_control_characters_is_warned_of(tmp_path: Path, terms: bytes) -> None:
    film = with_element(a_dicom_file(PatientName="Zhang^San"), "SpecificCharacterSet", terms)
    reply = read(tmp_path, film)
    assert reply.failure is None
    assert codes(reply) == {"charset_unknown"}
    assert reply.header is not None
    assert reply.header.patient.name == "Zhang San"


@pytest.mark.parametrize("terms", [b"A\0B", b"ISO_IR\x00100", b"ISO_IR 100\0junk", b"\0\0ISO_IR 100"])
@pytest.mark.parametrize("codec", ["gb18030", "utf-8"])
def test_the_name_under_a_damaged_character_set_is_guessed(tmp_path: Path, terms: bytes, codec: str) -> None:
    film = with_element(a_dicom_file(), "SpecificCharacterSet", terms)
    reply = read(tmp_path, with_element(film, "PatientName", "王^小东".encode(codec)))
    assert reply.header is not None
    assert reply.header.patient.name == "王小东"
    assert codes(reply) == {"charset_guessed"}


@pytest.mark.parametrize("terms", [b"NONSENSE", b"ISO_IR 999", b"CP1252\\ISO 2022 IR 87"])
def test_an_unknown_character_set_is_warned_of(tmp_path: Path, terms: bytes) -> None:
    film = with_element(a_dicom_file(PatientName="Zhang^San"), "SpecificCharacterSet", terms)
    assert codes(read(tmp_path, film)) == {"charset_unknown"}


@pytest.mark.parametrize(
    "terms",
    [b"", b" ", b"ISO_IR 6", b"ISO 2022 IR 6\\ISO 2022 IR 58", b"\\ISO 2022 IR 87", b"ISO_IR 100 ", b"ISO-IR 192\0"],
)
def test_a_known_character_set_is_not_warned_of(tmp_path: Path, terms: bytes) -> None:
    film = with_element(a_dicom_file(PatientName="Zhang^San"), "SpecificCharacterSet", terms)
    assert codes(read(tmp_path, film)) == set()


@pytest.mark.parametrize("keyword", ["PatientID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [b"A\0B", b"\x07", b"A\x1b"])
def test_an_identifying_attribute_keeps_its_bytes_for_the_strict_rules(
    tmp_path: Path, keyword: str, value: bytes
) -> None:
    header = read(tmp_path, with_element(a_dicom_file(), keyword, value)).header
    assert header is not None
    found = header.patient.patient_id if keyword == "PatientID" else header.image.sop_instance_uid
    assert found is not None
    assert not found.isalnum()
