"""One decoder per codec: a compressed frame → cells.

imagecodecs (BSD-3) decodes the JPEG family, JPEG-LS and JPEG XL. simplejpeg (MIT) decodes 8-bit DCT images, because it
reports warnings. pylibjpeg-openjpeg (MIT) decodes JPEG 2000 and HTJ2K, pylibjpeg-rle (MIT) RLE. docs/decisions.md gives
the reasons.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

import imagecodecs
import numpy as np
import openjpeg.utils
from rle.rle import decode_frame

from dicom.decoding.codestreams import CodestreamInfo, jpeg2000_codestream, read_jpeg, read_jpeg2000, read_jpeg_xl
from dicom.decoding.colour_inside import is_contradicted, lossless_colour
from dicom.decoding.jpeg_scan_check import decode_strict, require_whole_lossless_scans, require_whole_scan
from dicom.foreign_errors import translated
from dicom.header.attributes import ImageAttributes
from dicom.pixel_maths.stored_values import CellLayout, Cells, native_bits, native_cells
from dicom.transfer_syntaxes import Codec, codec_of
from errors import (
    PixelDecodeError,
    TruncatedPixelDataError,
    UnsupportedImageError,
    UnsupportedTransferSyntaxError,
)

_LOSSLESS_SOF = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_JPEG_LS_SOF = 0xF7
_EIGHT_BITS = 8
_RLE_RUN = 64  # one header byte and one value make at most 128 equal bytes
_LIBJPEG_NAMES = {"GRAYSCALE": "Gray", "RGB": "RGB", "YCBCR": "YCbCr"}


class Depth(Enum):
    """Relation of a codestream's bits per sample to Bits Stored."""

    AGREES = auto()
    """Bits Stored holds every value."""
    REDUCED = auto()
    """8-bit DCT under a data set that describes wider values (PS3.5 8.2.1)."""
    EXCEEDED = auto()
    """Lossless values exceed Bits Stored."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A decoded frame.

    Attributes:
        cells: (rows, columns) or (rows, columns, samples); unsigned integers or floats.
        layout: position of the stored value in a cell.
        photometric: colour space of ``cells``, which may differ from the header's.
        depth: relation of the codestream's bits to Bits Stored.
        relabelled: the header's colour space is impossible for samples that no decoder transformed.
    """

    cells: Cells
    layout: CellLayout
    photometric: str
    depth: Depth = Depth.AGREES
    relabelled: bool = False


def decode(syntax: str, data: bytes, image: ImageAttributes) -> DecodedFrame:
    """Decodes one frame.

    Raises:
        UnsupportedTransferSyntaxError: the table has no decoder for it.
        PixelDecodeError: damaged, or contradicting the header.
    """
    codec = codec_of(syntax)
    if codec is None or codec not in DECODERS:
        raise UnsupportedTransferSyntaxError(f"没有可用于传输语法 {syntax} 的解码器")
    with translated(lambda: PixelDecodeError(f"像素数据解码失败（传输语法 {syntax}），码流已损坏")):
        return DECODERS[codec](data, image)


# --- JPEG ----------------------------------------------------------------------------------------------------------


def _decode_jpeg(data: bytes, image: ImageAttributes) -> DecodedFrame:
    """JPEG baseline, extended, progressive (DCT)."""
    info = read_jpeg(data)
    if info.start_of_frame == _JPEG_LS_SOF:
        return _decode_jpeg_ls(data, image, lossy=True)
    _require_agreement(info, image)
    if info.start_of_frame in _LOSSLESS_SOF:
        return _decode_lossless_info(data, info, image)
    require_dct_bits(data, info)
    inside = _jpeg_colour(info, image)

    def run(stream: bytes) -> Cells:
        cells: Cells = imagecodecs.jpeg8_decode(
            stream, colorspace=inside, outcolorspace="GRAYSCALE" if inside == "GRAYSCALE" else "RGB"
        )
        return cells

    cells = decode_strict(data, info, _LIBJPEG_NAMES[inside])
    if cells is None:
        cells = run(data)
        require_whole_scan(data, cells, run)
    photometric = image.photometric if info.samples == 1 else "RGB"
    depth = Depth.REDUCED if info.precision == _EIGHT_BITS < image.bits_stored else Depth.AGREES
    return DecodedFrame(cells, _layout(info, image, cells, lossy=True), photometric, depth)


def _jpeg_colour(info: CodestreamInfo, image: ImageAttributes) -> str:
    """The colour space of the stream. In this order: JFIF means YCbCr, Adobe's marker, component ids named RGB.

    Else the data set's (PS3.5 8.2.1), unless subsampling contradicts it.
    """
    if info.samples == 1:
        return "GRAYSCALE"
    if info.samples != 3:
        raise UnsupportedImageError(f"不支持 {info.samples} 个颜色分量的 JPEG 图像")
    if info.jfif:
        return "YCBCR"
    if info.adobe_transform is not None:
        return "RGB" if info.adobe_transform == 0 else "YCBCR"  # as libjpeg does for unknown values
    if info.component_ids == b"RGB":
        return "RGB"
    return "RGB" if image.photometric == "RGB" and not info.subsampled else "YCBCR"


def _decode_jpeg_lossless(data: bytes, image: ImageAttributes) -> DecodedFrame:
    """JPEG Lossless (process 14)."""
    info = read_jpeg(data)
    if info.start_of_frame not in _LOSSLESS_SOF:
        return _decode_jpeg(data, image)
    _require_agreement(info, image)
    return _decode_lossless_info(data, info, image)


def _decode_lossless_info(data: bytes, info: CodestreamInfo, image: ImageAttributes) -> DecodedFrame:
    if len(data) * 8 < info.rows * info.columns * (info.samples or 1):  # a sample takes at least one bit
        raise TruncatedPixelDataError("JPEG 无损码流的字节数不足以表示全部像素，像素数据不完整")
    cells = decode_lossless(data)
    require_whole_lossless_scans(data, cells, decode_lossless)
    return _untransformed(cells, info, image)


def _untransformed(cells: Cells, info: CodestreamInfo, image: ImageAttributes, *, lossy: bool = False) -> DecodedFrame:
    """The frame of samples that no decoder transformed."""
    layout = _layout(info, image, cells, lossy=lossy)
    photometric = lossless_colour(image.photometric, cells, info.precision or layout.bits, info)
    depth = Depth.EXCEEDED if not lossy and layout.bits > image.bits_stored else Depth.AGREES
    return DecodedFrame(cells, layout, photometric, depth, is_contradicted(image.photometric, photometric))


def decode_lossless(data: bytes) -> Cells:
    """By libjpeg-turbo; by liblj92 if that refuses Huffman tables that only lossless encoders write."""
    try:
        cells: Cells = imagecodecs.jpeg8_decode(data, colorspace="UNKNOWN", outcolorspace="UNKNOWN")
    except imagecodecs.Jpeg8Error:
        cells = imagecodecs.ljpeg_decode(data)
    return cells


def require_dct_bits(data: bytes, info: CodestreamInfo) -> None:
    """A sequential 8x8 block takes at least two bits; far fewer mean a wrong size."""
    blocks = -(-info.rows // 8) * -(-info.columns // 8)
    if info.start_of_frame in (0xC0, 0xC1) and len(data) * 8 < blocks * 2:
        raise TruncatedPixelDataError("JPEG 码流的字节数不足以表示全部像素，像素数据不完整")


# --- the others ----------------------------------------------------------------------------------------------------


def _decode_jpeg_ls(data: bytes, image: ImageAttributes, *, lossy: bool = False) -> DecodedFrame:
    info = read_jpeg(data)
    if info.start_of_frame != _JPEG_LS_SOF:
        return _decode_jpeg_lossless(data, image)
    _require_agreement(info, image)
    cells = imagecodecs.jpegls_decode(data)
    if cells.ndim == 3 and cells.shape[0] == info.samples and cells.shape[-1] != info.samples:
        cells = np.moveaxis(cells, 0, -1)
    return _untransformed(cells, info, image, lossy=lossy)


def _decode_jpeg_2000(data: bytes, image: ImageAttributes, *, lossy: bool = False) -> DecodedFrame:
    """JPEG 2000 and HTJ2K. The decoder undoes ICT and RCT, so a transformed codestream becomes RGB."""
    codestream = jpeg2000_codestream(data)
    info = read_jpeg2000(codestream)
    _require_agreement(info, image)
    cells = openjpeg.utils.decode(codestream, 0)
    unsigned = cells.view(f"u{cells.dtype.itemsize}") if cells.dtype.kind == "i" else cells
    if info.samples == 3 and info.colour_transform:
        return DecodedFrame(unsigned, _layout(info, image, unsigned, lossy=lossy), "RGB")
    return _untransformed(unsigned, info, image, lossy=lossy)


def _decode_jpeg_xl(data: bytes, image: ImageAttributes) -> DecodedFrame:
    info = read_jpeg_xl(data)
    _require_agreement(info, image)
    cells = imagecodecs.jpegxl_decode(data)
    if cells.ndim != (2 if image.samples == 1 else 3) or cells.dtype.kind != "u":
        raise PixelDecodeError("JPEG XL 码流的分量与文件头不符")
    layout = CellLayout(min(image.bits_stored, 8 * cells.dtype.itemsize), signed=image.signed)
    return DecodedFrame(cells, layout, image.photometric if image.samples == 1 else "RGB")


def _decode_rle(data: bytes, image: ImageAttributes) -> DecodedFrame:
    """RLE Lossless (PS3.5 annex G): byte planes."""
    cell_bytes = max(image.bits_allocated // 8, 1)
    expected = image.frame_pixels * image.samples * cell_bytes
    if expected > len(data) * _RLE_RUN:
        raise TruncatedPixelDataError("RLE 码流的字节数不足以表示全部像素，像素数据不完整")
    planes = np.frombuffer(decode_frame(data, image.frame_pixels, image.bits_allocated, "<"), np.uint8)
    if planes.size != expected:
        raise PixelDecodeError(f"RLE 码流解出 {planes.size} 字节，应为 {expected} 字节，与文件头不符")
    cells = planes.view(f"<u{cell_bytes}").reshape(image.samples, image.rows, image.columns)
    arranged = cells[0] if image.samples == 1 else np.moveaxis(cells, 0, -1)
    photometric = lossless_colour(image.photometric, arranged, image.bits_stored)
    relabelled = is_contradicted(image.photometric, photometric)
    return DecodedFrame(arranged, native_layout(image), photometric, relabelled=relabelled)


def _decode_deflated_frame(data: bytes, image: ImageAttributes) -> DecodedFrame:
    """Deflated Image Frame Compression (PS3.5 annex A), inflated to one frame's bytes at most."""
    expected = -(-image.frame_pixels * image.samples * image.bits_allocated // 8)
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    return _decode_uncompressed(decompressor.decompress(data, expected + 1), image)


def _decode_uncompressed(data: bytes, image: ImageAttributes) -> DecodedFrame:
    """Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 annex A)."""
    if image.bits_allocated not in (1, 8, 16, 32):
        raise UnsupportedImageError(f"不支持 BitsAllocated={image.bits_allocated} 的封装未压缩像素")
    count = image.frame_pixels * image.samples
    needed = -(-count * image.bits_allocated // 8)
    if len(data) < needed:
        raise TruncatedPixelDataError(f"像素数据不完整：一帧应有 {needed} 字节，实有 {len(data)} 字节")
    field = np.frombuffer(data, np.uint8, needed)
    if image.bits_allocated == 1:
        cells = native_bits(field, 0, count, little_endian=True, words=False)
    else:
        cells = native_cells(field, image.bits_allocated, little_endian=True, words=False)
    return DecodedFrame(shape_native(cells, image), native_layout(image), image.photometric)


# --- shapes and layouts --------------------------------------------------------------------------------------------


def native_layout(image: ImageAttributes) -> CellLayout:
    return CellLayout(image.bits_stored, image.high_bit + 1 - image.bits_stored, image.signed)


def shape_native(cells: Cells, image: ImageAttributes) -> Cells:
    """Flat cells as (rows, columns) or (rows, columns, samples), planar configuration undone."""
    if image.samples == 1:
        return cells.reshape(image.rows, image.columns)
    if image.planar:
        return np.moveaxis(cells.reshape(image.samples, image.rows, image.columns), 0, -1)
    return cells.reshape(image.rows, image.columns, image.samples)


def _layout(info: CodestreamInfo, image: ImageAttributes, cells: Cells, *, lossy: bool) -> CellLayout:
    """Position of the stored value in a decoded cell.

    Lossless cells may have garbage above Bits Stored, which fills a cell up to Bits Allocated or High Bit. Values
    beyond Bits Stored under another precision are real. Lossy values may overshoot Bits Stored; masked, white would
    turn black.
    """
    precision = info.precision or image.bits_stored
    if precision <= image.bits_stored:
        return CellLayout(precision, signed=image.signed)
    if lossy and info.signed == image.signed:
        return CellLayout(precision, signed=image.signed)
    if precision == image.high_bit + 1:
        return CellLayout(image.bits_stored, image.high_bit + 1 - image.bits_stored, image.signed)
    if precision < image.bits_allocated and _exceed(cells, precision, image):
        return CellLayout(precision, signed=image.signed)
    return CellLayout(image.bits_stored, 0, image.signed)


def _exceed(cells: Cells, precision: int, image: ImageAttributes) -> bool:
    if not image.signed:
        return bool(int(cells.max()) >> image.bits_stored)
    values, half = CellLayout(precision, signed=True).values(cells), 1 << (image.bits_stored - 1)
    return bool(values.min() < -half or values.max() >= half)


def _require_agreement(info: CodestreamInfo, image: ImageAttributes) -> None:
    """Refuses a codestream whose header contradicts the data set, before it is decoded."""
    if (info.rows, info.columns) != (image.rows, image.columns):
        raise PixelDecodeError(
            f"码流尺寸 {info.columns}×{info.rows} 与文件头的 {image.columns}×{image.rows} 不符，已拒绝"
        )
    if info.samples is not None and info.samples != image.samples:
        raise PixelDecodeError(f"码流有 {info.samples} 个分量，文件头为 {image.samples} 个，已拒绝")
    if info.precision is not None and info.precision > max(image.bits_allocated, 8):
        raise PixelDecodeError(f"码流位数 {info.precision} 超过文件头的 BitsAllocated={image.bits_allocated}，已拒绝")


DECODERS: dict[Codec, Callable[[bytes, ImageAttributes], DecodedFrame]] = {
    Codec.UNCOMPRESSED: _decode_uncompressed,
    Codec.DEFLATE: _decode_deflated_frame,
    Codec.RLE: _decode_rle,
    Codec.JPEG: _decode_jpeg,
    Codec.JPEG_LOSSLESS: _decode_jpeg_lossless,
    Codec.JPEG_LS: _decode_jpeg_ls,
    Codec.JPEG_LS_LOSSY: partial(_decode_jpeg_ls, lossy=True),
    Codec.JPEG_2000: _decode_jpeg_2000,
    Codec.JPEG_2000_LOSSY: partial(_decode_jpeg_2000, lossy=True),
    Codec.JPEG_XL: _decode_jpeg_xl,
}
"""Each refuses a codestream whose end is missing."""
