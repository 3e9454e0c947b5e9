"""Names in the bytes of many character sets under a declaration that proves nothing. All names are made up."""

from __future__ import annotations

from itertools import product

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom.header.charset import decode_text, parse_charset
from dicom.header.text import display_name, read_patient

_RARE = [
    "㛃",
    "䶮",
    "㑇",
    "㬎",
    "䴙",
    "㼆",
    "䢼",
    "𠮷",
    "𤩽",
    "𬭚",
]  # extensions A to E; most have four bytes in GB18030
_SIMPLIFIED = product(["王", "李", "欧阳", "郝", "丘", "兰"], ["^伟", "小东", "^祎珺", "^玥", "^雨轩", "燚"])
_TRADITIONAL = [
    "陳^大文", "張^偉", "劉^國華", "黃^志明", "趙^雲", "謝^曦", "許^靜", "萬^洋", "龔^霞", "廖^強", "歐陽^震華",
    "鍾^麗芳", "梁^燊", "羅^家豪", "Chan^Tai Man=陳^大文=", "Wong^Ka Wai=黃^家衛=",
]  # fmt: skip
_HONG_KONG_AND_TAIWAN = ["陳^碁", "李^嘉邨", "張^啓明", "游^錫堃", "林^嫺"]
_JAPANESE = [
    "山田^太郎", "佐藤^花子", "高橋^健太", "鈴木^さくら", "髙橋^誠", "山﨑^ケンジ", "中村^翔太", "田中^一",
    "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ",
]  # fmt: skip
_KOREAN = ["김^길동", "이민수", "박^영희", "최지훈", "정^서연", "Hong^Gildong=홍^길동="]
_WESTERN = [
    "Müller^Jörg", "José", "Ângela^Maria", "ÀÉ", "JOSÉ^MARÍA", "GÜÉRIN^ANDRÉ", "ÂNGELA^CONCEIÇÃO", "ÉLÉONORE",
    "ÎLE^AÏDA", "ÞÓRÐARDÓTTIR^ÁSA", "Þórðardóttir^Ása", "SIGÞÓRSSON^EYÞÓR", "GUÐMUNDSDÓTTIR^ÞÓRA", "ÆGIR^ÞÓR",
    "ÓÐINN^ÍVAR", "Ýr^Eyþór", "NÚÑEZ^ÍÑIGO", "MUÑOZ PEÑA^BEGOÑA", "FRANÇOIS^BENOÎT", "HÄMÄLÄINEN^TYÖ",
    "ÆRØ^SØREN", "ÅNGSTRÖM^PÄR", "Öz^Ali", "Å^Åse", "Peña^Mª José", "O´Neill^Seán", "Gal·la^Núria",
    "McÁvoy^Aoife", "D'Évreux^Zoë", "Müller-Lüdenscheidt^Jörg", "Weiß 2^Käthe", "Jean\xa0Noël^Éa", "Ñ^Ñ",
    "Strauß^Dr. Jürgen",
]  # fmt: skip


def read(charset: bytes | None, name: bytes) -> tuple[str | None, str | None, list[str]]:
    ds = Dataset()
    for number, vr, value in ((0x00080005, "CS", charset), (0x00100010, "PN", name)):
        if value is not None:
            ds[Tag(number)] = RawDataElement(Tag(number), vr, len(value), value, 0, False, True)
    patient, found = read_patient(ds)
    return patient.name, patient.charset_source, [warning.code for warning in found]


@pytest.mark.parametrize("charset", [b"ISO_IR 100", b"ISO 2022 IR 100", None, b"NONSENSE"])
@pytest.mark.parametrize(
    ("codec", "source", "names"),
    [
        ("gb18030", "gb18030", [f"王^{char}" for char in _RARE] + [f"赵晨{char}" for char in _RARE] + _RARE[:1]),
        ("utf-8", "utf-8", [f"王^{char}" for char in _RARE]),
        ("gb18030", "gb18030", ["".join(parts) for parts in _SIMPLIFIED]),
        ("gb18030", "gb18030", [name for name in _TRADITIONAL if "=" not in name]),
        ("big5", "big5", _TRADITIONAL),
        ("big5hkscs", "big5", _HONG_KONG_AND_TAIWAN),
        ("cp932", "shift-jis", _JAPANESE),
        ("euc_kr", "euc-kr", _KOREAN),
    ],
)
def test_east_asian_names_are_read_and_warned_of(
    codec: str, source: str, names: list[str], charset: bytes | None
) -> None:
    for name in names:
        assert read(charset, name.encode(codec)) == (display_name(name), source, ["charset_guessed"])


@pytest.mark.parametrize("name", _WESTERN)
def test_a_western_name_under_latin_1_stays_without_a_warning(name: str) -> None:
    assert read(b"ISO_IR 100", name.encode("latin_1")) == (display_name(name), "declared", [])


@pytest.mark.parametrize(
    "text",
    ["30°C", "30°C 40°C 50°C", "Größe 10µm ± 2°", "½ dose", "Épaule gauche (côté)", "« profil »", "¿AP?", "±2° Ø 10 mm",
     "COLONNE ENTIÈRE DEBOUT", "1ª incidência", "T1 ²H", "©Müller"],
)  # fmt: skip
def test_a_latin_description_with_signs_is_no_east_asian_text(text: str) -> None:
    assert decode_text(text.encode("latin_1"), parse_charset(["ISO_IR 100"])).text == text


@pytest.mark.parametrize(
    "value",
    [
        "馨^燚".encode("big5hkscs", "ignore") + b"\xa9",  # half a character at the end
        "Иванов^Пётр".encode("koi8_r"),
        "Παπάς".encode("cp1253"),
        b"\xa4\xa4\xb1\xb1",  # signs only
        b"Li\xa4Na",
    ],
)
def test_what_no_western_name_looks_like_is_never_read_in_silence(value: bytes) -> None:
    _, _, codes = read(b"ISO_IR 100", value)
    assert codes != []


def test_a_name_under_latin_1_that_looks_wrong_stays_as_declared_with_a_warning_that_does_not_show_it() -> None:
    assert read(b"ISO_IR 100", b"Li\xa4Na") == ("Li¤Na", "declared", ["charset_doubtful"])


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO_IR 101", "Żółć^Łucja".encode("iso8859_2")),
        (b"ISO_IR 144", "Иванов^Пётр".encode("iso8859_5")),
        (b"ISO_IR 13", "山田^太郎".encode("shift_jis")),
        (b"ISO_IR 149", "김^길동".encode("euc_kr")),
        (b"GB18030", "陳^大文".encode("gb18030")),
        (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"B\xfcc^\x1b-L\xbb\xee\xda"),
    ],
)
def test_a_declaration_that_decodes_is_not_doubted(charset: bytes, name: bytes) -> None:
    assert read(charset, name)[1:] == ("declared", [])


@pytest.mark.parametrize(
    ("charset", "name", "codec", "source"),
    [
        (b"ISO_IR 192", "陳^大文", "big5", "big5"),
        (b"ISO_IR 192", "王^㛃", "gb18030", "gb18030"),
        (b"ISO_IR 192", "山田^太郎", "shift_jis", "shift-jis"),
        (b"ISO_IR 192", "김^길동", "euc_kr", "euc-kr"),
    ],
)
def test_a_multi_byte_declaration_that_does_not_decode_is_guessed_against(
    charset: bytes, name: str, codec: str, source: str
) -> None:
    assert read(charset, name.encode(codec)) == (display_name(name), source, ["charset_guessed"])


def test_private_use_characters_under_a_declaration_that_decodes_are_warned_of() -> None:
    _, source, codes = read(b"GB18030", "陳^大文".encode("big5"))
    assert (source, codes) == ("declared", ["charset_doubtful"])
