"""The patient of a DICOM header: id, name, sex, birth date, from the raw bytes of the elements.

pydicom's own decoding is not used: it replaces what it cannot decode, splits names before it decodes them (a GBK or
ISO 2022 character can hold a ``^``, ``=`` or backslash byte), and trusts any Specific Character Set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import lru_cache

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from dicom.header.charset import Charset, CharsetSource, DecodedText, decode_text, parse_charset
from dicom.header.charset_guess import CODECS_WITH_SIGNS_BELOW_C0, has_private_use, looks_western
from dicom.header.values import bounded, items, raw_item
from domain.patient_identity import normal_patient_id
from errors import MissingAttributeError
from models import FileWarning, PatientHeader, Sex

MAX_NAME_CHARACTERS = 100
"""XieHe's column width, in characters."""

EARLIEST_BIRTH_DATE = date(1880, 1, 1)

_CHARSETS_KEPT = 16

_DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})")  # PS3.5 6.2, DA; with dots as ACR-NEMA 2.0 wrote it
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff〇々"
_HAS_CJK = re.compile(f"[{_CJK}]")
_SPACE_IN_CJK = re.compile(rf"(?<=[{_CJK}])\s+(?=[{_CJK}])")

_SEX_CODECS = ("utf_8", "gb18030", "big5", "shift_jis", "euc_kr", "latin_1")
_SEX_SEPARATORS = re.compile(r"[\s()/^.,;:_=\-、，。；：]+")
_MALE = (
    "m male man boy 男 男性 男士 男生 男孩 男童 男婴 男嬰 男子 男性患者 男の子 남 남성 남자 "
    "mann männlich maennlich homme masculin masculino hombre varón varon maschio maschile"
)
_FEMALE = (
    "f female woman girl 女 女性 女士 女生 女孩 女童 女婴 女嬰 女子 女性患者 女の子 여 여성 여자 "
    "frau weiblich femme féminin feminin femenino feminino mujer femmina femminile"
)
_OTHER = "o other others divers 其他 其它"
_UNKNOWN = "u unknown unk unspecified undetermined n/a none null 未知 不详 不詳 不明 未说明 未說明 unbekannt"
"""The sex is declared unknown, so there is no warning."""
_SEX_OF_WORD = {
    word: sex
    for sex, words in (
        (Sex.MALE, _MALE), (Sex.FEMALE, _FEMALE), (Sex.OTHER, _OTHER), (Sex.UNKNOWN, _UNKNOWN),
    )
    for word in words.split()
}  # fmt: skip


def read_text(ds: Dataset, keyword: str) -> DecodedText:
    """The element's text with delimiters, decoded from its raw bytes; empty if absent or without a value.

    ``Sequence.Keyword`` reads from the first item of a sequence; items have the data set's charset. A value that
    pydicom has decoded is taken unchanged, so call this first.
    """
    *sequences, keyword = keyword.split(".")
    item = _first_item(ds, sequences)
    value = b"" if item is None else _raw_value(item, keyword)
    if isinstance(value, str):
        return DecodedText(value, CharsetSource.DECLARED)
    return decode_text(value, _charset_of(ds))


def read_patient(ds: Dataset) -> tuple[PatientHeader, tuple[FileWarning, ...]]:
    """The patient module and what an operator should know of it. Never raises."""
    raw_id, raw_name = read_text(ds, "PatientID"), read_text(ds, "PatientName")
    name, name_warnings = _cut_name(display_name(raw_name.text))
    birth_date, date_warnings = _birth_date(read_text(ds, "PatientBirthDate").text)
    sex, sex_warnings = _sex(ds)
    leading = _leading_text((raw_name, raw_id))
    header = PatientHeader(
        patient_id=bounded(normal_patient_id(raw_id.text) or None),
        name=name,
        sex=sex,
        birth_date=birth_date,
        charset_source=leading.source.value,
    )
    return header, (*_charset_warnings(leading, _charset_of(ds)), *name_warnings, *date_warnings, *sex_warnings)


def display_name(person_name: str) -> str | None:
    """A PN value (PS3.5 6.2.1) as a name to show; None if empty.

    The ideographic group comes first, then the alphabetic, then the phonetic; of several values the first with
    content. Components are ordered prefix, family, given, middle, suffix. Spaces join them (Wang XiaoDong), except in
    a group with CJK characters (王小东).
    """
    groups = (group for value in person_name.split("\\") for group in _groups_by_rank(value))
    return next((name for name in map(_join_components, groups) if name), None)


def _groups_by_rank(value: str) -> Iterator[str]:
    groups = [*value.split("="), "", "", ""]
    yield from (groups[1], groups[0], groups[2])


def _join_components(group: str) -> str:
    family, given, middle, prefix, suffix = ([_clean(part) for part in group.split("^")] + [""] * 5)[:5]
    parts = [part for part in (prefix, family, given, middle, suffix) if part]
    return _SPACE_IN_CJK.sub("", " ".join(parts)) if _HAS_CJK.search(group) else " ".join(parts)


def _clean(text: str) -> str:
    printable = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return unicodedata.normalize("NFC", " ".join(printable.split()))


def _cut_name(name: str | None) -> tuple[str | None, tuple[FileWarning, ...]]:
    if name is None or len(name) <= MAX_NAME_CHARACTERS:
        return name, ()
    message = f"患者姓名有 {len(name)} 个字符，已截取前 {MAX_NAME_CHARACTERS} 个"
    return name[:MAX_NAME_CHARACTERS].rstrip(), (FileWarning("name_truncated", message),)


def _birth_date(text: str) -> tuple[date | None, tuple[FileWarning, ...]]:
    text = _first_value(text)
    if not text:
        return None, ()
    parsed = _parse_date(text)
    if parsed is None or not EARLIEST_BIRTH_DATE <= parsed <= date.today() + timedelta(days=1):
        return None, (FileWarning("birth_date_invalid", "文件头的出生日期（PatientBirthDate）无效，已按未知处理"),)
    return parsed, ()


def _parse_date(text: str) -> date | None:
    matched = _DATE.fullmatch(text)
    if matched is None:
        return None
    try:
        return date(int(matched[1]), int(matched[3]), int(matched[4]))
    except ValueError:
        return None


def _first_value(text: str) -> str:
    return text.split("\\", maxsplit=1)[0].strip(" \0\t\r\n")


def _sex(ds: Dataset) -> tuple[Sex, tuple[FileWarning, ...]]:
    text, raw = _first_value(read_text(ds, "PatientSex").text.lstrip("\\ \0")), _raw_value(ds, "PatientSex")
    value = raw.encode() if isinstance(raw, str) else raw
    sex = parse_sex(value.lstrip(b"\\ \0").split(b"\\", maxsplit=1)[0], text) if text else Sex.UNKNOWN
    if sex is not None:
        return sex, ()
    message = "无法识别文件头的性别（PatientSex），已按未知处理，不与 XieHe 核对性别"
    return Sex.UNKNOWN, (FileWarning("sex_not_understood", message),)


def parse_sex(value: bytes, decoded: str) -> Sex | None:
    """The sex of an element (PS3.3 C.7.1.1); None if unclear.

    Standard values are M, F and O, but real files have words in several languages and undeclared character sets. So
    each likely character set is tried, and all readings that are words must agree. Numbers are unclear: 1 is male in
    ISO/IEC 5218, but not in every system.

    Args:
        value: bytes of the first value.
        decoded: the same by the declared or guessed character set.
    """
    readings = (decoded, *(value.decode(codec, "replace") for codec in _SEX_CODECS))
    understood = {sex for sex in map(_sex_of_text, readings) if sex is not None}
    return understood.pop() if len(understood) == 1 else None


def _sex_of_text(text: str) -> Sex | None:
    """The sex that all words of a text mean (``M``, ``男/M``, ``Ｍ``); None for any unknown word."""
    plain = unicodedata.normalize("NFKC", text).strip(" \0\t\r\n").casefold()
    words = [plain] if plain in _SEX_OF_WORD else [word for word in _SEX_SEPARATORS.split(plain) if word]
    found = {_SEX_OF_WORD.get(word) for word in words}
    return found.pop() if len(found) == 1 else None


def _leading_text(texts: Iterable[DecodedText]) -> DecodedText:
    """The first text beyond ASCII; if all are ASCII, the first one."""
    decoded = tuple(texts)
    return next((text for text in decoded if not text.text.isascii()), decoded[0])


def _charset_warnings(leading: DecodedText, charset: Charset) -> tuple[FileWarning, ...]:
    """At most one warning, about the decoding of name and id."""
    source = leading.source
    if source is CharsetSource.FALLBACK:
        message = "字符集标记（SpecificCharacterSet）缺失或不符，也无法推断，姓名可能显示为乱码，请人工核对"
        return (FileWarning("charset_fallback", message),)
    if source not in (CharsetSource.DECLARED, CharsetSource.DEFAULT):
        message = f"字符集标记（SpecificCharacterSet）缺失或不符，已按 {source.upper()} 解码，请抽查姓名"
        return (FileWarning("charset_guessed", message),)
    if not charset.understood:
        message = "字符集标记（SpecificCharacterSet）已损坏或无法识别，已按可辨认的部分和内容解码，请抽查姓名"
        return (FileWarning("charset_unknown", message),)
    western = charset.codec in CODECS_WITH_SIGNS_BELOW_C0
    if has_private_use(leading.text) or (western and not looks_western(leading.text)):
        message = "姓名或患者编号按声明的字符集（SpecificCharacterSet）解码后不像正常文字，标记可能有误，请核对"
        return (FileWarning("charset_doubtful", message),)
    return ()


def _charset_of(ds: Dataset) -> Charset:
    value = _raw_value(ds, "SpecificCharacterSet")
    return _charset(value if isinstance(value, str) else value.decode("ascii", "replace"))


@lru_cache(_CHARSETS_KEPT)
def _charset(terms: str) -> Charset:
    return parse_charset(term.strip(" \0\t\r\n") for term in terms.split("\\"))


def _first_item(ds: Dataset, sequences: list[str]) -> Dataset | None:
    """First item of the innermost sequence; None if one is absent, empty or damaged."""
    for keyword in sequences:
        try:
            found = items(ds, keyword)
        except MissingAttributeError:
            return None
        if not found:
            return None
        ds = found[0]
    return ds


def _raw_value(ds: Dataset, keyword: str) -> bytes | str:
    """The element's raw bytes; text if pydicom has decoded them."""
    element = raw_item(ds, keyword)
    if element is None or element.VR == "SQ":
        return b""
    if isinstance(element, RawDataElement):
        return element.value or b""
    values = element.value if element.VM > 1 else [element.value]
    parts = [part.original_string if isinstance(part, PersonName) else part for part in values]
    if parts and all(isinstance(part, bytes) for part in parts):
        return b"\\".join(parts)
    return "\\".join("" if value is None else str(value) for value in values)
