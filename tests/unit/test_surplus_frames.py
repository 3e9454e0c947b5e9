"""Pixel data that hold more than the header counts, or that are not encapsulated although they are compressed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from rle.utils import encode_pixel_data

from dicom.rendering.frame_rendering import RenderedFrame
from errors import FileError
from tests.unit import image_files as files
from tests.unit.image_files import image, to_bytes
from tests.unit.test_dicom_processor_pictures import frames_of

THREE = [np.full((64, 64), value, np.uint8) for value in (10, 100, 200)]


def _rle(cells: np.ndarray[Any, Any]) -> bytes:
    rows, columns = cells.shape
    data: bytes = encode_pixel_data(
        cells.tobytes(), rows=rows, columns=columns, samples_per_pixel=1, bits_allocated=8, number_of_frames=1
    )
    return data


def _codestream(syntax: str, cells: np.ndarray[Any, Any]) -> bytes:
    encoders: dict[str, Callable[[], bytes]] = {
        files.JPEG_BASELINE: lambda: bytes(imagecodecs.jpeg8_encode(cells, level=100)),
        files.JPEG_LOSSLESS: lambda: bytes(imagecodecs.jpeg8_encode(cells, lossless=True, predictor=1)),
        files.JPEG_LS: lambda: bytes(imagecodecs.jpegls_encode(cells)),
        files.JPEG_2000: lambda: bytes(encode_array(cells, bits_stored=8, photometric_interpretation=2)),
        files.JPEG_XL: lambda: bytes(imagecodecs.jpegxl_encode(cells, lossless=True)),
        files.RLE: lambda: _rle(cells),
    }
    data = encoders[syntax]()
    return data + b"\0" * (len(data) % 2)


SYNTAXES = [files.JPEG_BASELINE, files.JPEG_LOSSLESS, files.JPEG_LS, files.JPEG_2000, files.JPEG_XL, files.RLE]


def _items(parts: list[bytes], table: bytes = b"") -> bytes:
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (table, *parts))


def _file(value: bytes, syntax: str, *, undefined: bool = True, **elements: Any) -> bytes:
    """A file of 64 x 64 pixels of 8 bits around ``value``."""
    ds = image(THREE[0], **elements)
    ds.add_new(0x7FE00010, "OB", value)
    ds["PixelData"].is_undefined_length = undefined
    if undefined:
        return to_bytes(ds, syntax)
    ds["PixelData"].VR = "OB"
    return _with_defined_length(ds, syntax, value)


def _with_defined_length(ds: Dataset, syntax: str, value: bytes) -> bytes:
    """Byte by byte, since pydicom writes no compressed pixel data of defined length."""
    del ds.PixelData
    head = to_bytes(ds, syntax)
    return head + files.element(0x7FE00010, b"OB", value)


def _levels(content: bytes) -> list[int]:
    return [int(frame.levels.pixels[0, 0]) for frame in frames_of(content)]


def _code(content: bytes) -> str:
    """Outcome of rendering; what a refusal says names the attribute by which the frames are counted."""
    try:
        frames_of(content)
    except FileError as error:
        assert "NumberOfFrames" in error.detail or "未封装" in error.detail or "长度" in error.detail
        return error.code
    return "ok"


# --- encapsulated --------------------------------------------------------------------------------------------------


def _offsets(parts: list[bytes]) -> Iterator[int]:
    at = 0
    for part in parts:
        yield at
        at += 8 + len(part)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("table", ["none", "basic", "extended"])
@pytest.mark.parametrize(
    ("frames", "code"), [(None, "missing_attribute"), (1, "pixel_decode_failed"), (2, "pixel_decode_failed")]
)
def test_three_frames_that_are_not_counted_are_refused(syntax: str, table: str, frames: int | None, code: str) -> None:
    parts = [_codestream(syntax, cells) for cells in THREE]
    offsets = list(_offsets(parts))
    elements: dict[str, Any] = {} if frames is None else {"NumberOfFrames": frames}
    if table == "extended":
        elements["ExtendedOffsetTable"] = struct.pack("<3Q", *offsets)
        elements["ExtendedOffsetTableLengths"] = struct.pack("<3Q", *map(len, parts))
    basic = struct.pack("<3L", *offsets) if table == "basic" else b""
    assert _code(_file(_items(parts, basic), syntax, **elements)) == code
    assert _levels(_file(_items(parts, basic), syntax, NumberOfFrames=3)) == [10, 100, 200]


@pytest.mark.parametrize("zero", ["", "0"])
def test_an_empty_or_zero_count_counts_nothing(zero: str) -> None:
    parts = [_codestream(files.JPEG_LS, cells) for cells in THREE]
    assert _code(_file(_items(parts), files.JPEG_LS, NumberOfFrames=zero)) == "missing_attribute"


@pytest.mark.parametrize("syntax", [files.JPEG_BASELINE, files.JPEG_LOSSLESS, files.JPEG_LS, files.JPEG_2000])
@pytest.mark.parametrize("frames", [None, 1])
def test_two_codestreams_in_one_fragment_are_two_frames(syntax: str, frames: int | None) -> None:
    both = b"".join(_codestream(syntax, cells) for cells in THREE[:2])
    elements: dict[str, Any] = {} if frames is None else {"NumberOfFrames": frames}
    expected = "missing_attribute" if frames is None else "pixel_decode_failed"
    assert _code(_file(_items([both]), syntax, **elements)) == expected


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("frames", [None, 1])
def test_one_frame_in_several_fragments_is_one_frame(syntax: str, frames: int | None) -> None:
    stream = _codestream(syntax, THREE[1])
    parts = [stream[:20], b"", stream[20:30], stream[30:]]
    elements: dict[str, Any] = {} if frames is None else {"NumberOfFrames": frames}
    assert _levels(_file(_items(parts), syntax, **elements)) == [100]


def test_a_table_that_lists_each_fragment_of_the_only_frame_is_no_count() -> None:
    stream = _codestream(files.JPEG_2000, THREE[1])
    parts = [stream[:40], stream[40:60], stream[60:]]
    assert _levels(_file(_items(parts, struct.pack("<3L", *_offsets(parts))), files.JPEG_2000)) == [100]


@pytest.mark.parametrize("tail", [b"\0\0", b"\0" * 500, b"\xff\xff", b"junk behind it"])
def test_what_follows_a_codestream_and_is_none_is_passed_over(tail: bytes) -> None:
    stream = _codestream(files.JPEG_LOSSLESS, THREE[2])
    assert _levels(_file(_items([stream + tail]), files.JPEG_LOSSLESS)) == [200]


# --- native --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("frames", "code"), [(None, "missing_attribute"), (1, "pixel_decode_failed")])
@pytest.mark.parametrize("held", [2, 3])
def test_native_frames_that_are_not_counted_are_refused(
    dtype: type[np.integer[Any]], frames: int | None, code: str, held: int
) -> None:
    cells = np.arange(held * 15).reshape(held, 3, 5).astype(dtype)
    assert _code(to_bytes(image(cells, NumberOfFrames=frames))) == code


def test_native_frames_beyond_a_count_of_several_are_refused() -> None:
    cells = np.arange(1, 65, dtype=np.uint8).reshape(4, 4, 4)
    assert _code(to_bytes(image(cells, NumberOfFrames=3))) == "pixel_decode_failed"
    assert len(frames_of(to_bytes(image(cells)))) == 4


@pytest.mark.parametrize("syntax", [files.IMPLICIT, files.DEFLATED])
def test_surplus_shows_whatever_the_encoding(syntax: str) -> None:
    cells = np.arange(1, 51, dtype=np.uint16).reshape(2, 5, 5)
    assert _code(to_bytes(image(cells, NumberOfFrames=1), syntax)) == "pixel_decode_failed"


def test_two_native_frames_with_shared_chroma_are_not_one_without() -> None:
    """4 x 4 pixels of 2 bytes each, twice: 64 bytes; one frame of 3 bytes a pixel takes 48."""
    ds = image(np.zeros((4, 4, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    ds.add_new(0x7FE00010, "OB", bytes(range(100, 164)))
    assert _code(to_bytes(ds)) == "missing_attribute"


def _native(surplus: bytes, shape: tuple[int, int] = (4, 4)) -> list[RenderedFrame]:
    ds = image(np.full(shape, 7, np.uint8))
    ds.add_new(0x7FE00010, "OB", bytes([7]) * (shape[0] * shape[1]) + surplus)
    return frames_of(to_bytes(ds))


@pytest.mark.parametrize("surplus", [b"\0", b"", b"\0" * 14, b"\1" * 14, b"\xff" * 2])
def test_less_than_a_frame_is_padding(surplus: bytes) -> None:
    (frame,) = _native(surplus)
    assert not frame.notes


def test_the_byte_that_makes_a_length_even_is_no_frame() -> None:
    (frame,) = _native(b"\0", shape=(1, 1))
    assert not frame.notes


def test_zeros_of_a_whole_frame_are_padding_with_a_warning() -> None:
    (frame,) = _native(b"\0" * 40)
    assert list(frame.notes) == ["surplus_pixel_data"]


# --- compressed, and yet of defined length -------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_bare_codestream_is_the_one_frame_that_it_is(syntax: str) -> None:
    """PS3.5 A.4 asks for an undefined length and items."""
    assert _levels(_file(_codestream(syntax, THREE[1]), syntax, undefined=False)) == [100]
    assert _levels(_file(_codestream(syntax, THREE[1]), syntax, undefined=False, NumberOfFrames=1)) == [100]


def test_a_bare_codestream_as_long_as_native_pixels_is_decoded_all_the_same() -> None:
    stream = _codestream(files.JPEG_BASELINE, np.full((64, 64), 100, np.uint8))
    ds = image(np.zeros((64, 64), np.uint8))
    content = _with_defined_length(ds, files.JPEG_BASELINE, stream + b"\0" * (4096 - len(stream)))
    assert _levels(content) == [100]


def test_items_of_defined_length_are_read() -> None:
    parts = [_codestream(files.JPEG_LS, cells) for cells in THREE]
    content = _file(_items(parts), files.JPEG_LS, undefined=False, NumberOfFrames=3)
    assert _levels(content) == [10, 100, 200]


@pytest.mark.parametrize("syntax", [files.JPEG_BASELINE, files.JPEG_2000, files.RLE])
def test_a_bare_codestream_of_several_frames_is_refused(syntax: str) -> None:
    content = _file(_codestream(syntax, THREE[1]), syntax, undefined=False, NumberOfFrames=2)
    assert _code(content) == "pixel_decode_failed"


def test_two_bare_codestreams_are_refused() -> None:
    both = b"".join(_codestream(files.JPEG_LS, cells) for cells in THREE[:2])
    assert _code(_file(both, files.JPEG_LS, undefined=False)) == "missing_attribute"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_native_pixels_of_the_right_length_are_shown_under_a_compressed_syntax(syntax: str) -> None:
    """Some software decompresses and keeps the transfer syntax."""
    assert _levels(_file(THREE[1].tobytes(), syntax, undefined=False)) == [100]


def test_a_whole_codestream_of_another_syntax_is_no_native_pixels() -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(5000)
    assert _code(_file(png, files.JPEG_BASELINE, undefined=False)) == "pixel_decode_failed"


def test_what_is_too_short_for_native_pixels_is_truncated() -> None:
    with pytest.raises(FileError) as refusal:
        frames_of(_file(b"\7" * 50, files.JPEG_BASELINE, undefined=False))
    assert refusal.value.code == "truncated_pixel_data"


def test_a_bare_codestream_that_the_file_cuts_off_is_truncated() -> None:
    content = _file(_codestream(files.JPEG_LS, THREE[1]), files.JPEG_LS, undefined=False)
    with pytest.raises(FileError) as refusal:
        frames_of(content[:-6])
    assert refusal.value.code == "truncated_pixel_data"
