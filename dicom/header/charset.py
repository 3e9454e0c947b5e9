"""Bytes of a DICOM text element → text: Specific Character Set, ISO 2022, and repair of a wrong or missing tag.

:func:`decode_text` applies these rules in order:

1. Trust a multi-byte declaration (UTF-8, GB18030, GBK, ISO 2022) that decodes.
2. Trust a single-byte declaration that is no equipment's default (Greek, Cyrillic, Thai ...), if it decodes.
3. A Latin declaration decodes any bytes, so it proves nothing. Hospitals in China send GBK or UTF-8 under it or without
   a declaration; others send Big5, Shift JIS or EUC-KR. So there, and if the declaration does not decode, ask
   :mod:`dicom.header.charset_guess`.
4. Else trust a Latin declaration, and a multi-byte one if only the last character is cut in half. Without a
   declaration keep the text as Latin-1, which loses nothing, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dicom.header.charset_guess import decode_cut, guess

ESC = 0x1B


class CharsetSource(StrEnum):
    """How a text was decoded; reported as ``charset_source``."""

    DECLARED = "declared"
    """By Specific Character Set, or by escape sequences in the value."""
    DEFAULT = "default"
    """No known declaration, and the bytes are ASCII."""
    UTF_8 = "utf-8"
    """This and the following: the declaration is wrong or missing, and the bytes decide."""
    GB18030 = "gb18030"
    """GBK and GB2312 included."""
    BIG5 = "big5"
    SHIFT_JIS = "shift-jis"
    EUC_KR = "euc-kr"
    FALLBACK = "fallback"
    """Nothing fits; kept byte by byte as Latin-1."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    text: str
    source: CharsetSource


@dataclass(frozen=True, slots=True)
class Charset:
    """What Specific Character Set declares (PS3.3 C.12.1.1.2), as Python codecs.

    Attributes:
        codec: of the first value; None (ASCII, ISO_IR 6) without a known declaration.
        latin: a Latin codec, which decodes any bytes and is many devices' default.
        understood: nothing is declared, or a known term without control characters.
    """

    codec: str | None = None
    latin: bool = False
    understood: bool = True


# PS3.3 C.12.1.1.2, tables C.12-2 to C.12-5, by registration number. GB18030 holds GBK and GB2312, with the same bytes.
_CODEC_OF_NUMBER = {
    "13": "shift_jis", "58": "gb18030", "87": "shift_jis", "100": "latin_1", "101": "iso8859_2", "109": "iso8859_3",
    "110": "iso8859_4", "126": "iso8859_7", "127": "iso8859_6", "138": "iso8859_8", "144": "iso8859_5",
    "148": "iso8859_9", "149": "euc_kr", "159": "shift_jis", "166": "iso8859_11", "192": "utf_8", "203": "iso8859_15",
}  # fmt: skip
_CODEC_OF_NAME = {
    "UTF8": "utf_8", "GB18030": "gb18030", "GBK": "gb18030", "GB2312": "gb18030", "2022GBK": "gb18030",
    "202258": "gb18030",
}  # fmt: skip
_LATIN_CODECS = frozenset({"latin_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_9", "iso8859_15"})
_MULTI_BYTE_CODECS = frozenset({"shift_jis", "euc_kr", "gb18030", "utf_8"})
_SOURCE_OF_GUESS = {
    "utf_8": CharsetSource.UTF_8, "gb18030": CharsetSource.GB18030, "big5hkscs": CharsetSource.BIG5,
    "cp932": CharsetSource.SHIFT_JIS, "euc_kr": CharsetSource.EUC_KR,
}  # fmt: skip

# Escape sequences of PS3.3 tables C.12-3 and C.12-4: final bytes → (is it G1?, codec).
_G0_OF_ESCAPE = {b"(B": "ascii", b"(J": "jis_roman", b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2"}
_G1_OF_ESCAPE = {
    b")I": "shift_jis", b"-A": "latin_1", b"-B": "iso8859_2", b"-C": "iso8859_3", b"-D": "iso8859_4",
    b"-F": "iso8859_7", b"-G": "iso8859_6", b"-H": "iso8859_8", b"-L": "iso8859_5", b"-M": "iso8859_9",
    b"-T": "iso8859_11", b"-b": "iso8859_15", b"$)A": "gb18030", b"$)C": "euc_kr",
}  # fmt: skip
_REGISTRATION = re.compile(r"(?:ISO)?(?:2022)?IR(\d+)")
_ESCAPE = re.compile(rb"\x1b(\$?[()\-]?[@-Za-z])")
_G0_PREFIX = {"iso2022_jp": b"\x1b$B", "iso2022_jp_2": b"\x1b$(D"}
_RUNS = re.compile(rb"[\x80-\xff]+|[\x00-\x7f]+")
_DELIMITER = re.compile(rb"([\\^=\r\n\t\f])")


def parse_charset(terms: Iterable[str]) -> Charset:
    """What the values of Specific Character Set declare, misspelt ones (``ISO-IR 100``, ``utf-8``) included.

    Only the first value counts: escape sequences announce the others. If the first is empty and the second a
    stand-alone set (``\\GB18030``), the second counts.
    """
    terms = tuple(terms)
    declared = [_codec_of(term) for term in terms]
    first = declared[0] if declared else None
    if first is None:
        first = next((codec for codec in declared if codec in ("utf_8", "gb18030")), None)
    known = first is not None or all(map(_says_ascii, terms[:1]))
    return Charset(first, first in _LATIN_CODECS, known and all(map(str.isprintable, terms)))


def _codec_of(term: str) -> str | None:
    """None for ASCII and unknown terms. A NUL ends the term."""
    squeezed = _squeeze(term.partition("\0")[0])
    number = _REGISTRATION.fullmatch(squeezed)
    if number:
        return _CODEC_OF_NUMBER.get(number[1])
    return _CODEC_OF_NAME.get(squeezed.removeprefix("ISO"))


def _says_ascii(term: str) -> bool:
    number = _REGISTRATION.fullmatch(_squeeze(term))
    return not term or (number is not None and number[1] == "6")


def _squeeze(term: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", term.upper())


def decode_text(value: bytes, charset: Charset) -> DecodedText:
    """Decodes the bytes of one element, padding and delimiters included, by the module's rules."""
    value = value.rstrip(b" \0")
    if value.isascii() and ESC not in value:
        known = charset.codec is not None
        return DecodedText(value.decode("ascii"), CharsetSource.DECLARED if known else CharsetSource.DEFAULT)
    declared = _decode_declared(value, charset)
    if declared is not None and not charset.latin:
        return DecodedText(declared, CharsetSource.DECLARED)
    guessed = guess(value, charset.codec if charset.latin else None)
    if guessed is not None:
        return DecodedText(guessed[1], _SOURCE_OF_GUESS[guessed[0]])
    if declared is None and charset.codec in _MULTI_BYTE_CODECS and ESC not in value:
        declared = decode_cut(value, charset.codec)
    if declared is not None:
        return DecodedText(declared, CharsetSource.DECLARED)
    return DecodedText(_decode_byte_by_byte(value, charset), CharsetSource.FALLBACK)


def _decode_declared(value: bytes, charset: Charset) -> str | None:
    """None if the bytes are invalid in the declared set; 0x80-0x9F are no text in any single-byte set."""
    try:
        if ESC in value:
            return _decode_iso2022(value, charset.codec)
        if charset.codec is None or (
            charset.codec not in _MULTI_BYTE_CODECS and any(0x80 <= byte < 0xA0 for byte in value)
        ):
            return None
        return value.decode(charset.codec)
    except UnicodeDecodeError:
        return None


def _decode_byte_by_byte(value: bytes, charset: Charset) -> str:
    """The declared Latin set, else Latin-1; 0x80-0x9F as in Windows-1252 (O’Brien)."""
    text = value.decode(charset.codec if charset.latin and charset.codec else "latin_1", "replace")
    return "".join(_windows_sign(char) if "\x80" <= char < "\xa0" else char for char in text)


def _windows_sign(c1: str) -> str:
    return c1.encode("latin_1").decode("cp1252", "ignore") or c1


# --- ISO 2022 (PS3.5 6.1.2.5) ----------------------------------------------------------------------------------------


def _decode_iso2022(value: bytes, first_codec: str | None) -> str:
    """Text with escape sequences; undeclared ones count too.

    Delimiters reset G1 only if the first value has a G1 of its own (PS3.5 6.1.2.5.3): many Chinese and Korean writers
    omit the second escape sequence of a name.

    Raises:
        UnicodeDecodeError: an unknown escape sequence, or bytes that are not in their set.
    """
    g0, g1 = "ascii", first_codec
    parts = _ESCAPE.split(value)
    text = [_decode_segment(parts[0], g0, g1, first_codec)]
    for escape, segment in zip(parts[1::2], parts[2::2], strict=True):
        if escape in _G0_OF_ESCAPE:
            g0 = _G0_OF_ESCAPE[escape]
        elif escape in _G1_OF_ESCAPE:
            g1 = _G1_OF_ESCAPE[escape]
        else:
            raise UnicodeDecodeError("iso2022", value, 0, len(value), "unknown escape sequence")
        text.append(_decode_segment(segment, g0, g1, first_codec))
        g1 = first_codec if first_codec and g0 == "ascii" and _DELIMITER.search(segment) else g1
    return "".join(text)


def _decode_segment(segment: bytes, g0: str, g1: str | None, first_codec: str | None) -> str:
    if g0 in _G0_PREFIX:
        return _decode_runs(segment, g0, g1)
    head, *rest = _DELIMITER.split(segment, maxsplit=1) if first_codec else (segment,)
    text = _decode_runs(head, g0, g1)
    return text + _decode_runs(b"".join(rest), g0, first_codec) if rest else text


def _decode_runs(segment: bytes, g0: str, g1: str | None) -> str:
    return "".join(_decode_run(run, g0, g1) for run in _RUNS.findall(segment))


def _decode_run(run: bytes, g0: str, g1: str | None) -> str:
    if run[0] >= 0x80:
        return run.decode(g1 or "ascii")
    if g0 in _G0_PREFIX:
        return (_G0_PREFIX[g0] + run).decode(g0)
    if ESC in run:
        raise UnicodeDecodeError("iso2022", run, 0, len(run), "broken escape sequence")
    return run.decode("ascii")
