"""Self-tests of all decoders, run once at start-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO

import imagecodecs
import numpy as np
import openjpeg.utils
from numpy.typing import NDArray
from PIL import Image
from rle.rle import decode_frame
from rle.utils import encode_pixel_data

from dicom.decoding.codestreams import read_jpeg
from dicom.decoding.jpeg_scan_check import decode_strict
from dicom.decoding.pixel_decoders import decode_lossless
from dicom.pixel_maths.stored_values import Cells
from dicom.transfer_syntaxes import Codec
from errors import ConfigurationError, PixelDecodeError

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """One library's round trip: encodes and decodes (64, 64) uint8; the result must be equal."""

    name: str
    run: Callable[[_Pixels], Cells]
    codecs: frozenset[Codec] = frozenset()


def check_decoders() -> tuple[str, ...]:
    """Makes every decoder decode a tiny image; returns their names and versions.

    Raises:
        ConfigurationError: a decoder is missing or broken.
    """
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    for test in SELF_TESTS:
        try:
            good = np.array_equal(test.run(pixels), pixels)
        except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"解码器 {test.name} 不可用，请按 requirements.txt 重新安装依赖") from error
        if not good:
            raise ConfigurationError(f"解码器 {test.name} 的自检结果不正确，请按 requirements.txt 重新安装依赖")
    return tuple(test.name for test in SELF_TESTS)


def _lossless_round_trip(pixels: _Pixels) -> Cells:
    return decode_lossless(bytes(imagecodecs.jpeg8_encode(pixels, lossless=True)))


def _dct_round_trip(pixels: _Pixels) -> Cells:
    """The pixels, if simplejpeg decodes as imagecodecs does and warns of a cut scan; else zeros."""
    data = bytes(imagecodecs.jpeg8_encode(pixels, level=90))
    info = read_jpeg(data)
    cells = decode_strict(data, info, "Gray")
    agreed = cells is not None and np.array_equal(cells, imagecodecs.jpeg8_decode(data))
    try:
        decode_strict(data[:-100] + data[-2:], info, "Gray")
    except PixelDecodeError:
        return pixels if agreed else np.zeros_like(pixels)
    return np.zeros_like(pixels)


def _pillow_round_trips(pixels: _Pixels) -> Cells:
    cells: Cells = pixels
    for kind in ("PNG", "BMP", "TIFF"):
        buffer = BytesIO()
        Image.fromarray(cells).save(buffer, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        cells = np.asarray(Image.open(buffer, formats=(kind,)))
    return cells


def _rle_round_trip(pixels: _Pixels) -> Cells:
    encoded = encode_pixel_data(
        pixels.tobytes(), rows=64, columns=64, samples_per_pixel=1, bits_allocated=8, number_of_frames=1
    )
    return np.frombuffer(decode_frame(encoded, pixels.size, 8, "<"), np.uint8).reshape(64, 64)


SELF_TESTS = (
    SelfTest(f"imagecodecs {imagecodecs.jpeg8_version()}", _lossless_round_trip, frozenset({Codec.JPEG_LOSSLESS})),
    SelfTest(f"simplejpeg {version('simplejpeg')}", _dct_round_trip, frozenset({Codec.JPEG})),
    SelfTest(
        f"imagecodecs {imagecodecs.jpegls_version()}",
        lambda pixels: imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(pixels)),
        frozenset({Codec.JPEG_LS, Codec.JPEG_LS_LOSSY}),
    ),
    SelfTest(
        f"imagecodecs {imagecodecs.jpegxl_version()}",
        lambda pixels: imagecodecs.jpegxl_decode(imagecodecs.jpegxl_encode(pixels, lossless=True)),
        frozenset({Codec.JPEG_XL}),
    ),
    SelfTest(
        f"pylibjpeg-openjpeg {version('pylibjpeg-openjpeg')}",
        lambda pixels: openjpeg.utils.decode(openjpeg.utils.encode_array(pixels, photometric_interpretation=2), 0),
        frozenset({Codec.JPEG_2000, Codec.JPEG_2000_LOSSY}),
    ),
    SelfTest(f"Pillow {version('pillow')}", _pillow_round_trips),
    SelfTest(f"pylibjpeg-rle {version('pylibjpeg-rle')}", _rle_round_trip, frozenset({Codec.RLE})),
)
"""UNCOMPRESSED and DEFLATE need none: NumPy and zlib decode them."""
