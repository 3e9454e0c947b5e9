"""A transfer syntax in the table has a decoder, a self-test, a check for cut codestreams and a row in the docs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from rle.utils import encode_pixel_data

from dicom.decoding.decoder_check import SELF_TESTS
from dicom.decoding.pixel_decoders import DECODERS, decode
from dicom.transfer_syntaxes import TRANSFER_SYNTAXES, Codec, TransferSyntax, has_decoder
from errors import PixelDecodeError, UnsupportedTransferSyntaxError
from tests.unit.image_files import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, encapsulated, gradient, image, to_bytes
from tests.unit.test_dicom_processor_pictures import frames_of
from tests.unit.test_pixel_decoders import attributes

DOCS = Path(__file__).parents[2] / "docs"
NOISE = np.random.default_rng(3).integers(0, 256, (33, 47)).astype(np.uint8)
COMPRESSED = [syntax for syntax in TRANSFER_SYNTAXES if syntax.codec is not Codec.NATIVE]
NATIVE = [syntax for syntax in TRANSFER_SYNTAXES if syntax.codec is Codec.NATIVE]


def _deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[Codec, Callable[[NDArray[Any]], bytes]] = {
    Codec.UNCOMPRESSED: lambda pixels: pixels.tobytes(),
    Codec.DEFLATE: lambda pixels: _deflated(pixels.tobytes()),
    Codec.RLE: lambda pixels: encode_pixel_data(
        pixels.tobytes(),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        bits_allocated=8,
        number_of_frames=1,
    ),
    Codec.JPEG: lambda pixels: bytes(imagecodecs.jpeg8_encode(pixels, level=100)),
    Codec.JPEG_LOSSLESS: lambda pixels: bytes(imagecodecs.jpeg8_encode(pixels, lossless=True)),
    Codec.JPEG_LS: lambda pixels: bytes(imagecodecs.jpegls_encode(pixels)),
    Codec.JPEG_LS_LOSSY: lambda pixels: bytes(imagecodecs.jpegls_encode(pixels, level=1)),
    Codec.JPEG_2000: lambda pixels: bytes(encode_array(pixels, photometric_interpretation=2)),
    Codec.JPEG_2000_LOSSY: lambda pixels: bytes(
        encode_array(pixels, photometric_interpretation=2, compression_ratios=[2])
    ),
    Codec.JPEG_XL: lambda pixels: bytes(imagecodecs.jpegxl_encode(pixels, lossless=True)),
}


def of_syntaxes(syntaxes: list[TransferSyntax] | tuple[TransferSyntax, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("syntax", syntaxes, ids=lambda syntax: syntax.name)


def test_uids_and_names_are_unique() -> None:
    assert len({syntax.uid for syntax in TRANSFER_SYNTAXES}) == len(TRANSFER_SYNTAXES)
    assert len({syntax.name for syntax in TRANSFER_SYNTAXES}) == len(TRANSFER_SYNTAXES)


def test_each_codec_has_a_decoder_and_a_self_test() -> None:
    used = {syntax.codec for syntax in COMPRESSED}
    assert set(DECODERS) == used, "dicom/decoding/pixel_decoders.py"
    assert set(ENCODERS) == used, "ENCODERS in this file"
    tested = frozenset().union(*(test.codecs for test in SELF_TESTS))
    assert used - tested == {Codec.UNCOMPRESSED, Codec.DEFLATE}, "dicom/decoding/decoder_check.py"


@of_syntaxes(COMPRESSED)
def test_a_whole_codestream_is_decoded(syntax: TransferSyntax) -> None:
    assert has_decoder(syntax.uid)
    frame = decode(syntax.uid, ENCODERS[syntax.codec](NOISE), attributes(NOISE, 8))
    wrong = np.abs(frame.layout.values(frame.cells) - NOISE.astype(np.int64))
    assert wrong.mean() < (20 if "LOSSY" in syntax.codec.name else 1)


@of_syntaxes(COMPRESSED)
def test_a_cut_codestream_is_refused(syntax: TransferSyntax) -> None:
    data = ENCODERS[syntax.codec](NOISE)
    with pytest.raises(PixelDecodeError):
        decode(syntax.uid, data[: len(data) // 2], attributes(NOISE, 8))


@of_syntaxes([syntax for syntax in COMPRESSED if syntax.codec.name.startswith("JPEG") and "2000" not in syntax.codec])
def test_a_cut_scan_before_an_end_marker_is_refused(syntax: TransferSyntax) -> None:
    data = ENCODERS[syntax.codec](NOISE)
    with pytest.raises(PixelDecodeError):
        decode(syntax.uid, data[: len(data) // 2] + data[-2:], attributes(NOISE, 8))


@of_syntaxes(COMPRESSED)
def test_an_encapsulated_file_is_rendered(syntax: TransferSyntax) -> None:
    content = to_bytes(encapsulated(image(NOISE), [ENCODERS[syntax.codec](NOISE)]), syntax.uid)
    (frame,) = frames_of(content)
    assert frame.levels.pixels.shape == NOISE.shape


@of_syntaxes(NATIVE)
def test_a_native_file_is_rendered(syntax: TransferSyntax) -> None:
    (wanted,) = frames_of(to_bytes(image(gradient())))
    big_endian = syntax.big_endian_pixels or not syntax.little_endian
    pixels = gradient().astype(">u2" if big_endian else "<u2")
    (frame,) = frames_of(to_bytes(image(pixels), syntax.uid, _encoding(syntax)))
    assert np.array_equal(frame.levels.pixels, wanted.levels.pixels)


def _encoding(syntax: TransferSyntax) -> str:
    if syntax.deflated:
        return DEFLATED
    if syntax.implicit_vr:
        return IMPLICIT
    return EXPLICIT if syntax.little_endian else BIG_ENDIAN


@of_syntaxes(TRANSFER_SYNTAXES)
@pytest.mark.parametrize("document", ["rules.md", "rules.zh-CN.md"])
def test_each_transfer_syntax_is_listed_in_the_docs(document: str, syntax: TransferSyntax) -> None:
    row = f"| {syntax.uid} | {syntax.name} |"
    missing = row not in (DOCS / document).read_text(encoding="utf-8")
    assert not missing, f"docs/{document} lacks this line: {row}"


@pytest.mark.parametrize("uid", [EXPLICIT, "1.2.840.10008.1.2.4.100", None])
def test_native_and_unknown_syntaxes_have_no_decoder(uid: str | None) -> None:
    assert not has_decoder(uid)
    with pytest.raises(UnsupportedTransferSyntaxError):
        decode(uid or "", b"", attributes(NOISE, 8))
