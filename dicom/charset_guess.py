"""UTF-8, GB18030, or accented Latin? What bytes are under a Latin declaration or none, judged by the bytes alone.

A Latin set decodes any bytes, so its declaration proves nothing; and most short runs of high bytes are valid GB18030,
many are valid UTF-8 as well. So validity is not enough, and each reading has to show evidence that the others lack.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from itertools import pairwise

# In these, 0xA0-0xBF are signs rather than letters, so that no word of theirs is valid UTF-8.
CODECS_WITH_SIGNS_BELOW_C0 = frozenset({None, "latin_1", "iso8859_9", "iso8859_15"})

_PINYIN_LETTERS = frozenset("āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜüêńň")  # GB2312, row 8
_CJK_SIGNS = frozenset("·•‧—–“”‘’…℃")
_WORD_SEPARATORS = re.compile(r"[\s^=\\,.'’()\-]+")


def guess_utf8_or_gb18030(value: bytes, latin_codec: str | None) -> tuple[str, str] | None:
    """``(codec, text)`` where the bytes are UTF-8 or Chinese in GB18030 rather than Latin text; else None.

    ``latin_codec`` is what is declared, None where nothing is, or nothing that decodes. Valid UTF-8 is believed, unless
    it consists of two-byte sequences only and is Chinese in GB18030 too (住院 reads סԺ, 钱 reads Ǯ): then its letters
    must be of one script, as a word's are. Half a character at the end is dropped where nothing fits otherwise.
    """
    utf8, gb18030 = _strict(value, "utf_8"), _strict(value, "gb18030")
    chinese = gb18030 is not None and _plausible_chinese(gb18030, _latin_reading(value, latin_codec), latin_codec)
    if utf8 is not None and _plausible_utf8(utf8, latin_codec) and not (chinese and _accidental_utf8(utf8)):
        return "utf_8", utf8
    if gb18030 is not None and chinese:
        return "gb18030", gb18030
    return _guess_cut(value) if utf8 is None and gb18030 is None else None


def decode_cut(value: bytes, codec: str) -> str | None:
    """The text without half a character at the very end, where a writer cut at 64 bytes; None for other damage."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        text = decoder.decode(value)
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def all_cjk(text: str) -> bool:
    """Whether all beyond ASCII is Han (of the BMP) or its punctuation, and some of it is Han."""
    beyond_ascii = [char for char in text if not char.isascii()]
    return any(map(_is_han, beyond_ascii)) and all(_is_han(char) or _goes_with_han(char) for char in beyond_ascii)


def _strict(value: bytes, codec: str) -> str | None:
    try:
        return value.decode(codec)
    except UnicodeDecodeError:
        return None


def _latin_reading(value: bytes, latin_codec: str | None) -> str:
    return value.decode(latin_codec or "latin_1", "replace")


def _guess_cut(value: bytes) -> tuple[str, str] | None:
    for codec in ("utf_8", "gb18030"):
        text = decode_cut(value, codec)
        if text is not None and all_cjk(text) and not _letter_touches_han(text) and _only_common_han(text):
            return codec, text
    return None


# --- UTF-8 -----------------------------------------------------------------------------------------------------------


def _plausible_utf8(text: str, latin_codec: str | None) -> bool:
    if all_cjk(text):
        return True
    letters = all(char.isascii() or unicodedata.category(char)[0] in "LM" or _goes_with_han(char) for char in text)
    return letters and latin_codec in CODECS_WITH_SIGNS_BELOW_C0


def _accidental_utf8(text: str) -> bool:
    """Two-byte sequences only, whose letters are no word: of several scripts, or too few, or strange to their word."""
    letters = [char for char in text if not char.isascii()]
    if any(char >= "\u0800" for char in letters):
        return False
    scripts = {unicodedata.name(char, "?").split()[0] for char in letters}
    if scripts == {"LATIN"}:
        return not (_accent_touches_ascii_letter(text) and _well_formed_words(text))
    return len(scripts) > 1 or len(letters) < 3


def _accent_touches_ascii_letter(text: str) -> bool:
    return any(
        left.isalpha() and right.isalpha() and left.isascii() != right.isascii() for left, right in pairwise(text)
    )


# --- Chinese in GB18030 ----------------------------------------------------------------------------------------------


def _plausible_chinese(text: str, latin_reading: str, latin_codec: str | None) -> bool:
    """Whether bytes that decode as GB18030 are Chinese rather than Latin text with accents.

    ``Müller`` is valid GB18030 too (ü and l make 黮). The evidence:

    - All beyond ASCII is Han or Chinese punctuation, and at least one character is of GB2312 (both bytes high). An
      accented letter is nearly always followed by an ASCII one, and the two make none of these.
    - Where an ASCII letter touches a Han character (Conceição reads Concei玢o; but there is 张伟A, too), two characters
      of GB2312 in a row: four accented letters in a row, which no language with Latin-1 has. Those with Latin-2 to
      Latin-4 have them (zażółć), so there a touching letter decides against Chinese.
    - Where a Han character has swallowed an ASCII letter (Öğüt reads 逐黷), the Latin reading must be no well-formed
      words: signs among the letters (刘祎 reads Áõµt), or capitals after small letters (王镕 reads ÍõéF).
    """
    if not all_cjk(text):
        return False
    common = [_is_gb2312_han(char) for char in text]
    if _letter_touches_han(text):
        return latin_codec in CODECS_WITH_SIGNS_BELOW_C0 and any(left and right for left, right in pairwise(common))
    return any(common) and (_only_common_han(text) or not _well_formed_words(latin_reading))


def _letter_touches_han(text: str) -> bool:
    return any(
        (_is_han(left) and _is_ascii_letter(right)) or (_is_ascii_letter(left) and _is_han(right))
        for left, right in pairwise(text)
    )


def _only_common_han(text: str) -> bool:
    return all(_is_gb2312_han(char) for char in text if _is_han(char))


def _well_formed_words(text: str) -> bool:
    """Letters only, and capitals only where a word begins or throughout."""
    words = [word for word in _WORD_SEPARATORS.split(text) if word]
    return all(
        word.isalpha() and "µ" not in word and (word[1:].islower() or word.isupper() or len(word) == 1)
        for word in words
    )


def _is_ascii_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _is_gb2312_han(char: str) -> bool:
    return _is_han(char) and len(char.encode("gb2312", "ignore")) == 2


def _is_han(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff" or char == "〇"


def _goes_with_han(char: str) -> bool:
    """Chinese punctuation, full-width forms, the middle dots of foreign names, and pinyin with tones."""
    return "\u3000" <= char <= "\u303f" or "\uff01" <= char <= "\uff5e" or char in _CJK_SIGNS or char in _PINYIN_LETTERS
