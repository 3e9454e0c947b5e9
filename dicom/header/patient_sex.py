"""Patient's Sex (PS3.3 C.7.1.1) → XieHe's four genders, words of several languages included.

The value is CS, hence ASCII, and one of M, F, O. Real files hold words in several languages, whose bytes follow no
declaration. So each likely character set is tried, and the value is understood if all readings agree on one sex.
Numbers are not understood: tables of codes contradict each other (1 is male in ISO/IEC 5218, but not in every system).
"""

from __future__ import annotations

import re
import unicodedata

from models import Sex

_CODECS = ("utf_8", "gb18030", "big5", "shift_jis", "euc_kr", "latin_1")
_SEPARATORS = re.compile(r"[\s()/^.,;:_=\-、，。；：]+")
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
"""Says that the sex is not known: nothing to be warned of."""
_SEX_OF_WORD = {
    word: sex
    for sex, words in (
        (Sex.MALE, _MALE), (Sex.FEMALE, _FEMALE), (Sex.OTHER, _OTHER), (Sex.UNKNOWN, _UNKNOWN),
    )
    for word in words.split()
}  # fmt: skip


def parse_sex(value: bytes, decoded: str) -> Sex | None:
    """The sex that an element says; None if it cannot be told.

    Args:
        value: its first value's bytes.
        decoded: the same by the declared character set, or what has been guessed of it.
    """
    readings = (decoded, *(value.decode(codec, "replace") for codec in _CODECS))
    understood = {sex for sex in map(_sex_of_text, readings) if sex is not None}
    return understood.pop() if len(understood) == 1 else None


def _sex_of_text(text: str) -> Sex | None:
    """The one sex that all words of a text say (``M``, ``男/M``, ``Ｍ``); None for any word beside those known."""
    plain = unicodedata.normalize("NFKC", text).strip(" \0\t\r\n").casefold()
    words = [plain] if plain in _SEX_OF_WORD else [word for word in _SEPARATORS.split(plain) if word]
    found = {_SEX_OF_WORD.get(word) for word in words}
    return found.pop() if len(found) == 1 else None
