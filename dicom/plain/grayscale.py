"""A picture that Pillow has decoded → 8-bit pixels: grey or sRGB, opaque."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from dicom.pixel_maths.grayscale import GrayscaleFrame, GrayscaleRules, render_grayscale
from dicom.pixel_maths.stored_values import CellLayout
from dicom.pixel_maths.voi import Window
from errors import UnsupportedImageError

_WIDE_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_TRANSPARENT = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_AS_RGB = frozenset({"RGBX", "YCbCr"})
_COLOUR_SPACES = {"RGB": "RGB ", "CMYK": "CMYK"}
_BYTES_OF_MODE = {"1": 1, "L": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}


def decoded_bytes(image: Image.Image) -> int:
    """Memory of the decoded picture; Pillow uses four bytes per colour pixel."""
    return image.width * image.height * _BYTES_OF_MODE.get(image.mode, 4)


def is_wide_grey(image: Image.Image) -> bool:
    """Whether the values exceed 8 bits and need a window."""
    return image.mode in _WIDE_GREY


def wide_grey_levels(image: Image.Image, requested: Window | None, *, signed: bool, invert: bool) -> GrayscaleFrame:
    """Grey of more than 8 bits, or floats: the request's window, else smallest to largest value.

    Args:
        image: of a mode that :func:`is_wide_grey` accepts.
        signed: 32-bit integers are signed.
        invert: low values are bright.
    """
    cells = np.ascontiguousarray(np.asarray(image))
    rules = GrayscaleRules(requested=requested, invert=invert)
    if cells.dtype.kind == "f":
        return render_grayscale(cells, CellLayout(32), rules)
    native = cells.astype(cells.dtype.newbyteorder("="), copy=False)
    bits = 8 * native.dtype.itemsize
    return render_grayscale(native.view(f"u{bits // 8}"), CellLayout(bits, signed=signed and bits == 32), rules)


def opaque(image: Image.Image) -> Image.Image:
    """The picture as L, RGB or CMYK. Transparent pixels become black, as around an X-ray.

    Raises:
        UnsupportedImageError: an ambiguous colour space.
    """
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _on_black(image)
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        return image.convert("L" if _has_grey_palette(image) else "RGB")
    if image.mode in _AS_RGB:
        return image.convert("RGB")
    if image.mode not in ("L", "RGB", "CMYK"):
        raise UnsupportedImageError(f"不支持颜色空间 {image.mode} 的图片")
    return image


def _on_black(image: Image.Image) -> Image.Image:
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    with_alpha = image.convert("LA" if mode == "L" else "RGBA")
    return Image.composite(with_alpha.convert(mode), Image.new(mode, image.size), with_alpha.getchannel("A"))


def _has_grey_palette(image: Image.Image) -> bool:
    colours = image.getpalette("RGB") or []
    return colours[0::3] == colours[1::3] == colours[2::3]


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """(the picture as L or RGB, whether its ICC profile was applied). Grey values never change.

    Args:
        image: L, RGB or CMYK.
        profile: its ICC profile.
    """
    applied = True
    if profile and image.mode in _COLOUR_SPACES and not is_srgb(profile):
        try:
            return _through(image, profile), True
        except (ImageCms.PyCMSError, OSError, ValueError):
            applied = False
    return (image.convert("RGB") if image.mode == "CMYK" else image), applied


def is_srgb(profile: bytes) -> bool:
    """Whether the profile's description is sRGB; a conversion would only add noise."""
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


def _through(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if source.profile.xcolor_space != _COLOUR_SPACES[image.mode]:
        raise ValueError("a profile of another colour space")
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # only inPlace gives None
    return converted
