"""PatientSex as real files write it: codes, words of several languages, in whatever bytes."""

from __future__ import annotations

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom.header.text import read_patient
from models import Sex


def a_header(sex: bytes, charset: bytes | None = None) -> Dataset:
    ds = Dataset()
    values = {0x00080005: charset, 0x00100040: sex}
    for number, value in values.items():
        if value is not None:
            ds[Tag(number)] = RawDataElement(Tag(number), "CS", len(value), value, 0, False, True)
    return ds


def sex_and_codes(sex: bytes, charset: bytes | None = None) -> tuple[Sex, list[str]]:
    patient, found = read_patient(a_header(sex, charset))
    return patient.sex, [warning.code for warning in found]


@pytest.mark.parametrize(
    ("value", "sex"),
    [
        (b"M", Sex.MALE), (b"F ", Sex.FEMALE), (b"O\0", Sex.OTHER), (b"m", Sex.MALE), (b" f\0", Sex.FEMALE),
        (b"Male", Sex.MALE), (b"MALE", Sex.MALE), (b"female", Sex.FEMALE), (b"Female ", Sex.FEMALE),
        (b"Other", Sex.OTHER), (b"Weiblich", Sex.FEMALE), (b"masculino", Sex.MALE), (b"M/Male", Sex.MALE),
        (b"F (female)", Sex.FEMALE), (b"\\M", Sex.MALE), (b"F\\M", Sex.FEMALE),
        ("男/M".encode("gbk"), Sex.MALE), ("Ｆ".encode("gbk"), Sex.FEMALE), ("Ｍ".encode(), Sex.MALE),
        ("männlich".encode("latin_1"), Sex.MALE), ("Féminin".encode(), Sex.FEMALE),
    ],
)  # fmt: skip
def test_codes_and_words_are_understood(value: bytes, sex: Sex) -> None:
    assert sex_and_codes(value) == (sex, [])


@pytest.mark.parametrize("charset", [None, b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"ISO_IR 6", b"NONSENSE", b"A\0B"])
@pytest.mark.parametrize("codec", ["gb18030", "utf-8", "big5", "shift_jis"])
@pytest.mark.parametrize(
    ("word", "sex"), [("男", Sex.MALE), ("女", Sex.FEMALE), ("男性", Sex.MALE), ("女性", Sex.FEMALE)]
)
def test_chinese_words_are_understood_in_any_bytes_under_any_declaration(
    word: str, sex: Sex, codec: str, charset: bytes | None
) -> None:
    found, codes = sex_and_codes(word.encode(codec), charset)
    assert found is sex
    assert "sex_not_understood" not in codes


@pytest.mark.parametrize(("word", "sex"), [("남", Sex.MALE), ("여", Sex.FEMALE), ("여성", Sex.FEMALE)])
@pytest.mark.parametrize("codec", ["euc_kr", "utf-8"])
def test_korean_words_are_understood(word: str, sex: Sex, codec: str) -> None:
    assert sex_and_codes(word.encode(codec), b"ISO_IR 100") == (sex, [])


@pytest.mark.parametrize(
    "value", [b"U", b"Unknown", b"unk", b"N/A", "未知".encode("gbk"), "不详".encode(), b"", b" ", b"\0"]
)
def test_a_sex_stated_as_unknown_or_not_at_all_is_no_fault(value: bytes) -> None:
    assert sex_and_codes(value) == (Sex.UNKNOWN, [])


@pytest.mark.parametrize(
    "value",
    [b"1", b"2", b"0", b"9", b"X", b"W", b"M?", b"M F", b"F/M", b"male?", b"mail", b"\xff", b"\xc5", b"M1", b"\x07",
     "男女".encode("gbk"), "王".encode("gbk")],
)  # fmt: skip
def test_what_cannot_be_told_is_unknown_with_a_warning_that_does_not_show_it(value: bytes) -> None:
    sex, codes = sex_and_codes(value)
    assert (sex, codes) == (Sex.UNKNOWN, ["sex_not_understood"])
    (warning,) = read_patient(a_header(value))[1]
    assert value.decode("gbk", "replace") not in warning.message.replace("（PatientSex）", "").replace("XieHe", "")
