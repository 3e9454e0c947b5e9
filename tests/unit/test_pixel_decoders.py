"""Each transfer syntax's decoder: exact where lossless, right in colour and sign, refusing contradictions."""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from rle.utils import encode_pixel_data

from dicom.decoding.codestreams import read_jpeg, read_jpeg2000, read_jpeg_xl
from dicom.decoding.jpeg_scan_check import require_whole_scan
from dicom.decoding.pixel_decoders import DecodedFrame, decode
from dicom.header.attributes import ImageAttributes
from dicom.pixel_maths.stored_values import NumberKind
from errors import PixelDecodeError, TruncatedPixelDataError, UnsupportedTransferSyntaxError
from tests.unit import image_files as files
from tests.unit.hostile_files import literal_rle
from tests.unit.image_files import encapsulated, image, to_bytes
from tests.unit.test_dicom_processor_pictures import frames_of

RNG = np.random.default_rng(11)


def attributes(pixels: NDArray[Any], bits: int, **changes: Any) -> ImageAttributes:
    colour = pixels.ndim == 3
    values: dict[str, Any] = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples": 3 if colour else 1,
        "photometric": "RGB" if colour else "MONOCHROME2",
        "planar": False,
        "bits_allocated": 8 * pixels.dtype.itemsize,
        "bits_stored": bits,
        "high_bit": bits - 1,
        "signed": pixels.dtype.kind == "i",
        "frames": 1,
        "modality": None,
        "kind": NumberKind.INTEGER,
    }
    return ImageAttributes(**(values | changes))


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Whichever tests ran before."""
    RNG.bit_generator.state = np.random.default_rng(11).bit_generator.state


def stored(frame: DecodedFrame) -> NDArray[np.int64]:
    return frame.layout.values(frame.cells)


def noise(bits: int, *, signed: bool = False, colour: bool = False) -> NDArray[Any]:
    """(33, 47[, 3]) of all values that ``bits`` bits hold."""
    values = RNG.integers(0, 1 << bits, (33, 47, 3) if colour else (33, 47))
    values -= (1 << bits - 1) if signed else 0
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_jpeg_lossless_is_exact(bits: int, predictor: int) -> None:
    pixels = noise(bits)
    data = bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=predictor))
    assert np.array_equal(stored(decode(files.JPEG_LOSSLESS, data, attributes(pixels, bits))), pixels)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 13, 16])
def test_jpeg_2000_keeps_precision_and_sign(bits: int, signed: bool) -> None:
    pixels = noise(bits, signed=signed)
    data = bytes(encode_array(pixels, bits_stored=bits, photometric_interpretation=2))
    assert read_jpeg2000(data).signed is signed
    assert np.array_equal(stored(decode(files.JPEG_2000, data, attributes(pixels, bits))), pixels)


def test_jpeg_2000_of_unsigned_samples_that_are_signed_gets_its_sign_back() -> None:
    pixels = noise(13, signed=True)
    data = bytes(encode_array((pixels & 0x1FFF).astype(np.uint16), bits_stored=13, photometric_interpretation=2))
    assert np.array_equal(stored(decode(files.JPEG_2000, data, attributes(pixels, 13))), pixels)


def test_jpeg_2000_within_a_jp2_file_is_unwrapped() -> None:
    pixels = noise(12)
    data = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", bitspersample=12, reversible=True))
    assert data.startswith(b"\x00\x00\x00\x0cjP  ")
    assert np.array_equal(stored(decode(files.JPEG_2000, data, attributes(pixels, 12))), pixels)


def test_jpeg_2000_colour_transform_is_undone_once() -> None:
    pixels = noise(8, colour=True)
    data = bytes(encode_array(pixels, bits_stored=8, photometric_interpretation=1, use_mct=True))
    frame = decode(files.JPEG_2000, data, attributes(pixels, 8, photometric="YBR_RCT"))
    assert read_jpeg2000(data).colour_transform
    assert frame.photometric == "RGB"
    assert np.array_equal(stored(frame), pixels)


def test_jpeg_2000_that_was_transformed_is_rgb_even_under_a_ybr_full_label() -> None:
    pixels = noise(8, colour=True)
    data = bytes(encode_array(pixels, bits_stored=8, photometric_interpretation=1, use_mct=True))
    assert decode(files.JPEG_2000, data, attributes(pixels, 8, photometric="YBR_FULL")).photometric == "RGB"
    plain = bytes(encode_array(pixels, bits_stored=8, photometric_interpretation=1, use_mct=False))
    assert decode(files.JPEG_2000, plain, attributes(pixels, 8, photometric="YBR_FULL")).photometric == "YBR_FULL"


@pytest.mark.parametrize("signed", [False, True])
def test_htj2k_is_exact(signed: bool) -> None:
    pixels = noise(16, signed=signed)
    data = bytes(imagecodecs.htj2k_encode(pixels))
    assert np.array_equal(stored(decode(files.HTJ2K, data, attributes(pixels, 16))), pixels)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_ls_is_exact(bits: int, colour: bool) -> None:
    pixels = noise(bits, colour=colour)
    data = bytes(imagecodecs.jpegls_encode(pixels))
    assert np.array_equal(stored(decode(files.JPEG_LS, data, attributes(pixels, bits))), pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_xl_is_exact(bits: int) -> None:
    pixels = noise(bits)
    data = bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    assert np.array_equal(stored(decode(files.JPEG_XL, data, attributes(pixels, bits))), pixels)


@pytest.mark.parametrize("size", [(8, 8), (33, 47), (300, 300), (480, 640), (1080, 1920), (3000, 2500)])
def test_jpeg_xl_size_is_read_from_its_bits(size: tuple[int, int]) -> None:
    info = read_jpeg_xl(bytes(imagecodecs.jpegxl_encode(np.zeros(size, np.uint8))))
    assert (info.rows, info.columns) == size


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_rle_is_exact(bits: int, colour: bool) -> None:
    pixels = RNG.integers(0, 1 << bits, (33, 47, 3) if colour else (33, 47)).astype(f"<u{bits // 8}")
    data = encode_pixel_data(
        pixels.tobytes(),
        rows=33,
        columns=47,
        samples_per_pixel=3 if colour else 1,
        bits_allocated=bits,
        number_of_frames=1,
        byteorder="<",
    )
    assert np.array_equal(stored(decode(files.RLE, data, attributes(pixels, bits))), pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_rle_of_any_size_is_exact(rows: int, columns: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 65536, (rows, columns)).astype(np.uint16)
    assert np.array_equal(stored(decode(files.RLE, literal_rle(pixels), attributes(pixels, 16))), pixels)


# --- colour inside JPEG --------------------------------------------------------------------------------------------

PATCH = np.full((16, 16, 3), (200, 60, 30), np.uint8)


def _jpeg(**options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(PATCH, level=95, subsampling="444", **options))


def _without(data: bytes, name: bytes) -> bytes:
    """The stream without the application segment that begins with ``name``."""
    at = data.index(name) - 4
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def _levels(data: bytes, photometric: str) -> NDArray[np.uint8]:
    ds = encapsulated(image(PATCH, PhotometricInterpretation=photometric), [data])
    return frames_of(to_bytes(ds, files.JPEG_BASELINE))[0].levels.pixels


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
def test_jfif_means_ybr_whatever_the_data_set_says(photometric: str) -> None:
    data = _jpeg(colorspace="RGB", outcolorspace="YCBCR")
    assert read_jpeg(data).jfif
    assert np.abs(_levels(data, photometric).astype(int) - PATCH).max() <= 3


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_adobes_marker_beats_the_data_set(photometric: str) -> None:
    data = _jpeg(colorspace="RGB", outcolorspace="RGB")
    assert read_jpeg(data).adobe_transform == 0
    assert np.abs(_levels(data, photometric).astype(int) - PATCH).max() <= 3


def test_without_any_marker_the_data_set_is_believed() -> None:
    ybr = _without(_jpeg(colorspace="RGB", outcolorspace="YCBCR"), b"JFIF")
    assert np.abs(_levels(ybr, "YBR_FULL_422").astype(int) - PATCH).max() <= 3
    rgb = _without(_jpeg(colorspace="RGB", outcolorspace="RGB"), b"Adobe")
    sof, sos = rgb.index(b"\xff\xc0"), rgb.index(b"\xff\xda")
    plain = bytearray(rgb)  # libjpeg names RGB components R, G, B; most writers number them
    for number in range(3):
        plain[sof + 10 + 3 * number] = plain[sos + 5 + 2 * number] = number + 1
    assert np.abs(_levels(bytes(plain), "RGB").astype(int) - PATCH).max() <= 3


def test_subsampled_components_are_no_rgb() -> None:
    data = _without(bytes(imagecodecs.jpeg8_encode(PATCH, level=95, subsampling="420")), b"JFIF")
    assert np.abs(_levels(data, "RGB").astype(int) - PATCH).max() <= 3


def test_lossy_values_above_bits_stored_are_not_wrapped() -> None:
    """12-bit JPEG may overshoot Bits Stored; masked, the brightest would turn black."""
    pixels = np.full((16, 16), 1100, np.uint16)
    data = bytes(imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12))
    frame = decode(files.JPEG_EXTENDED, data, attributes(pixels, 10))
    assert np.abs(stored(frame) - 1100).max() <= 4


def test_lossless_garbage_above_bits_stored_is_masked() -> None:
    pixels = noise(12)
    data = bytes(imagecodecs.jpeg8_encode(pixels | 0xA000, lossless=True, bitspersample=16, predictor=1))
    assert np.array_equal(stored(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 12))), pixels)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_unknown_syntax_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedTransferSyntaxError, match=r"1\.2\.840\.10008\.1\.2\.4\.100"):
        decode("1.2.840.10008.1.2.4.100", b"", attributes(noise(8), 8))


def test_codestream_of_another_size_is_refused_before_it_is_decoded() -> None:
    pixels = noise(8)
    data = bytes(imagecodecs.jpegls_encode(pixels))
    with pytest.raises(PixelDecodeError, match="47×33"):
        decode(files.JPEG_LS, data, attributes(pixels, 8, rows=34))


def test_jpeg_without_its_end_marker_is_refused_by_its_header_alone() -> None:
    data = bytes(imagecodecs.jpegls_encode(noise(8)))
    read_jpeg(data)
    with pytest.raises(TruncatedPixelDataError):
        read_jpeg(data[: data.rindex(b"\xff\xd9")])


def test_cut_jpeg_2000_is_refused_by_its_tile_parts_alone() -> None:
    data = bytes(encode_array(noise(8), bits_stored=8, photometric_interpretation=2))
    read_jpeg2000(data[:-2])  # without EOC, but every tile-part is there
    with pytest.raises(TruncatedPixelDataError):
        read_jpeg2000(data[:-3])


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("lossless", [False, True])
def test_scan_that_ends_early_is_refused_though_an_end_marker_follows(kept: float, lossless: bool) -> None:
    pixels = noise(8)
    options: dict[str, Any] = {"lossless": True, "predictor": 1} if lossless else {"level": 90}
    data = bytes(imagecodecs.jpeg8_encode(pixels, **options))
    cut = data[: int(len(data) * kept)] + b"\xff\xd9"
    syntax = files.JPEG_LOSSLESS if lossless else files.JPEG_BASELINE
    with pytest.raises(PixelDecodeError):
        decode(syntax, cut, attributes(pixels, 8))


def test_whole_scan_with_an_even_end_is_no_early_end() -> None:
    pixels = noise(8)
    pixels[-16:] = 128
    kinds: tuple[dict[str, Any], ...] = ({"lossless": True, "predictor": 1}, {"level": 90})
    for options in kinds:
        data = bytes(imagecodecs.jpeg8_encode(pixels, **options))
        syntax = files.JPEG_LOSSLESS if "lossless" in options else files.JPEG_BASELINE
        assert np.abs(stored(decode(syntax, data, attributes(pixels, 8)))[-8:] - 128).max() <= 2


def even_end(**options: Any) -> bytes:
    pixels = noise(8)
    pixels[-16:] = 128
    return bytes(imagecodecs.jpeg8_encode(pixels, **options))


def second_decode(data: bytes) -> None:
    """What is left where neither a decoder's silence nor a count of bits can tell."""
    require_whole_scan(data, imagecodecs.jpeg8_decode(data), imagecodecs.jpeg8_decode)


def test_fill_bytes_before_the_end_marker_are_no_part_of_a_scan() -> None:
    whole = even_end(level=90)
    second_decode(whole[:-2] + b"\xff\xff\xff\xd9")


def test_scan_cut_between_the_two_bytes_of_a_stuffed_one_is_refused() -> None:
    whole = even_end(level=90)
    at = whole.index(b"\xff\x00", whole.index(b"\xff\xda"))
    with pytest.raises(TruncatedPixelDataError):
        second_decode(whole[: at + 1] + b"\xff\xd9")


# --- frames out of fragments ---------------------------------------------------------------------------------------

THREE = [np.full((8, 8), value, np.uint8) for value in (10, 100, 200)]


def _fragmented(items: list[bytes], table: bytes = b"", **elements: Any) -> list[int]:
    """First level of each frame of a three-frame file whose pixel data are ``items``."""
    ds = image(np.stack(THREE), **elements)
    parts = [table, *items]
    data = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in parts)
    ds.add_new(0x7FE00010, "OB", data)
    ds["PixelData"].is_undefined_length = True
    return [int(frame.levels.pixels[0, 0]) for frame in frames_of(to_bytes(ds, files.JPEG_LS))]


def _streams() -> list[bytes]:
    streams = [bytes(imagecodecs.jpegls_encode(pixels)) for pixels in THREE]
    return [stream + b"\0" * (len(stream) % 2) for stream in streams]


def test_one_fragment_for_each_frame() -> None:
    assert _fragmented(_streams()) == [10, 100, 200]


def test_fragments_are_told_apart_by_how_codestreams_begin() -> None:
    items = [part for stream in _streams() for part in (stream[:20], stream[20:])]
    assert _fragmented(items) == [10, 100, 200]


def test_offset_table_groups_fragments() -> None:
    streams = _streams()
    items = [streams[0][:20], streams[0][20:], streams[1], streams[2]]
    second = 16 + len(streams[0])
    table = struct.pack("<3L", 0, second, second + 8 + len(streams[1]))
    assert _fragmented(items, table) == [10, 100, 200]


def test_lying_offset_table_is_passed_over() -> None:
    assert _fragmented(_streams(), struct.pack("<3L", 0, 7, 99999)) == [10, 100, 200]


def test_extended_offset_table_groups_fragments() -> None:
    streams = _streams()
    items = [streams[0], streams[1][:20], streams[1][20:], streams[2]]
    second = 8 + len(streams[0])
    third = second + 16 + len(streams[1])
    assert _fragmented(items, ExtendedOffsetTable=struct.pack("<3Q", 0, second, third)) == [10, 100, 200]


def test_missing_frame_is_refused() -> None:
    with pytest.raises(TruncatedPixelDataError):
        _fragmented(_streams()[:2])
