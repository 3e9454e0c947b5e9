"""Single values of a pydicom data set, read from the raw bytes if possible.

Real files have rescale values of VR UN, windows that are text, and signed numbers of VR US. A comma is a decimal point,
since it is no character of a decimal string (PS3.5 6.2, DS). What is no number becomes NaN.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Sequence
from functools import cache

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from dicom.foreign_errors import translated
from errors import MissingAttributeError

_FORMATS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_AMBIGUOUS = {"US or SS": "US", "US or OW": "US", "US or SS or OW": "US"}
_PADDING = " \0\t\r\n\f\v"
_MOST_CHARACTERS = 65_536
_DECIMAL = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:E[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@cache
def _tag(keyword: str) -> BaseTag:
    """The keyword's tag. Repeating groups have no keywords; there it is the tag, in eight hexadecimal digits."""
    tag = tag_for_keyword(keyword)
    return BaseTag(int(keyword, 16) if tag is None else tag)


def raw_item(ds: Dataset, keyword: str) -> RawDataElement | DataElement | None:
    return ds.get_item(_tag(keyword), keep_deferred=True)


def has(ds: Dataset, keyword: str) -> bool:
    """Whether the element exists; pydicom's ``in`` reads a keyword as hexadecimal digits first."""
    return _tag(keyword) in ds


def text(ds: Dataset, keyword: str) -> str | None:
    """The first value without padding; None if absent or empty."""
    values = _texts(raw_item(ds, keyword))
    return values[0] if values and values[0] else None


def bounded(value: str | None) -> str | None:
    """A text of sane length; a longer one is cut, and a digest keeps two of them apart."""
    if value is None or len(value) <= _MOST_CHARACTERS:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{value[:_MOST_CHARACTERS]}…{digest}"


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as floats, NaN for what is no number; empty if absent or empty."""
    element = raw_item(ds, keyword)
    if element is None:
        return ()
    if isinstance(element, RawDataElement):
        binary = _FORMATS.get(_number_vr(element))
        if binary is not None:
            return tuple(map(float, _unpack(element, binary)))
    return tuple(map(_float, _texts(element)))


def integer(ds: Dataset, keyword: str) -> int | None:
    """The first value; None if absent, empty or no integer."""
    values = numbers(ds, keyword)
    return int(values[0]) if values and values[0].is_integer() else None


def items(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; empty if absent. Raises MissingAttributeError if damaged."""
    if not has(ds, keyword):
        return []
    with translated(lambda: MissingAttributeError(f"序列 {keyword} 已损坏，无法解析")):
        value = ds[_tag(keyword)].value  # pydicom parses nested sequences here
    return value if isinstance(value, DicomSequence) else []


def _number_vr(element: RawDataElement) -> str:
    """The VR that decodes the bytes: the file's if it is numeric, else the dictionary's."""
    if element.VR in _FORMATS or element.VR in ("DS", "IS"):
        return str(element.VR)
    try:
        vr = dictionary_VR(element.tag)
    except KeyError:
        return "UN"
    return _AMBIGUOUS.get(vr, vr)


def _unpack(element: RawDataElement, binary: str) -> tuple[float, ...]:
    data = element.value or b""
    order = "<" if element.is_little_endian else ">"
    count = len(data) // struct.calcsize(binary)
    return struct.unpack_from(f"{order}{count}{binary}", data)


def _texts(element: RawDataElement | DataElement | None) -> list[str]:
    """The values as texts; a backslash separates them in the file."""
    if element is None or element.value is None:
        return []
    value = element.value
    if isinstance(value, bytes):
        joined = value.decode("ascii", "replace").strip(_PADDING)
        return [part.strip(_PADDING) for part in joined.split("\\")] if joined else []
    if isinstance(value, (MultiValue, list, tuple)):
        return [str(part).strip(_PADDING) for part in value]
    return [str(value).strip(_PADDING)] if str(value) else []


def _float(value: str) -> float:
    """The number with its comma read as a point; NaN for anything else, also for 1.234,5."""
    return float(value.replace(",", ".")) if _DECIMAL.fullmatch(value) else math.nan


def require_integer(ds: Dataset, keyword: str) -> int:
    """As :func:`integer`. Raises MissingAttributeError, which names the tag."""
    value = integer(ds, keyword)
    if value is None:
        raise MissingAttributeError(f"缺少或无法解析属性 {named(keyword)}，无法解释像素")
    return value


def named(keyword: str) -> str:
    """Keyword and tag, for messages."""
    return f"{keyword} {_tag(keyword)}"


def bytes_of(ds: Dataset, keyword: str) -> tuple[bytes, bool]:
    """(value as bytes, whether its words are little endian); empty if absent."""
    element = raw_item(ds, keyword)
    if element is None or element.value is None:
        return b"", True
    if isinstance(element, RawDataElement):
        return bytes(element.value), element.is_little_endian
    if isinstance(element.value, bytes):
        return element.value, True
    return np.atleast_1d(np.asarray(element.value)).astype("<u2").tobytes(), True


def vr_of(ds: Dataset, keyword: str) -> str | None:
    element = raw_item(ds, keyword)
    return None if element is None else element.VR
