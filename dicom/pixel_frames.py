"""Where each frame's bytes lie in the pixel data element, read one frame at a time (PS3.5 section 8, annex A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dicom.attributes import ImageAttributes
from dicom.parsing import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, ParsedFile, PixelElement
from dicom.stored_values import Cells, NumberKind, native_bits, native_cells
from errors import PixelDecodeError, TruncatedPixelDataError, UnsupportedImageError

_ITEM, _SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE0DD
_MAX_FRAGMENTS = 1_000_000
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0c")
_EXTENDED_OFFSETS = 0x7FE00001
GE_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"


def number_kind(pixels: PixelElement) -> NumberKind:
    """Integers or floats, by the element that holds the pixels."""
    kinds = {FLOAT_PIXEL_DATA: NumberKind.FLOAT32, DOUBLE_FLOAT_PIXEL_DATA: NumberKind.FLOAT64}
    return kinds.get(pixels.tag, NumberKind.INTEGER)


# --- native --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Uncompressed frames behind each other; frames of one-bit pixels need not begin at a byte.

    Attributes:
        stream, offset, length: where the value lies.
        frame_bits: bits of one frame.
        little_endian, words: byte order, and whether it is one of 16-bit words (VR OW).
        subsampled: two pixels share their chroma (YBR_FULL_422).
    """

    stream: BinaryIO
    offset: int
    length: int
    frame_bits: int
    little_endian: bool
    words: bool
    subsampled: bool

    def read(self, frame: int, image: ImageAttributes) -> Cells:
        """Cells of a frame (0-based), flat, in this machine's byte order."""
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
    """The frames of native pixel data, once it is certain that all their bytes are there.

    Raises:
        TruncatedPixelDataError: fewer bytes than rows, columns, samples, bits and frames ask for.
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
    return NativeFrames(
        parsed.stream,
        pixels.offset,
        available,
        frame_bits,
        little_endian=parsed.encoding.little_endian and parsed.transfer_syntax != GE_BIG_ENDIAN_PIXELS,
        words=pixels.vr != "OB",
        subsampled=subsampled,
    )


def _read_array(stream: BinaryIO, offset: int, count: int) -> NDArray[np.uint8]:
    """``count`` bytes, straight into an array."""
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
    """Padded to whole words."""
    return np.append(data, np.uint8(0)) if data.size % 2 else data


# --- encapsulated --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fragment:
    """An item of encapsulated pixel data.

    Attributes:
        item: offset of the item's tag, relative to the first fragment's.
        offset: of the value, in the stream.
        length: of the value.
        starts: it begins as a codestream does.
    """

    item: int
    offset: int
    length: int
    starts: bool


@dataclass(frozen=True, slots=True)
class EncapsulatedFrames:
    """Compressed frames, each a run of fragments."""

    stream: BinaryIO
    fragments: tuple[tuple[_Fragment, ...], ...]

    def read(self, frame: int) -> bytes:
        """The codestream of a frame (0-based)."""
        parts = []
        for fragment in self.fragments[frame]:
            self.stream.seek(fragment.offset)
            parts.append(self.stream.read(fragment.length))
        return parts[0] if len(parts) == 1 else b"".join(parts)


def encapsulated_frames(parsed: ParsedFile, pixels: PixelElement, frames: int) -> EncapsulatedFrames:
    """The frames of encapsulated pixel data (PS3.5 A.4).

    Raises:
        TruncatedPixelDataError: a fragment that the file cuts off, or fewer fragments than frames.
        PixelDecodeError: items that are none, or that cannot be told apart into frames.
    """
    table, fragments = _walk_items(parsed.stream, pixels.offset, parsed.stream_bytes)
    if not fragments:
        raise TruncatedPixelDataError("封装的像素数据为空，没有任何图像码流")
    extended = parsed.dataset.get_item(_EXTENDED_OFFSETS) if _EXTENDED_OFFSETS in parsed.dataset else None
    offsets = table
    if extended is not None and isinstance(extended.value, bytes):
        offsets = tuple(struct.unpack(f"<{len(extended.value) // 8}Q", extended.value[: len(extended.value) // 8 * 8]))
    return EncapsulatedFrames(parsed.stream, _group(fragments, offsets, frames))


def _walk_items(stream: BinaryIO, offset: int, size: int) -> tuple[tuple[int, ...], list[_Fragment]]:
    """(Basic Offset Table, fragments that hold something)."""
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
            fragments.append(_Fragment(at - first, at + 8, length, stream.read(min(length, 4)).startswith(_STARTS)))
        if len(fragments) > _MAX_FRAGMENTS:
            raise PixelDecodeError(f"封装的像素数据超过 {_MAX_FRAGMENTS} 段，已拒绝")
        at += 8 + length
    return table or (), fragments


def _item_header(stream: BinaryIO, at: int) -> tuple[int, int]:
    stream.seek(at)
    group, element, length = struct.unpack("<HHL", stream.read(8))
    return group << 16 | element, length


def _group(fragments: list[_Fragment], offsets: tuple[int, ...], frames: int) -> tuple[tuple[_Fragment, ...], ...]:
    """Fragments told apart into frames: by an offset table that fits, by number, or by how codestreams begin."""
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
