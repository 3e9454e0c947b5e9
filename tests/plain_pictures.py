"""Small PNG, JPEG, TIFF and BMP files of every kind that is read, for tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import AppendingTiffWriter

ORIENTATION, PHOTOMETRIC, SUBFILE = 274, 262, 254
SECRET = "Zhang^San 1980-01-02"  # stands for all that metadata can tell of a patient


def a_drawing(rows: int = 24, columns: int = 32, shade: int = 0) -> NDArray[np.uint8]:
    """(rows, columns, 3) uint8 in which no two corners and no two sides look alike."""
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 220, columns, dtype=np.uint8)
    picture[..., 1] = np.linspace(10, 200, rows, dtype=np.uint8)[:, np.newaxis]
    picture[..., 2] = 60 + shade
    picture[: rows // 3, : columns // 3] = (250, 240 - shade, 30)
    return picture


def a_grey_drawing(rows: int = 24, columns: int = 32, shade: int = 0) -> NDArray[np.uint8]:
    """(rows, columns) uint8, with a bright corner."""
    return np.ascontiguousarray(a_drawing(rows, columns, shade)[..., 1])


def a_deep_drawing(low: int = 1000, high: int = 3000) -> NDArray[np.uint16]:
    """(24, 32) uint16 from ``low`` to ``high``."""
    return np.linspace(low, high, 24 * 32).astype(np.uint16).reshape(24, 32)


def encoded(picture: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of this kind (PNG, JPEG, TIFF, BMP)."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def a_png(shade: int = 0) -> bytes:
    """A grey PNG that tells more than it should."""
    told = PngInfo()
    told.add_text("Comment", SECRET)
    told.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET}</x>")
    return encoded(a_grey_drawing(shade=shade), "PNG", pnginfo=told, dpi=(72, 72))


def a_jpeg(shade: int = 0, *, orientation: int = 1, **options: Any) -> bytes:
    """A colour JPEG with EXIF, XMP and a comment that tell more than they should."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[270] = SECRET
    values = {"exif": exif, "comment": SECRET, "xmp": SECRET.encode(), "quality": 90, "dpi": (300, 300)} | options
    return encoded(a_drawing(shade=shade), "JPEG", **values)


def a_bmp(shade: int = 0) -> bytes:
    """A grey BMP."""
    return encoded(a_grey_drawing(shade=shade), "BMP")


def a_tiff(*pages: NDArray[Any], **options: Any) -> bytes:
    """A TIFF with these pages, by default a grey one."""
    first, *more = [Image.fromarray(page) for page in pages or (a_grey_drawing(),)]
    return encoded(first, "TIFF", save_all=bool(more), append_images=more, **options)


def a_cmyk_jpeg() -> bytes:
    """As print shops send them, with Adobe's inverted samples."""
    return encoded(Image.fromarray(a_drawing()).convert("CMYK"), "JPEG", quality=95, subsampling=0)


def a_wide_gamut_profile() -> bytes:
    """An ICC profile that is not sRGB: its red and green are swapped, so that nobody can overlook it."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = profile.replace(b"sRGB", b"test").replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def a_png_claiming(columns: int, rows: int) -> bytes:
    """A tiny grey PNG whose header promises this size."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff_pages(*pages: tuple[NDArray[Any], dict[int, int]]) -> bytes:
    """A TIFF of pages with tags of their own."""
    buffer = io.BytesIO()
    with AppendingTiffWriter(buffer) as writer:
        for page, tags in pages:
            Image.fromarray(page).save(writer, "TIFF", tiffinfo=dict(tags))
            writer.newFrame()
    return buffer.getvalue()


def one_of_each() -> list[bytes]:
    """A file of every kind and coding that is read."""
    grey, colour, deep = Image.fromarray(a_grey_drawing()), Image.fromarray(a_drawing()), a_deep_drawing()
    tiffs = [encoded(grey, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    bits = [encoded(grey.convert("1"), "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")]
    palettes = [encoded(colour.quantize(16), kind) for kind in ("PNG", "TIFF", "BMP")]
    jpegs = [a_jpeg(), a_jpeg(orientation=6, progressive=True), encoded(grey, "JPEG"), a_cmyk_jpeg()]
    profiled = [encoded(colour, kind, icc_profile=a_wide_gamut_profile()) for kind in ("PNG", "JPEG", "TIFF")]
    pages = [tiff_pages((a_grey_drawing(), {}), (deep, {ORIENTATION: 6}), (a_drawing(), {SUBFILE: 1}))]
    animated = [encoded(grey, "PNG", save_all=True, append_images=[colour.convert("L")])]
    return [a_png(), a_bmp(), a_tiff(), a_tiff(deep / 7), encoded(deep, "PNG"), a_tiff(deep.astype(np.int32))] + [
        content for group in (tiffs, bits, palettes, jpegs, profiled, pages, animated) for content in group
    ]
