"""Names, dates, sex and charsets out of DICOM headers. The bytes are written by hand."""

from __future__ import annotations

import io
import warnings
from datetime import date, timedelta
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from dicom.header.charset import CharsetSource, decode_text, parse_charset
from dicom.header.text import MAX_NAME_CHARACTERS, display_name, read_patient, read_text
from models import Sex

_TAGS = {"name": 0x00100010, "id": 0x00100020, "born": 0x00100030, "sex": 0x00100040, "description": 0x0008103E}
_VRS = {"name": "PN", "id": "LO", "born": "DA", "sex": "CS", "description": "LO"}


def a_header(charset: bytes | None = None, **values: bytes) -> Dataset:
    """A data set as dcmread leaves it: raw elements, nothing decoded."""
    ds = Dataset()
    raw = {_TAGS[name]: (_VRS[name], value) for name, value in values.items()}
    if charset is not None:
        raw[0x00080005] = ("CS", charset)
    for number, (vr, value) in raw.items():
        ds[Tag(number)] = RawDataElement(Tag(number), vr, len(value), value, 0, False, True)
    return ds


def codes(ds: Dataset) -> list[str]:
    return [warning.code for warning in read_patient(ds)[1]]


def name_and_source(charset: bytes | None, name: bytes) -> tuple[str | None, str | None]:
    patient, _ = read_patient(a_header(charset, name=name))
    return patient.name, patient.charset_source


# --- declared character sets -----------------------------------------------------------------------------------------

# Expected names: PS3.5 annexes H to K and the names in pydicom's test suite.
_CHARSET_FILES = {
    "chrArab.dcm": "قباني لنزار",
    "chrFren.dcm": "Buc Jérôme",
    "chrFrenMulti.dcm": "Buc Jérôme",
    "chrGerm.dcm": "Äneas Rüdiger",
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "山田太郎",
    "chrH32.dcm": "山田太郎",
    "chrHbrw.dcm": "שרון דבורה",
    "chrI2.dcm": "洪吉洞",
    "chrJapMulti.dcm": "やまだたろう",
    "chrJapMultiExplicitIR6.dcm": "やまだたろう",
    "chrKoreanMulti.dcm": "김희중",
    "chrRuss.dcm": "Люкceмбypг",
    "chrX1.dcm": "王小東",
    "chrX2.dcm": "王小东",
}


@pytest.mark.parametrize(("file", "expected"), _CHARSET_FILES.items())
def test_the_standards_example_names_are_read_as_printed_there(file: str, expected: str) -> None:
    folder = Path(pydicom.__file__).parent / "data" / "charset_files"
    patient, _ = read_patient(pydicom.dcmread(folder / file, force=True))
    assert (patient.name, patient.charset_source) == (expected, "declared")


@pytest.mark.parametrize(
    ("charset", "name", "expected"),
    [
        (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "张小东"),  # PS3.5 K.2
        (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\xd0\xa1\xb6\xab=", "张小东"),  # second escape left out
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7=", "洪吉洞"),
        (b"ISO_IR 100", b"Zhang=\x1b$)A\xd5\xc5=", "张"),  # the escape was never announced, but is unambiguous
        (b"\\ISO 2022 IR 87", b"Haru=\x1b$B=U\x1b(B^\x1b$BLZ\x1b(B=", "春木"),  # 0x3D inside a kanji is no delimiter
        (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"B\xfcc^\x1b-L\xbb\xee\xda", "Büc Люк"),
        (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-L\xbb\xee\xda^J\xe9r\xf4me", "Люк Jérôme"),  # ^ returns to value 1
        (b"GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "王小东"),
        (b"GBK", "刘^祎珺".encode("gbk"), "刘祎珺"),
        (b"GB18030", "𠮷田^一".encode("gb18030"), "𠮷田一"),
        (b"GB18030", b"x=\x81\x5e^\xb0\x5e\xb0\x5c=x", "乛癪癨"),  # trail bytes 5E and 5C are no delimiters
        (b"ISO_IR 192", "Müller^Jörg".encode(), "Müller Jörg"),
        (b"ISO_IR 192", "王^小東".encode(), "王小東"),
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ ﾀﾛｳ"),
        (b"ISO_IR 166", "สมชาย^ใจดี".encode("iso8859_11"), "สมชาย ใจดี"),
        (b"ISO_IR 101", "Żółtowski^Józef".encode("iso8859_2"), "Żółtowski Józef"),
        (b"ISO_IR 148", "Öğüt^Çağrı".encode("iso8859_9"), "Öğüt Çağrı"),
    ],
)
def test_a_declared_set_is_honoured(charset: bytes, name: bytes, expected: str) -> None:
    text, source = name_and_source(charset, name)
    assert source == "declared"
    assert text == expected


@pytest.mark.parametrize(
    ("term", "name"),
    [
        (b"ISO-IR 144", "Люксембург".encode("iso8859_5")),
        (b"ISO_IR_144", "Люксембург".encode("iso8859_5")),
        (b"iso ir 144 ", "Люксембург".encode("iso8859_5")),
        (b"ISO 2022-IR 144", "Люксембург".encode("iso8859_5")),
        (b"utf-8", "Люксембург".encode()),
        (b"ISO-IR 192\0", "Люксембург".encode()),
        (b"GB 18030", "Люксембург".encode("gb18030")),
        (b"ISO 2022 GBK", "Люксембург".encode("gb18030")),
    ],
)
def test_a_misspelt_term_is_understood(term: bytes, name: bytes) -> None:
    assert name_and_source(term, name) == ("Люксембург", "declared")


# --- a wrong or missing tag ------------------------------------------------------------------------------------------

_CHINESE_NAMES = [
    "王^小东", "王小东", "李", "张伟", "欧阳^震华", "司马^相如", "张伟A", "李娜-2", "测试 1", "刘祎", "朱镕基",
    "陈玥", "王鑫CT", "赵喆", "Wang^XiaoDong=王^小东=", "Wang^XiaoDong=王^小东=wáng", "Liu^Yi=刘^祎=",
    "买买提·艾力", "阿卜杜拉·艾山", "张三（男）", "无名氏１", "婴儿_李静", "王小东之子", "诸葛^亮^^^", "吕^布",
    "亓官^婉", "闫^妍", "冯^艳艳", "邓^稼先", "钱^学森", "袁^隆平", "屠^呦呦", "蔡^徐坤", "谢^霆锋", "龚^俐",
    "尹^正", "艾^青", "丁^一", "万^茜", "卜^算子", "余^华", "莫^言", "老舍", "鲁迅",
]  # fmt: skip
_EUROPEAN_NAMES = [
    "Müller^Jörg", "Buc^Jérôme", "Äneas^Rüdiger", "Großöhme^Süß", "Weiß^Käthe", "Özil^Mesut", "Öz^Ali", "Ås^Åse",
    "Åberg^Göran", "Bø^Anna", "Sørensen^Bjørn", "Ægir^Þór", "Þórðardóttir^Ása", "Óðinn^Ívar", "Sigþórsson",
    "Ýr^Eyþór", "Conceição^João", "Assunção^Inês", "Magalhães^António", "Simões^Zoé", "Nuñez^Íñigo",
    "Peña^María José", "Muñoz^Ángel", "Désirée^Zoë", "créée", "Éléa^Anaïs", "Noëlle^Maïté", "François^Benoît",
    "D'Aubigné^Cécile", "Lefèvre^Thérèse", "L'Évêque^Ève", "Pärt^Arvo", "Rüütel^Arnold", "Jõgi^Ülle",
    "Mäkelä^Päivi", "Hämäläinen^Työ", "Ó Súilleabháin^Seán", "Niccolò^Però", "Città^Perché", "MÜLLER^JÖRG",
    "ÅNGSTRÖM^PÄR", "GONÇALVES^ÂNGELO", "Háj^Jirí", "Lê^Thé", "Brontë^Emily", "Çelik^Gül",
    "Düs", "Ü^Öa", "Kött^Åke", "Señor^Ñandú", "Bébé^Íó a", "Vigdís Finnbogadóttir",
]  # fmt: skip


@pytest.mark.parametrize("charset", [b"ISO_IR 100", b"ISO 2022 IR 100", b"ISO_IR 6", b"", None, b"NONSENSE"])
@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
@pytest.mark.parametrize("name", _CHINESE_NAMES)
def test_chinese_bytes_under_a_latin_or_no_declaration_are_read_as_chinese(
    name: str, encoding: str, charset: bytes | None
) -> None:
    text, source = name_and_source(charset, name.encode(encoding))
    assert (text, source) == (display_name(name), encoding)


@pytest.mark.parametrize("name", _EUROPEAN_NAMES)
def test_an_accented_name_under_latin_1_is_believed(name: str) -> None:
    assert name_and_source(b"ISO_IR 100", name.encode("latin_1")) == (display_name(name), "declared")


@pytest.mark.parametrize("name", _EUROPEAN_NAMES)
def test_an_accented_name_without_any_declaration_loses_nothing_and_is_warned_of(name: str) -> None:
    header = a_header(None, name=name.encode("latin_1"))
    assert name_and_source(None, name.encode("latin_1")) == (display_name(name), "fallback")
    assert codes(header) == ["charset_fallback"]


@pytest.mark.parametrize("name", _EUROPEAN_NAMES)
@pytest.mark.parametrize("charset", [b"ISO_IR 100", None, b"ISO_IR 148"])
def test_an_accented_name_in_utf8_is_read_as_such_whatever_is_declared(name: str, charset: bytes | None) -> None:
    assert name_and_source(charset, name.encode()) == (display_name(name), "utf-8")


@pytest.mark.parametrize(
    "name",
    ["Żółtowski^Józef", "Łącki^Łucja", "zażółć^gęślą", "Šťastný^Jiří", "Brzóśćiński", "Dvořák", "Hájek", "Čapek^Áďa"],
)
def test_an_accented_name_under_latin_2_is_believed(name: str) -> None:
    assert name_and_source(b"ISO_IR 101", name.encode("iso8859_2")) == (display_name(name), "declared")


def test_a_multi_byte_declaration_that_decodes_is_never_guessed_against() -> None:
    misread = "中文".encode().decode("gb18030")  # six bytes of UTF-8 that are valid GB18030 too
    assert name_and_source(b"GB18030", "中文".encode()) == (misread, "declared")


@pytest.mark.parametrize(
    ("charset", "value", "expected"),
    [
        (b"ISO_IR 192", "王小东".encode("gbk"), ("王小东", "gb18030")),
        (b"ISO_IR 192", "Müller".encode("latin_1"), ("Müller", "fallback")),
        (b"ISO_IR 192", "Zoë".encode("latin_1"), ("Zoë", "fallback")),
        (b"GB18030", "王小东".encode(), ("王小东", "utf-8")),
        (b"ISO_IR 138", "王小东".encode(), ("王小东", "utf-8")),  # bytes that Hebrew does not have
        (b"ISO_IR 100", b"O\x92Brien", ("O’Brien", "fallback")),  # Windows-1252 under a Latin-1 tag
        (b"\\ISO 2022 IR 58", b"Zhang=\x1b$)X\xd5\xc5", ("$)XÕÅ", "fallback")),  # no such escape sequence
    ],
)
def test_bytes_that_are_not_valid_as_declared(charset: bytes, value: bytes, expected: tuple[str, str]) -> None:
    name, source = name_and_source(charset, value)
    assert (name, source) == expected


@pytest.mark.parametrize("charset", [b"GB18030", b"ISO_IR 100"])
def test_half_a_character_at_the_end_of_a_cut_value_is_dropped(charset: bytes) -> None:
    name, _ = name_and_source(charset, "王小东".encode("gbk")[:-1])
    assert name == "王小"


def test_plain_ascii_is_declared_where_something_is_declared_and_default_elsewhere() -> None:
    assert name_and_source(b"ISO_IR 100", b"Wang^XiaoDong") == ("Wang XiaoDong", "declared")
    assert name_and_source(None, b"Wang^XiaoDong") == ("Wang XiaoDong", "default")
    assert codes(a_header(None, name=b"Wang^XiaoDong")) == []


def test_a_chinese_patient_id_alone_decides_the_reported_source() -> None:
    patient, found = read_patient(a_header(b"ISO_IR 100", name=b"Wang", id="住院0012".encode("gbk")))
    assert (patient.patient_id, patient.charset_source) == ("住院0012", "gb18030")
    assert [warning.code for warning in found] == ["charset_guessed"]


def test_a_series_description_in_gbk_under_latin_1_is_readable() -> None:
    ds = a_header(b"ISO_IR 100", description="DR脊柱全长正位".encode("gbk"))
    assert read_text(ds, "SeriesDescription").text == "DR脊柱全长正位"


@pytest.mark.parametrize("text", ["30°C", "Größe 10µm ± 2°", "Thorax p.a. für Lunge", "Épaule gauche (côté)", "½ dose"])
def test_latin_descriptions_with_signs_stay_latin(text: str) -> None:
    assert decode_text(text.encode("latin_1"), parse_charset(["ISO_IR 100"])).text == text


@given(
    st.binary(max_size=64), st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "GB18030", "ISO 2022 IR 87", "ISO_IR 13"])
)
def test_any_bytes_give_text_that_can_be_stored(value: bytes, term: str) -> None:
    decoded = decode_text(value, parse_charset([term]))
    assert decoded.text.encode("utf-8") is not None
    assert decoded.source in CharsetSource


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=16))
def test_no_header_whatever_raises(name: bytes, patient_id: bytes, born: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patient, _ = read_patient(a_header(b"ISO_IR 100", name=name, id=patient_id, born=born, sex=born))
    assert patient.name is None or len(patient.name) <= MAX_NAME_CHARACTERS


# --- the rule for names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person_name", "expected"),
    [
        ("Wang^XiaoDong", "Wang XiaoDong"),
        ("Wang^XiaoDong=王^小东=wáng", "王小东"),
        ("=王^小东", "王小东"),
        ("Wang^XiaoDong==", "Wang XiaoDong"),
        ("Wang^XiaoDong=^^=x", "Wang XiaoDong"),
        ("==ﾔﾏﾀﾞ", "ﾔﾏﾀﾞ"),
        ("王^小东", "王小东"),
        ("王 小 东", "王小东"),
        ("洪^吉洞", "洪吉洞"),
        ("Adams^John^Robert Quincy^Rev.^B.A. M.Div.", "Rev. Adams John Robert Quincy B.A. M.Div."),
        ("Wang^^^^", "Wang"),
        ("^XiaoDong", "XiaoDong"),
        ("  Wang  ^ Xiao   Dong ", "Wang Xiao Dong"),
        ("Wang\0^Xiao\x07Dong\0\0", "Wang Xiao Dong"),
        ("\\Wang^XiaoDong", "Wang XiaoDong"),
        ("Wang^Xiao\\Li^Na", "Wang Xiao"),
        ("买买提·艾力", "买买提·艾力"),
        ("王^小东^^^先生", "王小东先生"),
        ("Li^Jose\u0301", "Li José"),
        ("", None),
        ("^^^^==", None),
        (" \0", None),
    ],
)
def test_display_name(person_name: str, expected: str | None) -> None:
    assert display_name(person_name) == expected


def test_a_name_too_long_for_xiehe_is_cut_with_a_warning_that_does_not_show_it() -> None:
    ds = a_header(b"ISO_IR 192", name=("王" * 101).encode())
    patient, (warning,) = read_patient(ds)
    assert patient.name == "王" * 100
    assert warning.code == "name_truncated"
    assert "王" not in warning.message


def test_a_name_of_exactly_one_hundred_characters_is_whole() -> None:
    patient, found = read_patient(a_header(b"ISO_IR 192", name=("王" * 100).encode()))
    assert patient.name == "王" * 100
    assert found == ()


# --- sex, birth date, id ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "sex"),
    [
        (b"M", Sex.MALE), (b"F ", Sex.FEMALE), (b"o", Sex.OTHER), (b" m\0", Sex.MALE), (b"", Sex.UNKNOWN),
        (b"U", Sex.UNKNOWN), (b"MALE", Sex.MALE), (b"\xff", Sex.UNKNOWN), (b"F\\M", Sex.FEMALE),
    ],
)  # fmt: skip
def test_sex(code: bytes, sex: Sex) -> None:
    assert read_patient(a_header(sex=code))[0].sex is sex


@pytest.mark.parametrize(
    "text", [b"19800229", b"1980.02.29", b"1980-02-29", b"1980/02/29", b" 19800229 ", b"19800229\\x"]
)
def test_a_birth_date_is_read_with_and_without_separators(text: bytes) -> None:
    patient, found = read_patient(a_header(born=text))
    assert patient.birth_date == date(1980, 2, 29)
    assert found == ()


_NEXT_YEAR = f"{date.today() + timedelta(days=366):%Y%m%d}".encode()


@pytest.mark.parametrize(
    "text",
    [b"19800230", b"00000000", b"1980", b"198013", b"1980.02-29", b"19790229", b"abcdefgh", b"18791231", b"\xff\xfe",
     _NEXT_YEAR, "１９８００２２９".encode("gb18030"), b"19800229120000"],
)  # fmt: skip
def test_an_unusable_birth_date_is_unknown_with_a_warning_that_does_not_show_it(text: bytes) -> None:
    ds = a_header(born=text)
    assert read_patient(ds)[0].birth_date is None
    assert codes(ds) == ["birth_date_invalid"]
    assert text.decode("latin_1") not in read_patient(ds)[1][0].message


def test_a_missing_birth_date_is_no_fault() -> None:
    assert codes(a_header(born=b"  ")) == codes(a_header()) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b" P001 ", "P001"), (b"P001\0", "P001"), (b"\0 \0", None), (b"", None), (b"P 001", "P 001"), (b"A\\B", "A\\B"),
     (b"P\x07", "P\x07")],
)  # fmt: skip
def test_the_patient_id_is_trimmed_of_padding_only(value: bytes, expected: str | None) -> None:
    assert read_patient(a_header(id=value))[0].patient_id == expected


def test_a_patient_id_in_decomposed_form_becomes_nfc() -> None:
    assert read_patient(a_header(b"ISO_IR 192", id="Jose\u0301".encode()))[0].patient_id == "Jos\u00e9"


# --- where the bytes come from ---------------------------------------------------------------------------------------


def test_an_empty_data_set_has_no_patient() -> None:
    patient, found = read_patient(Dataset())
    assert (patient.patient_id, patient.name, patient.sex, patient.birth_date) == (None, None, Sex.UNKNOWN, None)
    assert (patient.charset_source, found) == ("default", ())


def test_a_data_set_made_by_a_program_is_read_too() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Wang^X=王^小东", "P001", "19800229", "F"
    patient, _ = read_patient(ds)
    assert patient == type(patient)("P001", "王小东", Sex.FEMALE, date(1980, 2, 29), "declared")


def test_a_name_that_pydicom_has_already_decoded_wrongly_is_read_from_its_bytes() -> None:
    ds = a_header(b"ISO_IR 100", name="王^小东".encode("gbk"))
    assert "王" not in str(ds.PatientName)
    assert read_patient(ds)[0].name == "王小东"


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_bytes_survive_a_real_read_in_every_native_syntax(implicit: bool, little: bool) -> None:
    buffer = io.BytesIO()
    a_header(b"ISO_IR 100", name="王^小东".encode("gbk")).save_as(buffer, implicit_vr=implicit, little_endian=little)
    buffer.seek(0)
    ds = read_dataset(buffer, implicit, little)
    assert read_patient(ds)[0].name == "王小东"


def test_an_element_that_is_a_sequence_by_mistake_is_empty() -> None:
    ds = Dataset()
    inner = Dataset()
    inner.PatientName = "Secret^Name"
    ds.add_new(0x00100020, "SQ", [inner])
    assert read_patient(ds)[0].patient_id is None
