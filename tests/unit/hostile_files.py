"""Files made to hurt, each with the outcomes that are right for it.

``hostile_files()`` yields them as bytes; a test writes each to disk and imports it. Expected outcomes are codes of
FileErrors, or OK where a picture is due although something in the file is broken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.unit import image_files as files
from tests.unit.image_files import element, encapsulated, gradient, image, to_bytes

OK = "ok"
IGNORED = "ignored"
_CUT = frozenset({"truncated_file", "truncated_pixel_data"})
_DAMAGED = frozenset({"pixel_decode_failed", "truncated_pixel_data"})


@dataclass(frozen=True, slots=True)
class HostileFile:
    """One hostile file: its name (no folder), its bytes, and the codes that are right for it."""

    name: str
    content: bytes
    expected: frozenset[str]


def hostile_files() -> Iterator[HostileFile]:
    """All of them, small enough to be kept in memory together."""
    for make in (
        _truncations,
        _truncated_codestreams,
        _lying_headers,
        _lying_codestreams,
        _lying_lengths,
        _bombs,
        _broken_windows,
        _broken_tables,
        _broken_attributes,
        _no_pictures,
        _not_dicom,
        _no_decoder,
    ):
        yield from make()


def _file(name: str, content: bytes, *expected: str) -> HostileFile:
    return HostileFile(name + ".dcm", content, frozenset(expected))


def _native(**elements: object) -> bytes:
    return to_bytes(image(gradient(), **elements))


def _codestreams() -> dict[str, tuple[str, bytes]]:
    """One codestream of a noisy 64x48 picture for each family; noise leaves no codec anything to guess."""
    noise = np.random.default_rng(7).integers(0, 4096, (64, 48)).astype(np.uint16)
    eight = (noise >> 4).astype(np.uint8)
    return {
        "baseline": (files.JPEG_BASELINE, bytes(imagecodecs.jpeg8_encode(eight, level=90))),
        "extended": (files.JPEG_EXTENDED, bytes(imagecodecs.jpeg8_encode(noise, level=90, bitspersample=12))),
        "lossless": (
            files.JPEG_LOSSLESS,
            bytes(imagecodecs.jpeg8_encode(noise, lossless=True, bitspersample=12, predictor=1)),
        ),
        "jpegls": (files.JPEG_LS, bytes(imagecodecs.jpegls_encode(noise))),
        "jpeg2000": (
            files.JPEG_2000,
            bytes(imagecodecs.jpeg2k_encode(noise, codecformat="j2k", bitspersample=12, reversible=True)),
        ),
        "htj2k": (files.HTJ2K, bytes(imagecodecs.htj2k_encode(noise))),
        "jpegxl": (files.JPEG_XL, bytes(imagecodecs.jpegxl_encode(noise, lossless=True))),
        "rle": (files.RLE, literal_rle(noise)),
    }


def literal_rle(cells: NDArray[np.uint16]) -> bytes:
    """RLE (PS3.5 annex G) in literal runs only, high byte plane first."""
    planes = [(cells >> 8).astype(np.uint8).tobytes(), (cells & 0xFF).astype(np.uint8).tobytes()]
    segments = []
    for plane in planes:
        runs = [plane[at : at + 128] for at in range(0, len(plane), 128)]
        packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64, 64 + len(segments[0])]
    return struct.pack("<16L", 2, *offsets, *([0] * 13)) + b"".join(segments)


def _compressed(name: str, data: bytes, **elements: object) -> bytes:
    cells = np.zeros((64, 48), np.uint8 if name == "baseline" else np.uint16)
    stored = {} if name == "baseline" else {"BitsStored": 16 if name in ("rle", "jpegxl", "htj2k") else 12}
    return to_bytes(encapsulated(image(cells, **(stored | elements)), [data]), _codestreams()[name][0])


def _truncations() -> Iterator[HostileFile]:
    """A native file cut in every region."""
    whole = _native(PixelPaddingValue=0, WindowCenter=100, WindowWidth=200)
    pixels_at = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    yield _file("cut-in-preamble", whole[:100], "not_dicom")
    yield _file("cut-after-magic", whole[:132], "truncated_file", "not_dicom")
    yield _file("cut-in-meta", whole[:180], "truncated_file")
    for at in range(340, pixels_at, 7):
        yield _file(f"cut-in-header-{at}", whole[:at], *_CUT, "no_pixel_data")
    yield _file("cut-before-pixels", whole[:pixels_at], *_CUT)
    yield _file("cut-in-pixel-header", whole[: pixels_at + 6], *_CUT)
    for left in (1, 2, 100, gradient().nbytes):
        yield _file(f"cut-{left}-bytes-of-pixels", whole[:-left], "truncated_pixel_data")
    yield _file("cut-in-element-header", to_bytes(_report()) + element(0x00420010, b"ST", b"")[:5], "truncated_file")
    short = element(0x7FE00010, b"OW", bytes(100)) + element(0xFFFCFFFC, b"OB", bytes(2000))
    yield _file("short-pixels-before-padding", whole[:pixels_at] + short, "truncated_pixel_data")
    sequence = Dataset()
    sequence.ReferencedSOPInstanceUID = "1.2.3"
    ds = image(gradient(), SourceImageSequence=Sequence([sequence]))
    ds["SourceImageSequence"].is_undefined_length = True
    nested = to_bytes(ds)
    yield _file("cut-in-sequence", nested[: nested.index(b"1.2.3") + 2], "truncated_file")


def _truncated_codestreams() -> Iterator[HostileFile]:
    """Compressed files cut at the file's end, and whole files around a cut codestream."""
    for name, (_, data) in _codestreams().items():
        whole = _compressed(name, data)
        yield _file(f"whole-{name}", whole, OK)
        for part in (0.2, 0.6, 0.97):
            cut_at = len(whole) - int(len(data) * (1 - part)) - 8
            yield _file(f"cut-file-{name}-{part}", whole[:cut_at], "truncated_pixel_data")
            half = data[: int(len(data) * part)]
            yield _file(f"cut-stream-{name}-{part}", _compressed(name, half), *_DAMAGED)
        yield _file(f"empty-stream-{name}", _compressed(name, b""), *_DAMAGED)
        yield _file(f"garbage-stream-{name}", _compressed(name, b"\xa5" * len(data)), *_DAMAGED)
    for name in ("baseline", "extended", "lossless"):
        data = _codestreams()[name][1]
        for part in (0.3, 0.9):
            glued = data[: int(len(data) * part)] + b"\xff\xd9"
            yield _file(f"cut-stream-with-end-{name}-{part}", _compressed(name, glued), *_DAMAGED)


def _lying_headers() -> Iterator[HostileFile]:
    """Sizes that the file's bytes cannot hold."""
    yield _file("60000-square", _native(Rows=60000, Columns=60000), "file_too_large")
    yield _file("20000-square", _native(Rows=20000, Columns=20000), "truncated_pixel_data")
    yield _file("hundred-million-frames", _native(NumberOfFrames=10**8), "too_many_frames")
    yield _file("two-frames-of-one", _native(NumberOfFrames=2), "truncated_pixel_data")
    yield _file("no-rows", _native(Rows=0), "missing_attribute")
    yield _file("rows-absent", _native(Rows=None), "missing_attribute")
    yield _file("bits-allocated-absent", _native(BitsAllocated=None), "missing_attribute")
    yield _file("bits-allocated-7", _native(BitsAllocated=7, BitsStored=7), "unsupported_image")
    yield _file("bits-stored-over-allocated", _native(BitsStored=24, HighBit=23), "missing_attribute")
    yield _file("two-samples", _native(SamplesPerPixel=2, Rows=8), "unsupported_image")
    yield _file("colour-in-one-sample", _native(PhotometricInterpretation="RGB"), "unsupported_image")
    yield _file("unknown-photometric", _native(PhotometricInterpretation="CMYK"), "unsupported_image")
    yield _file("frames-no-number", _native_text_frames(), "missing_attribute")


def _native_text_frames() -> bytes:
    content = _native(NumberOfFrames=1)
    return content.replace(b"IS\x02\x001 ", b"IS\x02\x001A")


def _lying_codestreams() -> Iterator[HostileFile]:
    """Codestreams whose own header says something else than the data set's."""
    for name, (_, data) in _codestreams().items():
        if name != "rle":
            yield _file(f"rows-disagree-{name}", _compressed(name, data, Rows=32), "pixel_decode_failed")
        else:
            yield _file(f"rows-disagree-{name}", _compressed(name, data, Rows=4096, Columns=4096), *_DAMAGED)
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        yield _file(f"samples-disagree-{name}", _compressed(name, data, **colour), *_DAMAGED)
    extended = _codestreams()["extended"][1]
    lying = to_bytes(encapsulated(image(np.zeros((64, 48), np.uint8)), [extended]), files.JPEG_EXTENDED)
    yield _file("precision-disagrees", lying, "pixel_decode_failed")
    wide = bytearray(_codestreams()["jpeg2000"][1])
    struct.pack_into(">L", wide, 8, 0x7FFFFFFF)
    yield _file("jpeg2000-two-billion-columns", _compressed("jpeg2000", bytes(wide)), "pixel_decode_failed")
    baseline = _codestreams()["baseline"][1]
    sof = baseline.index(b"\xff\xc0")
    huge = baseline[: sof + 5] + struct.pack(">HH", 30000, 30000) + baseline[sof + 9 :]
    yield _file("jpeg-6-kilobytes-30000-square", _compressed("baseline", huge, Rows=30000, Columns=30000), *_DAMAGED)
    overrun = b"\0\0" + (b"\x7f" + bytes(128)) * 100
    long = struct.pack("<16L", 2, 64, 64 + len(overrun), *([0] * 13)) + overrun * 2
    yield _file("rle-segment-too-long", _compressed("rle", long), *_DAMAGED)
    rle = struct.pack("<16L", 2, 64, 0xFFFFFFF0, *([0] * 13)) + b"\0" * 64
    yield _file("rle-segment-beyond-end", _compressed("rle", rle), *_DAMAGED)


def _lying_lengths() -> Iterator[HostileFile]:
    """Elements and items whose length is not theirs."""
    start = _native()[: -gradient().nbytes - 12]
    four_gigabytes = element(0x00291010, b"OB", b"x" * 10, 0xFFFFFF00)
    yield _file("element-of-4-gigabytes", start + four_gigabytes, "truncated_file")
    unclosed = element(0x00291010, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    yield _file("sequence-never-closed", start + unclosed, "truncated_file")
    yield _file("ten-thousand-nested-sequences", start + unclosed * 10_000, "truncated_file", "not_dicom")
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    jpeg = _compressed("baseline", _codestreams()["baseline"][1])
    head = jpeg[: jpeg.index(struct.pack("<HH", 0x7FE0, 0x0010))]
    yield _file(
        "item-of-4-gigabytes", head + pixels + item + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFF00), *_DAMAGED
    )
    yield _file("items-that-are-none", head + pixels + b"\x55" * 64, *_DAMAGED)
    yield _file("no-fragments", head + pixels + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), *_DAMAGED)
    yield _file("hundred-thousand-empty-items", head + pixels + item * 100_000, *_DAMAGED)


def _bombs() -> Iterator[HostileFile]:
    """Small files that unfold."""
    meta = to_bytes(image(gradient(4, 4)), files.DEFLATED)
    meta = meta[: 132 + 12 + struct.unpack_from("<L", meta, 140)[0]]
    bomb = element(0x00080060, b"CS", b"OT") + element(0x00091010, b"OB", b"", 300 << 20)
    yield _file("deflate-bomb-in-header", meta + _deflate(bomb, 300), "file_too_large")
    small = _native()[132 + 12 + struct.unpack_from("<L", _native(), 140)[0] :]
    yield _file("deflate-bomb-behind-pixels", meta + _deflate(small, 300), OK)
    yield _file(
        "deflate-bomb-of-empty-elements",
        meta + _deflate(element(0x00080060, b"CS", b"OT"), 300),
        *_CUT,
        "no_pixel_data",
    )
    yield _file("deflate-cut", meta + _deflate(small)[:-40], *_CUT)
    unclosed = element(0x00091010, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    yield _file("deflate-sequence-never-closed", meta + _deflate(element(0x00080060, b"CS", b"OT") + unclosed), *_CUT)
    yield _file("deflate-garbage", meta + b"\xff" * 400, "not_dicom")


def _deflate(data: bytes, megabytes_of_zeros: int = 0) -> bytes:
    compressor = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    parts = [compressor.compress(data)]
    if megabytes_of_zeros:
        parts += [compressor.flush(zlib.Z_FULL_FLUSH), *[_megabyte_of_zeros()] * megabytes_of_zeros]
    return b"".join(parts) + compressor.flush()


@cache
def _megabyte_of_zeros() -> bytes:
    """Blocks that may be repeated: a full flush ends them, so that none looks back at another."""
    compressor = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)


def _broken_windows() -> Iterator[HostileFile]:
    """Windows that are none: the picture is due all the same."""
    broken = {
        "text": (b"LEFT", b"WIDE"),
        "empty": (b"", b""),
        "not-a-number": (b"nan ", b"nan "),
        "infinite": (b"1e400 ", b"1e400 "),
        "zero": (b"0 ", b"0 "),
        "narrow": (b"100 ", b"0.21"),
        "negative": (b"100 ", b"-50 "),
        "one-of-two": (b"100 ", b""),
        "backslashes": (b"\\\\\\\\", b"\\\\\\\\"),
    }
    plain = _native()
    at = plain.index(struct.pack("<HH", 0x7FE0, 0x0010))
    for name, (center, width) in broken.items():
        elements = element(0x00281050, b"DS", center) + element(0x00281051, b"DS", width)
        yield _file(f"window-{name}", plain[:at] + elements + plain[at:], OK)


def _broken_tables() -> Iterator[HostileFile]:
    """Lookup tables that contradict themselves: VOI and Modality LUTs are passed over, palettes are needed."""
    for kind in ("VOILUTSequence", "ModalityLUTSequence"):
        yield _file(f"{kind}-empty-item", _native(**{kind: Sequence([Dataset()])}), OK)
        short = Dataset()
        short.add_new(0x00283002, "US", [4096, 0, 12])
        short.add_new(0x00283006, "OW", b"\1\0" * 10)
        yield _file(f"{kind}-too-short", _native(**{kind: Sequence([short])}), OK)
    yield _file("palette-missing", _native(PhotometricInterpretation="PALETTE COLOR"), "missing_attribute")
    palette = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]  # type: ignore[assignment]
        palette[f"{colour}PaletteColorLookupTableData"] = b"\1\2" * 20  # type: ignore[assignment]
    yield _file("palette-too-short", _native(**palette), "missing_attribute")
    for colour in ("Red", "Green", "Blue"):
        del palette[f"{colour}PaletteColorLookupTableData"]
        palette[f"Segmented{colour}PaletteColorLookupTableData"] = struct.pack(  # type: ignore[assignment]
            "<6H", 2, 65535, 0, 0, 2, 65535
        )
    yield _file("palette-segments-repeat-themselves", _native(**palette), "missing_attribute")


def _broken_attributes() -> Iterator[HostileFile]:
    """Values that are no numbers, or absurd ones."""
    plain = _native()
    at = plain.index(struct.pack("<HH", 0x7FE0, 0x0010))
    slope = element(0x00281053, b"DS", b"oops")
    yield _file("slope-text", plain[:at] + slope + plain[at:], "missing_attribute")
    yield _file("slope-zero", _native(RescaleSlope=0, RescaleIntercept=-1024), OK)
    yield _file("spacing-absurd", _native(PixelSpacing=[1000, 0.001]), OK)
    yield _file("spacing-zero", _native(PixelSpacing=[0, 0]), OK)
    yield _file("all-padding", to_bytes(image(np.full((8, 8), 7, np.uint16), PixelPaddingValue=7)), OK)


def _no_pictures() -> Iterator[HostileFile]:
    yield _file("report", to_bytes(_report()), "no_pixel_data")
    yield _file("empty", b"", "empty_file")


def _report() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3.4"
    ds.PatientID, ds.Modality = "P001", "SR"
    return ds


def _not_dicom() -> Iterator[HostileFile]:
    contents = {
        "text": b"\x08\x00 is how this letter begins, but it is a letter all the same\n" * 20,
        "zeros": bytes(5000),
        "zip": b"PK\x03\x04" + bytes(200),
        "jpeg": bytes(imagecodecs.jpeg8_encode(np.zeros((16, 16), np.uint8))),
        "magic-and-garbage": bytes(128) + b"DICM" + b"\x99" * 400,
        "one-byte": b"\x08",
        "tag-only": b"\x08\x00\x05\x00CS",
    }
    for name, content in contents.items():
        yield _file(f"not-dicom-{name}", content, "not_dicom", "truncated_file")


def _no_decoder() -> Iterator[HostileFile]:
    jpeg = _codestreams()["baseline"][1]
    for name, syntax in {"mpeg2": "1.2.840.10008.1.2.4.100", "private": "1.3.6.1.4.1.5962.300.2"}.items():
        ds = encapsulated(image(np.zeros((64, 48), np.uint8)), [jpeg])
        yield _file(f"syntax-{name}", to_bytes(ds, syntax), "unsupported_transfer_syntax")
