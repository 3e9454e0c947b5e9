"""Locates each frame in the pixel data element and reads one frame at a time (PS3.5 section 8, annex A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom.decoding.codestreams import has_second_codestream
from dicom.header.attributes import ImageAttributes
from dicom.header.parsing import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, ParsedFile, PixelElement
from dicom.header.values import named, numbers
from dicom.pixel_maths.stored_values import Cells, NumberKind, native_bits, native_cells
from dicom.transfer_syntaxes import Codec, transfer_syntax
from errors import (
    FileError,
    MissingAttributeError,
    PixelDecodeError,
    TruncatedPixelDataError,
    UnsupportedImageError,
)

_ITEM, _SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE0DD
_ITEM_START = b"\xfe\xff\x00\xe0"
_MAX_FRAGMENTS = 1_000_000
_READ_BYTES = 1 << 20
_JPEG_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")
_JPEG_XL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_START_BYTES = 12
_RLE_HEADER_BYTES, _RLE_SEGMENTS = 64, 15
_EXTENDED_OFFSETS = 0x7FE00001


def number_kind(pixels: PixelElement) -> NumberKind:
    kinds = {FLOAT_PIXEL_DATA: NumberKind.FLOAT32, DOUBLE_FLOAT_PIXEL_DATA: NumberKind.FLOAT64}
    return kinds.get(pixels.tag, NumberKind.INTEGER)


# --- native --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Uncompressed frames behind each other; frames of one-bit pixels need not begin at a byte.

    Attributes:
        stream, offset, length: position of the value.
        frame_bits: bits of one frame.
        little_endian, words: byte order, and whether of 16-bit words (VR OW).
        subsampled: two pixels share their chroma (YBR_FULL_422).
        padded: at least a frame's bytes follow the last frame, all zero.
    """

    stream: BinaryIO
    offset: int
    length: int
    frame_bits: int
    little_endian: bool
    words: bool
    subsampled: bool
    padded: bool = False

    def read(self, frame: int, image: ImageAttributes) -> Cells:
        """Flat cells of a frame (0-based), in this machine's byte order."""
        first_bit = frame * self.frame_bits
        start, end = first_bit // 8, -(-(first_bit + self.frame_bits) // 8)
        swapped = self.words and not self.little_endian
        aligned_start = start - start % 2 if swapped else start
        aligned_end = min(end + end % 2, self.length) if swapped else end
        data = _read_array(self.stream, self.offset + aligned_start, aligned_end - aligned_start)
        if image.kind is not NumberKind.INTEGER:
            return _floats(data, image, self.little_endian)
        if image.bits_allocated == 1:
            skip = first_bit - 8 * aligned_start
            return native_bits(_even(data), skip, self.frame_bits, little_endian=self.little_endian, words=self.words)
        return self._cells(data, start - aligned_start, image)

    def _cells(self, data: NDArray[np.uint8], skip: int, image: ImageAttributes) -> Cells:
        count = self.frame_bits // image.bits_allocated
        if image.bits_allocated == 8 and self.words and not self.little_endian:
            data = _even(data)
        cells = native_cells(data, image.bits_allocated, little_endian=self.little_endian, words=self.words)
        return cells[skip : skip + count]


def native_frames(parsed: ParsedFile, pixels: PixelElement, image: ImageAttributes) -> NativeFrames:
    """The frames of native pixel data, all of whose bytes exist.

    Raises:
        TruncatedPixelDataError: fewer bytes than rows, columns, samples, bits and frames require.
        MissingAttributeError, PixelDecodeError: more frames than the header counts.
        UnsupportedImageError: a cell size that this service does not read.
    """
    if image.bits_allocated not in ((1, 8, 16, 32) if image.kind is NumberKind.INTEGER else (32, 64)):
        raise UnsupportedImageError(f"不支持 BitsAllocated={image.bits_allocated} 的未压缩像素")
    available = min(pixels.length or 0, parsed.stream_bytes - pixels.offset)
    full = image.frame_pixels * image.samples * image.bits_allocated
    subsampled = image.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and available * 8 < full * image.frames
    frame_bits = image.frame_pixels * 2 * image.bits_allocated if subsampled else full
    needed = -(-frame_bits * image.frames // 8)
    if available < needed:
        raise TruncatedPixelDataError(f"像素数据不完整：应有 {needed} 字节，实有 {max(available, 0)} 字节")
    syntax = transfer_syntax(parsed.transfer_syntax)
    return NativeFrames(
        parsed.stream,
        pixels.offset,
        available,
        frame_bits,
        little_endian=parsed.encoding.little_endian and not (syntax and syntax.big_endian_pixels),
        words=pixels.vr != "OB",
        subsampled=subsampled,
        padded=_is_padded(parsed, pixels.offset + needed, available - needed, needed, image),
    )


def _is_padded(parsed: ParsedFile, end: int, left: int, needed: int, image: ImageAttributes) -> bool:
    """Whether at least a frame's bytes of zero padding follow the last frame (PS3.5 8.1.1, note).

    Anything else of that size is a frame that the header does not count.

    Args:
        end: offset behind the last frame. left: bytes after it. needed: bytes of all frames.
    """
    frame_bytes = max(needed // image.frames, 1)
    holds_more = left >= frame_bytes or _is_two_with_shared_chroma(left, needed, image)
    if not holds_more or left == needed % 2:  # the byte that makes the length even
        return False
    syntax = transfer_syntax(parsed.transfer_syntax)
    if (syntax and syntax.deflated) or not _is_zero(parsed.stream, end, left):
        raise surplus_frames(parsed.dataset, image.frames + max(left // frame_bytes, 1))
    return True


def _is_two_with_shared_chroma(left: int, needed: int, image: ImageAttributes) -> bool:
    """Whether the bytes of one YBR_FULL_422 frame without shared chroma are two frames with it."""
    one = image.frame_pixels * 3 * image.bits_allocated // 8
    subsampled = image.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")
    return subsampled and image.frames == 1 and needed == one and left - one // 3 in (0, 1)


def _is_zero(stream: BinaryIO, offset: int, count: int) -> bool:
    stream.seek(offset)
    while count:
        part = stream.read(min(count, _READ_BYTES))
        if not part or part.count(0) != len(part):
            return False
        count -= len(part)
    return True


def surplus_frames(ds: Dataset, found: int) -> FileError:
    declared = numbers(ds, "NumberOfFrames")[:1]
    if not declared or declared[0] < 1:
        return MissingAttributeError(f"缺少属性 {named('NumberOfFrames')}，而像素数据有 {found} 帧，无法确定帧数")
    return PixelDecodeError(f"像素数据有 {found} 帧，文件头 NumberOfFrames 为 {declared[0]:g}，互相矛盾，已拒绝")


def _read_array(stream: BinaryIO, offset: int, count: int) -> NDArray[np.uint8]:
    data = np.empty(count, np.uint8)
    stream.seek(offset)
    view = data.data
    filled = 0
    while filled < count:
        got = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # every binary stream has it
        if not got:
            raise TruncatedPixelDataError(f"像素数据不完整：文件在字节 {offset + filled} 处结束")
        filled += got
    return data


def _floats(data: NDArray[np.uint8], image: ImageAttributes, little_endian: bool) -> Cells:
    values = data.view(f"{'<' if little_endian else '>'}f{image.bits_allocated // 8}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _even(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.append(data, np.uint8(0)) if data.size % 2 else data


# --- encapsulated --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fragment:
    """An item of encapsulated pixel data.

    Attributes:
        item: offset of the item's tag, relative to the first fragment's.
        offset, length: of the value in the stream.
        starts: it begins as a codestream does.
    """

    item: int
    offset: int
    length: int
    starts: bool


@dataclass(frozen=True, slots=True)
class EncapsulatedFrames:
    dataset: Dataset
    stream: BinaryIO
    fragments: tuple[tuple[_Fragment, ...], ...]

    def read(self, frame: int) -> bytes:
        """The codestream of a frame (0-based).

        Raises:
            MissingAttributeError, PixelDecodeError: a second codestream follows, which the header does not count.
        """
        parts = []
        for fragment in self.fragments[frame]:
            self.stream.seek(fragment.offset)
            parts.append(self.stream.read(fragment.length))
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if has_second_codestream(data):
            raise surplus_frames(self.dataset, len(self.fragments) + 1)
        return data


def encapsulated_frames(parsed: ParsedFile, pixels: PixelElement, frames: int) -> EncapsulatedFrames:
    """The frames of encapsulated pixel data (PS3.5 A.4).

    Raises:
        TruncatedPixelDataError: a cut-off fragment, or fewer fragments than frames.
        MissingAttributeError: several frames, and the header has no number.
        PixelDecodeError: invalid items, fragments that cannot be divided into frames, or too many.
    """
    size = parsed.stream_bytes if pixels.length is None else min(pixels.offset + pixels.length, parsed.stream_bytes)
    table, fragments = _walk_items(parsed.stream, pixels.offset, size, parsed.codec)
    if not fragments:
        raise TruncatedPixelDataError("封装的像素数据为空，没有任何图像码流")
    extended = parsed.dataset.get_item(_EXTENDED_OFFSETS) if _EXTENDED_OFFSETS in parsed.dataset else None
    offsets = table
    if extended is not None and isinstance(extended.value, bytes):
        offsets = tuple(struct.unpack(f"<{len(extended.value) // 8}Q", extended.value[: len(extended.value) // 8 * 8]))
    found = _count_frames(fragments, offsets)
    if found > frames:
        raise surplus_frames(parsed.dataset, found)
    return EncapsulatedFrames(parsed.dataset, parsed.stream, _group(fragments, offsets, frames))


def unencapsulated_frames(
    parsed: ParsedFile, pixels: PixelElement, image: ImageAttributes
) -> NativeFrames | EncapsulatedFrames:
    """The frames of pixel data with a defined length under a compressed transfer syntax, which A.4 forbids.

    The data are one bare codestream, items, or uncompressed pixels.

    Raises:
        PixelDecodeError: none of these, or more frames than one codestream holds. Errors of the other two functions.
    """
    length = pixels.length or 0
    parsed.stream.seek(pixels.offset)
    head = parsed.stream.read(_START_BYTES)
    if head.startswith(_ITEM_START):
        return encapsulated_frames(parsed, pixels, image.frames)
    if _starts_codestream(head, parsed.codec):
        if pixels.offset + length > parsed.stream_bytes:
            raise TruncatedPixelDataError(f"像素数据不完整：文件共 {parsed.stream_bytes} 字节，码流应有 {length} 字节")
        if image.frames > 1:
            raise PixelDecodeError(f"像素数据未封装，只有一个码流，文件头为 {image.frames} 帧，已拒绝")
        return EncapsulatedFrames(parsed.dataset, parsed.stream, ((_Fragment(0, pixels.offset, length, True),),))
    native = native_frames(parsed, pixels, image)
    needed = -(-native.frame_bits * image.frames // 8)
    if native.length - needed not in (0, needed % 2):
        raise PixelDecodeError(f"传输语法为压缩，像素数据却既不是码流，长度也不符：应有 {needed} 字节，已拒绝")
    return native


def _starts_codestream(head: bytes, codec: Codec | None) -> bool:
    """Whether a codestream begins so: its first marker, signature box or RLE header (PS3.5 G.5)."""
    if codec is Codec.RLE:
        segments, first = struct.unpack("<LL", head[:8]) if len(head) >= 8 else (0, 0)
        return bool(1 <= segments <= _RLE_SEGMENTS and first == _RLE_HEADER_BYTES)
    return head.startswith(_JPEG_XL_STARTS if codec is Codec.JPEG_XL else _JPEG_STARTS)


def _walk_items(
    stream: BinaryIO, offset: int, size: int, codec: Codec | None
) -> tuple[tuple[int, ...], list[_Fragment]]:
    """(Basic Offset Table, non-empty fragments)."""
    table: tuple[int, ...] | None = None
    fragments: list[_Fragment] = []
    at, first = offset, 0
    while at + 8 <= size:
        tag, length = _item_header(stream, at)
        if tag == _SEQUENCE_DELIMITER:
            break
        if tag != _ITEM:
            raise PixelDecodeError(f"封装的像素数据在字节 {at} 处不是数据项（Item），已损坏")
        if at + 8 + length > size:
            raise TruncatedPixelDataError(f"像素数据不完整：文件共 {size} 字节，最后一段应到字节 {at + 8 + length}")
        if table is None:
            table = struct.unpack(f"<{length // 4}L", stream.read(length // 4 * 4))
            first = at + 8 + length
        elif length:
            starts = _starts_codestream(stream.read(min(length, _START_BYTES)), codec)
            fragments.append(_Fragment(at - first, at + 8, length, starts))
        if len(fragments) > _MAX_FRAGMENTS:
            raise PixelDecodeError(f"封装的像素数据超过 {_MAX_FRAGMENTS} 段，已拒绝")
        at += 8 + length
    return table or (), fragments


def _item_header(stream: BinaryIO, at: int) -> tuple[int, int]:
    stream.seek(at)
    group, element, length = struct.unpack("<HHL", stream.read(8))
    return group << 16 | element, length


def _count_frames(fragments: list[_Fragment], offsets: tuple[int, ...]) -> int:
    """The number of frames by the beginnings of codestreams; by the offset table if no fragment is a beginning.

    Some writers list each fragment of a single frame in the table.
    """
    begun = sum(fragment.starts for fragment in fragments)
    items = {fragment.item for fragment in fragments}
    return begun or (len(offsets) if items.issuperset(offsets) else 0)


def _group(fragments: list[_Fragment], offsets: tuple[int, ...], frames: int) -> tuple[tuple[_Fragment, ...], ...]:
    """Divides fragments into frames: by a valid offset table, by number, or by the beginnings of codestreams."""
    if frames == 1:
        return (tuple(fragments),)
    if len(fragments) < frames:
        raise TruncatedPixelDataError(f"像素数据不完整：应有 {frames} 帧，只有 {len(fragments)} 段码流")
    by_item = {fragment.item: index for index, fragment in enumerate(fragments)}
    if len(offsets) == frames and offsets[0] == 0 and all(offset in by_item for offset in offsets):
        starts = [by_item[offset] for offset in offsets]
    elif len(fragments) == frames:
        starts = list(range(frames))
    else:
        starts = [index for index, fragment in enumerate(fragments) if fragment.starts]
    if len(starts) != frames or starts != sorted(set(starts)):
        raise PixelDecodeError(f"无法把 {len(fragments)} 段码流划分为 {frames} 帧")
    ends = [*starts[1:], len(fragments)]
    return tuple(tuple(fragments[start:end]) for start, end in zip(starts, ends, strict=True))
