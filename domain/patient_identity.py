"""Rules for patient ids: which are valid, and when two spellings mean one patient. Text only, no DICOM."""

from __future__ import annotations

import unicodedata
from enum import Enum
from functools import lru_cache

from errors import PatientIdInvalidError, PatientIdTooLongError

MAX_PATIENT_ID_CHARACTERS = 50
"""XieHe's column width, in characters."""

KEYS_KEPT = 4096
"""Cached keys; a walk meets the same few patients file after file."""

FORM_DIFFERS_CODE = "patient_id_form_differs"
"""Warning code: two ids match although their case or width differs."""

_PADDING = " \0"
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_IGNORABLE = frozenset({"Mn", "Me", "Cc", "Cf"})
# Letters whose stroke or ligature is no combining mark; XieHe's database folds them.
_STROKED_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "æ": "ae", "œ": "oe", "ı": "i", "ð": "d", "þ": "th"}
)
_HIRAGANA_TO_KATAKANA = str.maketrans({code: code + 0x60 for code in range(0x3041, 0x3097)})


class IdMatch(Enum):
    EXACT = "exact"
    """Equal after removal of DICOM padding and NFC."""
    FORM_DIFFERS = "form_differs"
    """Equal but for case or width, which XieHe ignores: a match with a warning."""
    DIFFERENT = "different"
    """Two patients."""


def normal_patient_id(text: str) -> str:
    """The id without DICOM padding (spaces, NULs; PS3.5 6.2, LO) and in Unicode NFC."""
    return unicodedata.normalize("NFC", text).strip(_PADDING)


def check_patient_id(patient_id: str) -> None:
    """Checks an effective patient id, which is already normal.

    Raises:
        PatientIdInvalidError: empty, or holding control or invisible characters.
        PatientIdTooLongError: more characters than XieHe stores.
    """
    if not patient_id:
        raise PatientIdInvalidError("患者编号为空：请检查文件头的 PatientID 或患者文件夹的名称")
    unprintable = next((char for char in patient_id if unicodedata.category(char) in _UNPRINTABLE), None)
    if unprintable is not None:
        raise PatientIdInvalidError(f"患者编号含有控制字符或不可见字符（U+{ord(unprintable):04X}），请在源系统中更正")
    if len(patient_id) > MAX_PATIENT_ID_CHARACTERS:
        raise PatientIdTooLongError(
            f"患者编号有 {len(patient_id)} 个字符，XieHe 最多允许 {MAX_PATIENT_ID_CHARACTERS} 个"
        )


def match_patient_id(first: str, second: str) -> IdMatch:
    first, second = normal_patient_id(first), normal_patient_id(second)
    if first == second:
        return IdMatch.EXACT
    return IdMatch.FORM_DIFFERS if form_key(first) == form_key(second) else IdMatch.DIFFERENT


@lru_cache(KEYS_KEPT)
def same_patient_id(first: str, second: str) -> bool:
    """Whether both mean one patient: equal up to padding, normal form, case and width."""
    return match_patient_id(first, second) is not IdMatch.DIFFERENT


def collation_key(patient_id: str) -> str:
    """A lock key: equal if XieHe's database (utf8mb4_unicode_ci) may treat two ids as equal.

    It folds case, width, accents, kana and invisible characters, and all characters beyond the BMP into one. It may be
    coarser than the database, never finer, so it does not decide identity.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", patient_id).casefold())
    folded = folded.translate(_STROKED_LETTERS).translate(_HIRAGANA_TO_KATAKANA)
    kept = (char for char in folded if unicodedata.category(char) not in _IGNORABLE)
    return "".join("\ufffd" if ord(char) > 0xFFFF else char for char in kept).strip(_PADDING)


@lru_cache(KEYS_KEPT)
def form_key(patient_id: str) -> str:
    """The id with case and width folded and accents kept; equal for ids of one patient."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", patient_id).casefold()).strip(_PADDING)
