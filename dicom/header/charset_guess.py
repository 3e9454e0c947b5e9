"""Guesses the character set of bytes under a Latin declaration or none, by the bytes alone.

A Latin set decodes any bytes, and most short runs of high bytes are valid in several East Asian sets, many in UTF-8
too. So validity is not enough: each reading needs evidence that the others lack.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

# In these, 0xA0-0xBF are signs rather than letters, so that no word of theirs is valid UTF-8.
CODECS_WITH_SIGNS_BELOW_C0 = frozenset({None, "latin_1", "iso8859_9", "iso8859_15"})

_EAST_ASIAN_CODECS = {"gb18030": (1.2, 1.5), "big5hkscs": (1.0, 1.0), "cp932": (1.0, 1.0), "euc_kr": (1.0, 1.0)}
"""Beside UTF-8, with the weights of a family name and of everyday characters: XieHe is used in mainland China."""
_PINYIN_LETTERS = frozenset("āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜüêńň")  # GB2312, row 8
_CJK_SIGNS = frozenset("·•‧—–“”‘’…℃")
_WORD_SEPARATORS = re.compile(r"[ \t\r\n^=\\,.'’()\-]+")
_FOUR_BYTES = re.compile(rb"[\x81-\xfe][0-9][\x81-\xfe][0-9]")
_SIGN_AFTER_LETTER = re.compile(r"(?<=\w)[ªº´·\xa0]")  # Mª José, O´Neill, Gal·la

# Lower and upper bound of the codes of everyday characters, by codec and the codec in which they are coded.
_EVERYDAY_CODES = {
    "gb18030": ("gb2312", b"\xb0\xa1", b"\xf7\xfe"),  # GB 2312, levels 1 and 2
    "big5hkscs": ("big5", b"\xa4\x40", b"\xc6\x7e"),  # Big5, level 1
    "cp932": ("shift_jis", b"\x82\x9f", b"\x98\x72"),  # JIS X 0208, kana and level 1
    "euc_kr": ("euc_kr", b"\xb0\xa1", b"\xc8\xfe"),  # KS X 1001, hangul
}

# The commonest Chinese family names, simplified and traditional, and the first characters of compound ones.
_CHINESE = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓韩冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金"
    "贾韦夏付方邹熊白孟秦邱侯江尹薛闫雷龙黎史陶贺毛段郝顾龚邵万覃武钱戴严欧莫孔向常汤康易乔温庄颜牛樊章葛俞鲁华申倪安季齐伍施路洪"
    "梅焦聂柳岳骆涂宁阮殷柯穆翟谷詹辛耿关岑柴褚辜蒲甘裴司闻诸上"
    "卞苗亢仇邢解缪佟祁匡卓冉靳戚巩滕查晏包车项成游凌霍鲍费宫谈盛兰丘蓝桂娄毕曲连燕冷简牟迟窦刁喻"
    "張劉陳楊黃趙吳孫馬羅鄭謝許鄧韓馮蕭蔣於葉蘇呂盧鍾鐘譚陸賈韋鄒閆閻龍賀顧龔萬錢嚴歐湯喬溫莊顏魯華齊聶駱塗寧關聞諸"
)  # fmt: skip
_KOREAN = frozenset(
    "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채원천방공현함변염"
)


def guess(value: bytes, latin_codec: str | None) -> tuple[str, str] | None:
    """``(codec, text)`` if the bytes are UTF-8 or East Asian text rather than Latin text; else None.

    ``latin_codec`` is the declared codec, None without a declaration that decodes. Valid UTF-8 is trusted, unless it
    consists of two-byte sequences only and is Chinese in GB18030 too (住院 reads סԺ, 钱 reads Ǯ): then its letters
    must be of one script. Half a character at the end is dropped if nothing fits otherwise.
    """
    utf8, gb18030 = _strict(value, "utf_8"), _strict(value, "gb18030")
    chinese = gb18030 is not None and _plausible_chinese(gb18030, value, latin_codec)
    if utf8 is not None and _plausible_utf8(utf8, latin_codec) and not (chinese and _accidental_utf8(utf8)):
        return "utf_8", utf8
    east_asian = _guess_east_asian(value, latin_codec)
    if east_asian is not None:
        return east_asian
    return _guess_cut(value) if utf8 is None and gb18030 is None else None


def looks_western(text: str) -> bool:
    """Whether a name decoded as Latin-1 is plausible: its accented words are letters, not all of them accented.

    ``³¯¤j¤å`` (陳大文 in Big5) is not. Other scripts, which only an escape sequence selects, are not checked.
    """
    words = _WORD_SEPARATORS.split(_SIGN_AFTER_LETTER.sub(" ", text))
    return all(map(_is_western_word, filter(_is_accented_latin, words)))


def has_private_use(text: str) -> bool:
    """Whether a character is of a private use area, as bytes of another set come out."""
    return any(unicodedata.category(char) == "Co" for char in text)


def _is_accented_latin(word: str) -> bool:
    return not word.isascii() and max(word) <= "\xff"


def _is_western_word(word: str) -> bool:
    letters = word.strip("0123456789")
    return letters.isalpha() and "µ" not in letters and (len(letters) < 3 or any(map(str.isascii, letters)))


def decode_cut(value: bytes, codec: str) -> str | None:
    """The text without half a character at its end, where a writer cut at 64 bytes; None for other damage."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        text = decoder.decode(value)
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def all_cjk(text: str) -> bool:
    """Whether all beyond ASCII is Han or its punctuation, and some of it is Han."""
    beyond_ascii = [char for char in text if not char.isascii()]
    return any(map(is_han, beyond_ascii)) and all(is_han(char) or _goes_with_han(char) for char in beyond_ascii)


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
    """Whether two-byte sequences only form letters of several scripts, too few letters, or no words."""
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


# --- East Asian sets -------------------------------------------------------------------------------------------------


def _guess_east_asian(value: bytes, latin_codec: str | None) -> tuple[str, str] | None:
    readings = [(codec, _strict(value, codec)) for codec in _EAST_ASIAN_CODECS]
    plausible = [
        (codec, text) for codec, text in readings if text is not None and _plausible_in(codec, text, value, latin_codec)
    ]
    return max(plausible, key=_evidence, default=None)


def _evidence(reading: tuple[str, str]) -> float:
    """The evidence for a reading: a family name at its beginning, and the share of everyday characters."""
    codec, text = reading
    letters = _east_asian_letters(text)
    everyday = sum(is_everyday(char, codec) for char in letters) / len(letters)
    of_family_name, of_everyday = _EAST_ASIAN_CODECS[codec]
    return of_family_name * begins_with_family_name(letters) + of_everyday * everyday


def _plausible_in(codec: str, text: str, value: bytes, latin_codec: str | None) -> bool:
    if codec == "gb18030":
        return _plausible_chinese(text, value, latin_codec)
    letters = _east_asian_letters(text)
    foreign = any(not (char.isascii() or char in letters or _goes_with_han(char)) for char in text)
    if foreign or _letter_touches_han(text) or not _ENOUGH[codec](letters):
        return False
    return _is_chinese_name(text) or not _well_formed_words(_latin_reading(value, latin_codec))


def _east_asian_letters(text: str) -> list[str]:
    return [char for char in text if is_han(char) or is_kana(char) or is_hangul(char)]


def _enough_big5(letters: list[str]) -> bool:
    """A name of Han characters, or three different common ones; a single one is a sign in Latin text (°C reads 歪)."""
    common = {char for char in letters if is_everyday(char, "big5hkscs")}
    if not all(map(is_han, letters)):
        return False
    return begins_with_family_name(letters) or (len(common) > 2 and common.issuperset(letters))


def _enough_shift_jis(letters: list[str]) -> bool:
    """Two common characters, and no more rare ones (渡邊 has one of each)."""
    common = sum(is_everyday(char, "cp932") for char in letters)
    return common > 1 and 2 * common >= len(letters)


def _enough_euc_kr(letters: list[str]) -> bool:
    """A name of three syllables, as most are; other text is as likely Chinese, which has the same codes."""
    return all(map(is_hangul, letters)) and len(letters) == 3 and begins_with_family_name(letters)


_ENOUGH = {"big5hkscs": _enough_big5, "cp932": _enough_shift_jis, "euc_kr": _enough_euc_kr}


# --- Chinese in GB18030 ----------------------------------------------------------------------------------------------


def _plausible_chinese(text: str, value: bytes, latin_codec: str | None) -> bool:
    """Whether bytes that decode as GB18030 are Chinese rather than Latin text with accents.

    ``Müller`` is valid GB18030 too (ü and l make 黮). The evidence:

    - All beyond ASCII is Han or Chinese punctuation. At least one character is of GB2312 (both bytes high) or of four
      bytes, or the text is a name: a family name, and Han throughout. An accented letter is nearly always followed by
      an ASCII one, and the two make none of these.
    - A lone character needs a family name or a Latin reading that is no word (李 reads Àî, 郎 reads ÀÉ).
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
    if _is_chinese_name(text):
        return True
    if len(_east_asian_letters(text)) == 1 and _well_formed_words(_latin_reading(value, latin_codec)):
        return False
    enough = any(common) or _FOUR_BYTES.search(value) is not None
    return enough and (_only_common_han(text) or not _well_formed_words(_latin_reading(value, latin_codec)))


def _is_chinese_name(text: str) -> bool:
    """A family name, and nothing but Han characters and delimiters (許^靜 reads ÔS^ìo, two good Latin words)."""
    letters = "".join(_WORD_SEPARATORS.split(text))
    return begins_with_family_name(letters) and all(map(is_han, letters))


def _letter_touches_han(text: str) -> bool:
    return any(
        (is_han(left) and _is_ascii_letter(right)) or (_is_ascii_letter(left) and is_han(right))
        for left, right in pairwise(text)
    )


def _only_common_han(text: str) -> bool:
    return all(_is_gb2312_han(char) for char in text if is_han(char))


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
    return is_han(char) and is_everyday(char, "gb18030")


def _goes_with_han(char: str) -> bool:
    """East Asian punctuation, full-width forms, half-width katakana, middle dots of names, pinyin with tones."""
    return "\u3000" <= char <= "\u303f" or "\uff01" <= char <= "\uff9f" or char in _CJK_SIGNS or char in _PINYIN_LETTERS


# --- characters ------------------------------------------------------------------------------------------------------


def is_han(char: str) -> bool:
    """Any Han block: unified, extension A, compatibility, or beyond the BMP."""
    return (
        "\u4e00" <= char <= "\u9fff"
        or "\u3400" <= char <= "\u4dbf"
        or "\uf900" <= char <= "\ufaff"
        or "\U00020000" <= char <= "\U0003ffff"
        or char == "〇"
    )


def is_kana(char: str) -> bool:
    return "\u3041" <= char <= "\u30fe"


def is_hangul(char: str) -> bool:
    return "\uac00" <= char <= "\ud7a3"


def is_everyday(char: str, codec: str) -> bool:
    coded_in, first, last = _EVERYDAY_CODES[codec]
    return first <= char.encode(coded_in, "ignore") <= last


def begins_with_family_name(letters: Sequence[str]) -> bool:
    return bool(letters) and letters[0] in (_KOREAN if is_hangul(letters[0]) else _CHINESE)
