"""Is every decoder there and sound? Asked once, at start-up, instead of being found out file by file."""

from __future__ import annotations

from collections.abc import Callable
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
from errors import ConfigurationError, PixelDecodeError


def check_decoders() -> tuple[str, ...]:
    """Make every decoder decode a tiny picture; returns their names and versions.

    Raises:
        ConfigurationError: one is missing or broken.
    """
    picture = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    trials: dict[str, Callable[[], Cells]] = {
        f"imagecodecs {imagecodecs.jpeg8_version()}": lambda: decode_lossless(
            bytes(imagecodecs.jpeg8_encode(picture, lossless=True))
        ),
        f"simplejpeg {version('simplejpeg')}": lambda: _dct_round_trip(picture),
        f"imagecodecs {imagecodecs.jpegls_version()}": lambda: imagecodecs.jpegls_decode(
            imagecodecs.jpegls_encode(picture)
        ),
        f"imagecodecs {imagecodecs.jpegxl_version()}": lambda: imagecodecs.jpegxl_decode(
            imagecodecs.jpegxl_encode(picture, lossless=True)
        ),
        f"pylibjpeg-openjpeg {version('pylibjpeg-openjpeg')}": lambda: openjpeg.utils.decode(
            openjpeg.utils.encode_array(picture, photometric_interpretation=2), 0
        ),
        f"Pillow {version('pillow')}": lambda: _pillow_round_trips(picture),
        f"pylibjpeg-rle {version('pylibjpeg-rle')}": lambda: _rle_round_trip(picture),
    }
    for name, trial in trials.items():
        try:
            good = np.array_equal(trial(), picture)
        except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"解码器 {name} 不可用，请按 requirements.txt 重新安装依赖") from error
        if not good:
            raise ConfigurationError(f"解码器 {name} 的自检结果不正确，请按 requirements.txt 重新安装依赖")
    return tuple(trials)


def _dct_round_trip(picture: NDArray[np.uint8]) -> Cells:
    """The picture where simplejpeg sees what imagecodecs sees in a JPEG of it, and warns of a cut scan."""
    data = bytes(imagecodecs.jpeg8_encode(picture, level=90))
    info = read_jpeg(data)
    cells = decode_strict(data, info, "Gray")
    agreed = cells is not None and np.array_equal(cells, imagecodecs.jpeg8_decode(data))
    try:
        decode_strict(data[:-100] + data[-2:], info, "Gray")
    except PixelDecodeError:
        return picture if agreed else np.zeros_like(picture)
    return np.zeros_like(picture)


def _pillow_round_trips(picture: NDArray[np.uint8]) -> Cells:
    """PNG, BMP and compressed TIFF, all lossless; the last one's cells. JPEG has its own decoder above."""
    cells: Cells = picture
    for kind in ("PNG", "BMP", "TIFF"):
        buffer = BytesIO()
        Image.fromarray(cells).save(buffer, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        cells = np.asarray(Image.open(buffer, formats=(kind,)))
    return cells


def _rle_round_trip(picture: NDArray[np.uint8]) -> Cells:
    encoded = encode_pixel_data(
        picture.tobytes(), rows=64, columns=64, samples_per_pixel=1, bits_allocated=8, number_of_frames=1
    )
    return np.frombuffer(decode_frame(encoded, picture.size, 8, "<"), np.uint8).reshape(64, 64)
