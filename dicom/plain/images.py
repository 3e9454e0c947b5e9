"""PNG, JPEG, TIFF and BMP files → 8-bit frames. Recognised by content; metadata never leave this module.

A TIFF's pages are frames, except previews and masks. Density (dpi) is for printing and mostly a default of software, so
it gives no scale in mm; only clearly non-square pixels count. EXIF orientation is applied to the pixels.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, SupportsFloat

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dicom.decoding.codestreams import read_jpeg
from dicom.decoding.jpeg_scan_check import is_undamaged, require_whole_scan
from dicom.decoding.jpeg_stripping import stripped_jpeg
from dicom.decoding.pixel_decoders import require_dct_bits
from dicom.foreign_errors import translated
from dicom.header.attributes import PixelGeometry
from dicom.pixel_maths.grayscale import GrayscaleFrame
from dicom.pixel_maths.stored_values import Cells
from dicom.plain.completeness import is_truncated, require_checksums, require_within
from dicom.plain.grayscale import decoded_bytes, is_wide_grey, opaque, to_srgb, wide_grey_levels
from dicom.rendering.frame_rendering import RenderedFrame, StageClock, requested_frames, requested_window
from errors import (
    FileTooLargeError,
    PixelDecodeError,
    TooManyFramesError,
    TruncatedPixelDataError,
    UnsupportedImageError,
)
from models import FileWarning, RenderOptions

HEAD_BYTES = 132
_DICM = b"DICM"
_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_MAX_PAGES = 10_000
_SUBFILE, _PHOTOMETRIC, _SAMPLE_FORMAT, _ORIENTATION = 254, 262, 339, 274
_STRIPS = ((273, 279), (324, 325))  # offsets and byte counts, of strips and of tiles
_PREVIEW_OR_MASK = 0b101
_SIGNED = (2,)
_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_CLEARLY_NOT_SQUARE = 0.05
_TURNED = frozenset({5, 6, 7, 8})
_BROKEN_EXIF = (SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError, struct.error)
_TRANSPOSE: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def plain_kind(head: bytes) -> str | None:
    """PNG, JPEG, TIFF or BMP by the first :data:`HEAD_BYTES`, or None. A DICOM preamble may contain a TIFF."""
    if head[128:132] == _DICM:
        return None
    if head.startswith(b"BM") and len(head) >= 18 and struct.unpack_from("<L", head, 14)[0] in _BMP_HEADER_BYTES:
        return "BMP"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def open_picture(stream: BinaryIO, size: int, kind: str) -> Picture:
    """Reads the header of the picture file behind ``stream``.

    Raises:
        FileError: damaged, cut off, or a variant that this service does not read.
    """
    stream.seek(0)
    with translated(lambda: _damaged(stream, size, kind)):
        Image.MAX_IMAGE_PIXELS = None  # RenderOptions.max_pixels_bytes limits by memory instead
        image = Image.open(stream, formats=(kind,))
        pages = _tiff_pages(image) if kind == "TIFF" else (0,)
        if kind == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise UnsupportedImageError("动画 PNG（APNG）不支持；请导出为单幅图片")
    return Picture(kind, pages, image, stream, size)


@dataclass(frozen=True, slots=True)
class _LoadedPage:
    """A page whose pixels Pillow has decoded.

    Attributes:
        geometry: of the pixels in their final orientation.
        orientation: EXIF orientation that is not yet applied.
    """

    geometry: PixelGeometry
    orientation: object = 1
    warnings: tuple[FileWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """An open picture file.

    Attributes:
        kind: PNG, JPEG, TIFF or BMP.
        pages: the file's own numbers (0-based) of the pages that are frames.
    """

    kind: str
    pages: tuple[int, ...]
    _image: ImageFile
    _stream: BinaryIO
    _size: int

    def frames(
        self, options: RenderOptions, numbers: tuple[int, ...] | None, clock: StageClock
    ) -> Iterator[RenderedFrame]:
        """Decodes and renders frames (1-based; None: all), one at a time.

        Raises:
            FileError: too many or too large frames, damaged or cut-off content, an unknown variant.
        """
        for number in requested_frames(numbers, len(self.pages), options.max_frames):
            started = time.perf_counter()
            with translated(lambda: _damaged(self._stream, self._size, self.kind)):
                page = self._load(self.pages[number - 1], options)
                started = clock.add("decode", started)
                frame = self._render(number, page, options)
            clock.add("render", started)
            yield frame

    # --- decoding --------------------------------------------------------------------------------------------------

    def _load(self, page: int, options: RenderOptions) -> _LoadedPage:
        image = self._image
        if image.tell() != page:
            image.info.clear()  # Pillow would leave the last page's profile and density there
            image.seek(page)
        _require_size(image, options.max_pixels_bytes)
        aspect, orientation = _aspect(image), 1
        warnings: tuple[FileWarning, ...] = ()
        if self.kind == "TIFF":  # Pillow applies the orientation itself as it loads a TIFF
            turned = _tag(image, _ORIENTATION) in _TURNED
            self._check_tiff()
            image.load()
        else:
            if self.kind == "JPEG":
                warnings = self._check_jpeg()
            elif self.kind == "PNG":
                self._check_png()
            image.load()
            orientation, unreadable = _exif_orientation(image)
            warnings, turned = (*warnings, *unreadable), orientation in _TURNED
        return _LoadedPage(PixelGeometry(None, None, 1 / aspect if turned else aspect), orientation, warnings)

    def _check_tiff(self) -> None:
        image = self._image
        for offsets, counts in _STRIPS:
            require_within(_tag(image, offsets), _tag(image, counts), self._size)
        if image.mode == "L" and _tag(image, _SAMPLE_FORMAT) == _SIGNED:
            raise UnsupportedImageError("不支持 8 位有符号的 TIFF 图片")

    def _check_jpeg(self) -> tuple[FileWarning, ...]:
        data = self._bytes()
        info = read_jpeg(data)
        if info.start_of_frame not in _DCT_FRAMES or info.precision != 8:
            raise UnsupportedImageError("不支持的 JPEG 变体（无损、JPEG-LS 或 12 位）；请导出为普通 JPEG")
        require_dct_bits(data, info)
        if not is_undamaged(data, info):
            require_whole_scan(data, np.asarray(self._image), _jpeg_cells)
        more = getattr(self._image, "n_frames", 1) > 1
        message = "JPEG 文件内还附有其他图片（如预览或增益图），只导入主图"
        return (FileWarning("extra_pictures_ignored", message),) if more else ()

    def _check_png(self) -> None:
        if self._image.tile and self._image.tile[0].args == "LA;16B":
            raise UnsupportedImageError("不支持带透明度的 16 位灰度 PNG；请导出为不带透明度的图片")
        position = self._stream.tell()  # Pillow continues reading from here
        require_checksums(self._stream, self._size)
        self._stream.seek(position)

    def _bytes(self) -> bytes:
        self._stream.seek(0)
        return self._stream.read()

    # --- 8-bit pixels ----------------------------------------------------------------------------------------------

    def _render(self, number: int, page: _LoadedPage, options: RenderOptions) -> RenderedFrame:
        image, warnings = self._image, page.warnings
        transpose = _TRANSPOSE.get(page.orientation)
        upright = image.transpose(transpose) if transpose is not None else image
        if is_wide_grey(image):
            return RenderedFrame(number, self._wide_levels(upright, options), page.geometry, warnings=warnings)
        profile = image.info.get("icc_profile")
        converted, applied = to_srgb(opaque(upright), profile if isinstance(profile, bytes) else None)
        if not applied:
            message = "图片内嵌的颜色配置文件（ICC）无法使用，颜色按未标注处理"
            warnings = (*warnings, FileWarning("colour_profile_ignored", message))
        levels = GrayscaleFrame(np.asarray(converted), None)
        ready = self._ready_jpg(levels) if converted is image and self._can_be_kept(options) else None
        return RenderedFrame(number, levels, page.geometry, ready, warnings=warnings)

    def _wide_levels(self, upright: Image.Image, options: RenderOptions) -> GrayscaleFrame:
        tiff = self.kind == "TIFF"
        return wide_grey_levels(
            upright,
            requested_window(options),
            signed=tiff and _tag(self._image, _SAMPLE_FORMAT) == _SIGNED,
            invert=tiff and _tag(self._image, _PHOTOMETRIC) == 0,
        )

    def _can_be_kept(self, options: RenderOptions) -> bool:
        """Whether the file's own stream has the format and size of the output."""
        fits = options.max_side_px is None or max(self._image.size) <= options.max_side_px
        return self.kind == "JPEG" and options.output_format == "jpg" and fits

    def _ready_jpg(self, levels: GrayscaleFrame) -> bytes | None:
        """The JPEG's own stream without metadata, if it decodes to exactly these pixels."""
        ready = stripped_jpeg(self._bytes())
        return ready if ready is not None and np.array_equal(_jpeg_cells(ready), levels.pixels) else None


def _exif_orientation(image: Image.Image) -> tuple[int, tuple[FileWarning, ...]]:
    try:
        return image.getexif().get(_ORIENTATION, 1), ()
    except _BROKEN_EXIF:
        message = "图片的 EXIF 信息已损坏，无法得知拍摄方向，按原样导入"
        return 1, (FileWarning("orientation_unreadable", message),)


# --- TIFF ----------------------------------------------------------------------------------------------------------


def _tiff_pages(image: Image.Image) -> tuple[int, ...]:
    """The pages that are neither previews nor masks; the first page if none is."""
    pages: list[int] = []
    for page in range(_MAX_PAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            break
        subfile = _tag(image, _SUBFILE)
        if not (isinstance(subfile, int) and subfile & _PREVIEW_OR_MASK):
            pages.append(page)
    else:
        raise TooManyFramesError(f"TIFF 文件超过 {_MAX_PAGES} 页")
    image.seek(0)
    return tuple(pages) or (0,)


def _tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


# --- any kind ------------------------------------------------------------------------------------------------------


def _jpeg_cells(data: bytes) -> Cells:
    return np.asarray(Image.open(BytesIO(data), formats=("JPEG",)))


def _require_size(image: Image.Image, limit: int) -> None:
    if decoded_bytes(image) > limit:
        raise FileTooLargeError(
            f"图像 {image.width}×{image.height} 解码后需 {decoded_bytes(image)} 字节，超过上限 {limit} 字节"
        )


def _aspect(image: Image.Image) -> float:
    """Height of a pixel divided by its width; 1 unless they differ clearly (fax, some scanners)."""
    for key in ("jfif_density", "dpi", "resolution", "aspect"):
        pair = image.info.get(key)
        if isinstance(pair, tuple) and len(pair) == 2 and all(_is_positive(value) for value in pair):
            aspect = float(pair[0]) / float(pair[1])
            return aspect if abs(aspect - 1) >= _CLEARLY_NOT_SQUARE else 1.0
    return 1.0


def _is_positive(value: object) -> bool:
    return isinstance(value, SupportsFloat) and math.isfinite(float(value)) and float(value) > 0


def _damaged(stream: BinaryIO, size: int, kind: str) -> PixelDecodeError:
    if is_truncated(stream, size, kind):
        return TruncatedPixelDataError(f"{kind} 图片不完整，文件可能被截断")
    return PixelDecodeError(f"{kind} 图片无法解码：文件已损坏，或是不支持的变体")
