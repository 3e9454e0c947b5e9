"""8-bit pixels → JPG or PNG files: square pixels, physical scale, complete files or none."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom.header.attributes import PixelGeometry
from domain.descriptors import check_descriptors
from errors import DiskFullError, OutputUnusableError, UnsupportedImageError

_ASPECT_TOLERANCE = 0.001
_REDUCING_GAP = 3.0  # averages whole pixels first down to three times the size: several times as fast, looks the same
_MAX_ASPECT = 20.0
_PNG_LEVEL = 4  # on films 15 % smaller than 1 for a tenth of a second more; 6 takes three times as long for nothing
_MAX_SIDE_PX = {"jpg": 65500, "png": 2**31 - 1}  # libjpeg's JPEG_MAX_DIMENSION; PNG's own
_MM_PER_CM, _MM_PER_INCH = 10.0, 25.4
_JFIF_UNITS = 13  # offset of the density unit in a stream that begins SOI APP0; X and Y density follow
_DISK_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})  # no quotas on Windows


@dataclass(frozen=True, slots=True)
class Scale:
    """Distance of pixel centres of the final image in mm, vertical and horizontal."""

    row_mm: float
    column_mm: float


def scale_of(geometry: PixelGeometry) -> Scale | None:
    if geometry.row_mm is None or geometry.column_mm is None:
        return None
    return Scale(geometry.row_mm, geometry.column_mm)


def is_implausible(geometry: PixelGeometry) -> bool:
    """Whether the aspect is implausible and is not applied, which also saves memory."""
    return not 1 / _MAX_ASPECT <= geometry.aspect <= _MAX_ASPECT


def to_square(
    pixels: NDArray[np.uint8], geometry: PixelGeometry, max_bytes: int
) -> tuple[NDArray[np.uint8], Scale | None]:
    """Enlarges the coarser axis until pixels are square; returns pixels and scale.

    Args:
        pixels: (rows, columns) or (rows, columns, 3) uint8.
        geometry: of these pixels; ``aspect`` above 1: rows are farther apart than columns.
        max_bytes: limit of the enlarged image, checked before it is made.

    Raises:
        UnsupportedImageError: the enlarged image would exceed ``max_bytes``.
    """
    scale, aspect = scale_of(geometry), geometry.aspect
    if abs(aspect - 1.0) <= _ASPECT_TOLERANCE or is_implausible(geometry):
        return pixels, scale
    rows, columns = pixels.shape[:2]
    size = (columns, round(rows * aspect)) if aspect > 1 else (round(columns / aspect), rows)
    if size[0] * size[1] * (pixels.size // (rows * columns)) > max_bytes:
        raise UnsupportedImageError(
            f"校正为方形像素后的图像 {size[0]}×{size[1]} 超过内存上限，可设置 SQUARE_PIXELS=false"
        )
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    if scale is None:
        return resized, None
    finer = min(scale.row_mm, scale.column_mm)
    return resized, Scale(finer, finer)


def to_fit(
    pixels: NDArray[np.uint8], scale: Scale | None, max_side_px: int | None
) -> tuple[NDArray[np.uint8], Scale | None]:
    """Scales down until no side exceeds ``max_side_px``; returns pixels and scale."""
    rows, columns = pixels.shape[:2]
    if max_side_px is None or max(rows, columns) <= max_side_px:
        return pixels, scale
    ratio = max_side_px / max(rows, columns)
    size = (max(round(columns * ratio), 1), max(round(rows * ratio), 1))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    if scale is not None:
        scale = Scale(scale.row_mm * rows / size[1], scale.column_mm * columns / size[0])
    return np.asarray(resized), scale


def write_image(path: str, pixels: NDArray[np.uint8], scale: Scale | None, quality: int) -> int:
    """Writes ``pixels`` in the format of ``path``'s extension (jpg, png); returns the file's size in bytes.

    The file is complete or absent. Its only metadata is the scale.

    Raises:
        UnsupportedImageError: too wide or high for the format.
        DiskFullError: no space left. OutputUnusableError: the output cannot be written otherwise.
    """
    kind = path.rsplit(".", 1)[-1]
    rows, columns = pixels.shape[:2]
    if max(rows, columns) > _MAX_SIDE_PX[kind]:
        raise UnsupportedImageError(f"图像 {columns}×{rows} 超过 {kind.upper()} 格式允许的边长 {_MAX_SIDE_PX[kind]}")
    data = _encode_jpg(pixels, scale, quality) if kind == "jpg" else _encode_png(pixels, scale)
    write_whole(path, data)
    return len(data)


def _encode_jpg(pixels: NDArray[np.uint8], scale: Scale | None, quality: int) -> bytearray:
    """The same bytes as Pillow, without Pillow's copy of the image."""
    if not pixels.flags.c_contiguous or 1 in pixels.shape:
        pixels = pixels.copy()  # imagecodecs asks for plain strides; numpy leaves any on an axis of one
    try:
        data = bytearray(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling="444"))
    except imagecodecs.Jpeg8Error as error:  # sizes were checked: all that is left is libjpeg's want of memory
        raise MemoryError from error
    density = _jfif_density(scale) if scale else None
    if density is not None:
        struct.pack_into(">BHH", data, _JFIF_UNITS, *density)
    return data


def _jfif_density(scale: Scale) -> tuple[int, int, int] | None:
    """(unit, X, Y density) in dots per inch (1) or per centimetre (2), the more exact one.

    None if JFIF's 16 bits cannot hold it.
    """
    units = ((1, _MM_PER_INCH), (2, _MM_PER_CM))
    candidates = [(unit, round(mm / scale.column_mm), round(mm / scale.row_mm)) for unit, mm in units]
    usable = [found for found in candidates if min(found[1:]) >= 1 and max(found[1:]) <= 0xFFFF]
    return min(usable, key=lambda found: _density_error(found, scale), default=None)


def _density_error(density: tuple[int, int, int], scale: Scale) -> float:
    mm = _MM_PER_INCH if density[0] == 1 else _MM_PER_CM
    return max(abs(density[1] * scale.column_mm / mm - 1), abs(density[2] * scale.row_mm / mm - 1))


def _encode_png(pixels: NDArray[np.uint8], scale: Scale | None) -> memoryview:
    """PNG; Pillow converts dots per inch into dots per metre (pHYs)."""
    buffer = BytesIO()
    image = Image.fromarray(pixels)
    dots = {"dpi": (_MM_PER_INCH / scale.column_mm, _MM_PER_INCH / scale.row_mm)} if scale else {}
    image.save(buffer, "PNG", compress_level=_PNG_LEVEL, **dots)
    return buffer.getbuffer()


def write_whole(path: str, data: memoryview | bytes | bytearray) -> None:
    """Writes ``data`` to ``path``; on an error no file of that name stays.

    A killed process leaves a partial file; the caller removes it.

    Raises:
        DiskFullError: no space left. OutputUnusableError: the output cannot be written otherwise.
    """
    try:
        with open(path, "wb", buffering=0) as file:
            while data := memoryview(data)[file.write(data) :]:
                pass
    except OSError as error:
        remove_quietly(path)
        raise _output_error(error) from error


def _output_error(error: OSError) -> DiskFullError | OutputUnusableError:
    check_descriptors(error)
    if error.errno in _DISK_FULL:
        return DiskFullError("输出目录所在磁盘已满，无法写入图片；请清理 OUTPUT_DIR 所在磁盘")
    reason = errno.errorcode.get(error.errno or 0, "未知错误")
    return OutputUnusableError(f"无法写入图片（{reason}），请检查 OUTPUT_DIR 的权限")


def remove_quietly(path: str) -> None:
    """Removes an image that must not stay, without errors; the next start removes what is left."""
    with suppress(OSError):
        os.unlink(path)
