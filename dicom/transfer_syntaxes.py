"""The table of transfer syntaxes (PS3.5 annex A, PS3.6 annex A). Everything that depends on one derives from here.

A new row needs a row in the table of docs/rules.md and docs/rules.zh-CN.md. A new codec also needs a decoder
(``decoding/pixel_decoders.py``) and a self-test (``decoding/decoder_check.py``).
``tests/unit/test_transfer_syntaxes.py`` finds what is missing, a check for cut codestreams included.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Codec(StrEnum):
    """How a frame is compressed. Each codec has one decoder."""

    NATIVE = "native"
    """Frames behind each other, not encapsulated."""
    UNCOMPRESSED = "encapsulated uncompressed"
    DEFLATE = "deflated frames"
    RLE = "RLE"
    JPEG = "JPEG"
    """DCT, 8 or 12 bits, lossy."""
    JPEG_LOSSLESS = "JPEG Lossless"
    JPEG_LS = "JPEG-LS"
    JPEG_LS_LOSSY = "JPEG-LS near-lossless"
    JPEG_2000 = "JPEG 2000"
    """HTJ2K included."""
    JPEG_2000_LOSSY = "JPEG 2000 lossy"
    JPEG_XL = "JPEG XL"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax.

    Attributes:
        implicit_vr, little_endian: how data elements are encoded.
        big_endian_pixels: native pixel data are big endian, though the data set is not.
        deflated: the data set is a raw deflate stream (PS3.5 A.5).
    """

    uid: str
    name: str
    codec: Codec = Codec.NATIVE
    implicit_vr: bool = False
    little_endian: bool = True
    big_endian_pixels: bool = False
    deflated: bool = False


def _jpeg(number: int, name: str, codec: Codec) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.4.{number}", name, codec)


_LITTLE_ENDIAN = TransferSyntax("1.2.840.10008.1.2", "Implicit VR Little Endian", implicit_vr=True)

TRANSFER_SYNTAXES = (
    _LITTLE_ENDIAN,
    TransferSyntax("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    TransferSyntax("1.2.840.10008.1.2.2", "Explicit VR Big Endian", little_endian=False),
    TransferSyntax("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", deflated=True),
    TransferSyntax("1.2.840.113619.5.2", "GE Implicit VR, Big Endian Pixels", implicit_vr=True, big_endian_pixels=True),
    TransferSyntax("1.2.840.10008.1.20", "Papyrus 3 (retired)"),
    TransferSyntax("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed", Codec.UNCOMPRESSED),
    TransferSyntax("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression", Codec.DEFLATE),
    TransferSyntax("1.2.840.10008.1.2.5", "RLE Lossless", Codec.RLE),
    _jpeg(50, "JPEG Baseline (Process 1)", Codec.JPEG),
    _jpeg(51, "JPEG Extended (Process 2 & 4)", Codec.JPEG),
    _jpeg(52, "JPEG Extended (Process 3 & 5)", Codec.JPEG),
    _jpeg(53, "JPEG Spectral Selection (Process 6 & 8)", Codec.JPEG),
    _jpeg(54, "JPEG Spectral Selection (Process 7 & 9)", Codec.JPEG),
    _jpeg(55, "JPEG Full Progression (Process 10 & 12)", Codec.JPEG),
    _jpeg(56, "JPEG Full Progression (Process 11 & 13)", Codec.JPEG),
    _jpeg(57, "JPEG Lossless (Process 14)", Codec.JPEG_LOSSLESS),
    _jpeg(58, "JPEG Lossless (Process 15)", Codec.JPEG_LOSSLESS),
    _jpeg(70, "JPEG Lossless (Process 14, SV1)", Codec.JPEG_LOSSLESS),
    _jpeg(80, "JPEG-LS Lossless", Codec.JPEG_LS),
    _jpeg(81, "JPEG-LS Near-Lossless", Codec.JPEG_LS_LOSSY),
    _jpeg(90, "JPEG 2000 Lossless", Codec.JPEG_2000),
    _jpeg(91, "JPEG 2000", Codec.JPEG_2000_LOSSY),
    _jpeg(92, "JPEG 2000 Part 2 Lossless", Codec.JPEG_2000),
    _jpeg(93, "JPEG 2000 Part 2", Codec.JPEG_2000_LOSSY),
    _jpeg(201, "HTJ2K Lossless", Codec.JPEG_2000),
    _jpeg(202, "HTJ2K RPCL Lossless", Codec.JPEG_2000),
    _jpeg(203, "HTJ2K", Codec.JPEG_2000_LOSSY),
    _jpeg(110, "JPEG XL Lossless", Codec.JPEG_XL),
    _jpeg(111, "JPEG XL JPEG Recompression", Codec.JPEG_XL),
    _jpeg(112, "JPEG XL", Codec.JPEG_XL),
)
_BY_UID = {syntax.uid: syntax for syntax in TRANSFER_SYNTAXES}


def transfer_syntax(uid: str | None) -> TransferSyntax | None:
    """The row of a UID; Implicit VR Little Endian for None (PS3.5 10.1), None if the UID is not in the table."""
    return _LITTLE_ENDIAN if uid is None else _BY_UID.get(uid)


def codec_of(uid: str | None) -> Codec | None:
    syntax = transfer_syntax(uid)
    return syntax.codec if syntax else None


def has_decoder(uid: str | None) -> bool:
    """Whether frames of this transfer syntax are encapsulated and this service decodes them."""
    return codec_of(uid) not in (None, Codec.NATIVE)
