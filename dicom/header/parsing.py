"""Bytes on disk → a parsed data set up to its pixels (PS3.5 section 7, PS3.10 section 7).

DICOM is recognised by content. pydicom's element generator parses it. ``dcmread(force=True)`` would accept a truncated
file without an error.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import BinaryIO, cast

import pydicom.charset
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.valuerep import VR

from dicom.foreign_errors import translated
from dicom.header.inflating_stream import InflatingStream
from dicom.transfer_syntaxes import Codec, codec_of, transfer_syntax
from errors import FileError, NotDicomError, TruncatedFileError

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
_PIXEL_TAGS = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})
_TRANSFER_SYNTAX = 0x00020010
_MEDIA_STORAGE_SOP_CLASS = 0x00020002

_UNDEFINED = 0xFFFFFFFF
_MAGIC_AT = 128
_HEAD_BYTES = 4096
_HEADER_BYTES = 8
_SHORT_READ_BYTES = 1 << 20
_VRS = frozenset(str(vr).encode("ascii") for vr in VR if len(str(vr)) == 2)
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """How data elements are written (PS3.5 section 7.1.2, 7.1.3, 7.3)."""

    implicit_vr: bool
    little_endian: bool


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The pixel data element in the stream.

    Attributes:
        tag: Pixel Data, Float Pixel Data or Double Float Pixel Data.
        vr: OB, OW, ..., or None under implicit VR.
        offset: of the value's first byte.
        length: bytes of the value; None if undefined (encapsulated).
    """

    tag: int
    vr: str | None
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """The data set up to its pixels, and the stream that holds the pixels.

    Attributes:
        transfer_syntax: UID from the file meta information, or None.
        sop_class: Media Storage SOP Class UID from the file meta information, or None.
        encoding: as found; the data set's own bytes beat a contradicting transfer syntax.
        pixels: None if the data set has none.
        stream: the file, or its deflated data set, inflated while it is read.
        stream_bytes: its length; unlimited if deflated.
    """

    dataset: Dataset
    transfer_syntax: str | None
    sop_class: str | None
    encoding: Encoding
    pixels: PixelElement | None
    stream: BinaryIO
    stream_bytes: int

    @property
    def codec(self) -> Codec | None:
        """How the frames are compressed; None for an unknown transfer syntax."""
        return codec_of(self.transfer_syntax)


class _BoundedStream:
    """A stream that refuses a read beyond its end, so that a wrong length does not allocate gigabytes.

    It counts its position, since pydicom asks at each element and a file would make a system call. ``ended``: a read
    met the end of the stream; ``cut_header``: what it left of an element's header.
    """

    __slots__ = ("_at", "_size", "_stream", "cut_header", "ended")

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._at = stream.tell()
        self.cut_header = b""
        self.ended = False

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = self._stream.seek(offset, whence)
        return self._at

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes. Raises TruncatedFileError if much more is requested than is left."""
        if count > _SHORT_READ_BYTES and count > self._size - self._at:
            raise _truncated(self._at, self._size)
        data = self._stream.read(count)
        self._at += len(data)
        if len(data) < count:
            self.ended = True
            if count == _HEADER_BYTES:
                self.cut_header = data
        return data


class _CharsetTerms(dict[str, str]):
    """pydicom's table of character sets, with its default for unknown terms.

    pydicom would ask Python's codecs for the term, which raise for a NUL.
    """

    def __missing__(self, term: str) -> str:
        return default_encoding


def _accept_any_charset() -> None:
    if not isinstance(pydicom.charset.python_encoding, _CharsetTerms):
        pydicom.charset.python_encoding = _CharsetTerms(pydicom.charset.python_encoding)


def parse(stream: BinaryIO, size: int) -> ParsedFile:
    """Parses the file up to its pixels.

    Args:
        stream: the open file, at its beginning.
        size: its length in bytes.

    Raises:
        NotDicomError: the content is not DICOM, or damaged beyond recognition.
        TruncatedFileError: the data set ends in the middle of an element.
        FileTooLargeError: the header of a deflated data set exceeds the limit.
    """
    _accept_any_charset()
    start = _start_of_elements(stream.read(_HEAD_BYTES), size)
    if start is None:
        raise NotDicomError("内容不是 DICOM：没有 DICM 标记，开头也不是 DICOM 数据元素")
    stream.seek(start)
    meta = _read_meta(stream, size)
    syntax = _text(meta.get(BaseTag(_TRANSFER_SYNTAX)))
    known = transfer_syntax(syntax)
    if known is not None and known.deflated:
        stream, size = cast(BinaryIO, InflatingStream(stream)), sys.maxsize
    sop_class = _text(meta.get(BaseTag(_MEDIA_STORAGE_SOP_CLASS)))
    return _read_data_set(stream, size, syntax, sop_class)


def _start_of_elements(head: bytes, size: int) -> int | None:
    """Offset of the first data element; None if this is not DICOM."""
    if head[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM":
        return _MAGIC_AT + 4
    return 0 if _is_chain_of_elements(head, size) else None


def _is_chain_of_elements(head: bytes, size: int) -> bool:
    """Whether ``head`` begins with plausible elements of group 0002 or 0008 in ascending order.

    A file without preamble has no magic bytes, so three linked elements are required, or two at the end of the file.
    """
    encoding = _sniff(head[:8])
    if encoding is None:
        return False
    at, previous, count = 0, -1, 0
    while count < 3 and at + 8 <= len(head):
        tag, length, value_at = _element_header(head, at, encoding)
        plausible_first = previous >= 0 or (tag >> 16 in (0x0002, 0x0008) and _is_known(tag))
        if tag <= previous or not plausible_first or value_at < 0:
            return False
        count, previous = count + 1, tag
        if length == _UNDEFINED:
            return count > 1
        at = value_at + length
        if at > size:
            return False
    return count == 3 or (count == 2 and at >= min(size, len(head)))


def _is_known(tag: int) -> bool:
    return tag & 0xFFFF == 0 or dictionary_has_tag(tag)


def _element_header(head: bytes, at: int, encoding: Encoding) -> tuple[int, int, int]:
    """(tag, length, offset of the value); the offset is -1 if the header is not plausible."""
    order = "<" if encoding.little_endian else ">"
    group, element = struct.unpack_from(order + "HH", head, at)
    tag = group << 16 | element
    if encoding.implicit_vr:
        (length,) = struct.unpack_from(order + "L", head, at + 4)
        return tag, length, at + 8
    vr = head[at + 4 : at + 6]
    if vr in _LONG_VRS:
        if at + 12 > len(head):
            return tag, 0, len(head)
        (length,) = struct.unpack_from(order + "L", head, at + 8)
        return tag, length, at + 12
    (length,) = struct.unpack_from(order + "H", head, at + 6)
    return tag, length, at + 8 if vr in _VRS else -1


def _sniff(first: bytes) -> Encoding | None:
    """The encoding by the first eight bytes: low groups come first, and an explicit VR is two known letters."""
    if len(first) < 8 or (first[0] == 0) == (first[1] == 0):
        return None
    return Encoding(implicit_vr=first[4:6] not in _VRS, little_endian=first[1] == 0)


def _declared(syntax: str | None) -> Encoding:
    """The encoding of the transfer syntax (PS3.5 annex A)."""
    known = transfer_syntax(syntax)
    return Encoding(known.implicit_vr, known.little_endian) if known else Encoding(False, True)


def _read_meta(stream: BinaryIO, size: int) -> dict[BaseTag, RawDataElement]:
    """The file meta information (group 0002, explicit little endian); empty if absent.

    Its group length (PS3.10 7.1) is wrong in many files, so it is not used. Some workstations put a second group
    before the original one; the first value of each element counts.
    """

    def past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 != 0x0002

    bounded = _BoundedStream(stream, size)
    found: dict[BaseTag, RawDataElement] = {}
    with translated(lambda: _broken(bounded, size)):
        for element in data_element_generator(cast(BinaryIO, bounded), False, True, stop_when=past_meta):
            if isinstance(element, RawDataElement):
                found.setdefault(element.tag, element)
    return found


def _read_data_set(stream: BinaryIO, size: int, syntax: str | None, sop_class: str | None) -> ParsedFile:
    start = stream.tell()
    first = stream.read(8)
    if len(first) < 8:
        raise _truncated(start, size)
    stream.seek(start)
    encoding = _sniff(first) or _declared(syntax)
    pixels: PixelElement | None = None

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal pixels
        if tag not in _PIXEL_TAGS:
            return int(tag) == 0  # no element of a data set, but padding behind it
        pixels = PixelElement(tag, vr, bounded.tell(), None if length == _UNDEFINED else length)
        return True

    bounded = _BoundedStream(stream, size)
    generator = data_element_generator(
        cast(BinaryIO, bounded), encoding.implicit_vr, encoding.little_endian, stop_when=at_pixels
    )
    elements: dict[BaseTag, RawDataElement] = {}
    with translated(lambda: _broken(bounded, size)):
        for element in generator:
            if bounded.ended:
                _require_complete(element, bounded, size)
            elements[element.tag] = _with_value(cast(RawDataElement, element))
        dataset = _as_dataset(elements, encoding)
    if not elements:
        raise NotDicomError("有 DICM 标记，但其后没有任何可识别的数据元素")
    if pixels is None and bounded.cut_header.strip(b"\0"):
        raise _truncated(size, size)
    return ParsedFile(dataset, syntax, sop_class, encoding, pixels, stream, size)


def _as_dataset(elements: dict[BaseTag, RawDataElement], encoding: Encoding) -> Dataset:
    """A pydicom data set without a character set; :mod:`dicom.header.text` decodes the raw bytes."""
    dataset = Dataset(cast(dict[BaseTag, DataElement | RawDataElement], elements))
    dataset.set_original_encoding(encoding.implicit_vr, encoding.little_endian, default_encoding)
    return dataset


def _with_value(element: RawDataElement) -> RawDataElement:
    """Marks an element without a value as empty; pydicom would read it again later."""
    if isinstance(element, RawDataElement) and element.value is None:
        return element._replace(value=b"")
    return element


def _require_complete(element: object, stream: _BoundedStream, size: int) -> None:
    """Refuses an element whose value the file cuts off; pydicom accepts it."""
    if not isinstance(element, RawDataElement) or element.length == _UNDEFINED:
        return
    if isinstance(element.value, bytes) and len(element.value) < element.length:
        raise _truncated(stream.tell(), size)


def _broken(stream: _BoundedStream, size: int) -> FileError:
    if stream.ended:
        return _truncated(stream.tell(), size)
    return NotDicomError(f"DICOM 数据元素已损坏，无法解析（约在字节 {stream.tell()} 处）")


def _truncated(position: int, size: int) -> TruncatedFileError:
    return TruncatedFileError(f"文件不完整：数据集在字节 {min(position, size)} 处的元素中途结束，请重新获取该文件")


def _text(element: RawDataElement | None) -> str | None:
    if element is None or not isinstance(element.value, bytes):
        return None
    return element.value.decode("ascii", "replace").strip(" \0") or None
