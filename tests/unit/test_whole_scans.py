"""Each way to know that a JPEG's scan was whole: what passes is right to the last pixel, what was cut does not pass."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames

from dicom.decoding.codestreams import jpeg_segments, read_jpeg
from dicom.decoding.jpeg_scan_check import decode_strict, require_whole_lossless_scans
from dicom.decoding.lossless_scans import scan_bits_match
from dicom.decoding.pixel_decoders import decode
from dicom.pixel_maths.stored_values import Cells
from errors import PixelDecodeError
from tests.unit import image_files as files
from tests.unit.test_dicom_processor_pictures import pydicom_images
from tests.unit.test_pixel_decoders import attributes

RNG = np.random.default_rng(29)


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Whichever tests ran before."""
    RNG.bit_generator.state = np.random.default_rng(29).bit_generator.state


EOI = b"\xff\xd9"


def screen(rows: int = 96, columns: int = 120, *, gray: bool = False) -> NDArray[np.uint8]:
    """Noise in the middle of black, as an ultrasound screen is."""
    pixels = np.zeros((rows, columns, 3), np.uint8)
    middle = pixels[rows // 4 : rows // 2, columns // 4 : columns // 2]
    middle[:] = RNG.integers(0, 256, middle.shape)
    return pixels[..., 0].copy() if gray else pixels


def by_pillow(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


DCT = {
    "4:4:4": by_pillow(screen(), subsampling=0),
    "4:2:2": by_pillow(screen(), subsampling=1),
    "4:2:0": by_pillow(screen(), subsampling=2),
    "4:1:1": bytes(imagecodecs.jpeg8_encode(screen(), subsampling="411")),
    "gray": by_pillow(screen(gray=True)),
    "rgb": by_pillow(screen(), keep_rgb=True),
    "progressive": by_pillow(screen(), progressive=True),
    "optimised": by_pillow(screen(), optimize=True),
    "restarts": by_pillow(screen(), restart_marker_blocks=3),
    "odd size": by_pillow(screen(61, 83), subsampling=2),
}


def colour_of(data: bytes) -> str:
    info = read_jpeg(data)
    return "Gray" if info.samples == 1 else "RGB" if info.adobe_transform == 0 else "YCbCr"


def unwarned(data: bytes) -> Cells | None:
    return decode_strict(data, read_jpeg(data), colour_of(data))


def by_imagecodecs(data: bytes) -> Cells:
    colour = colour_of(data)
    inside, outside = ("GRAYSCALE", "GRAYSCALE") if colour == "Gray" else (colour.upper(), "RGB")
    cells: Cells = imagecodecs.jpeg8_decode(data, colorspace=inside, outcolorspace=outside)
    return cells


def cuts(data: bytes) -> list[bytes]:
    """The stream cut within its last scan, near its end at every byte, EOI put behind."""
    scan = data.rindex(b"\xff\xda")
    start, end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big"), len(data) - 2
    places = {*range(max(start, end - 24), end), *(start + (end - start) * part // 7 for part in range(7))}
    return [data[:place] + EOI for place in sorted(places)]


# --- decoders that stop at warnings --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DCT.values(), ids=DCT)
def test_an_unwarned_decode_is_what_the_other_decoder_makes(data: bytes) -> None:
    cells = unwarned(data)
    assert cells is not None
    assert np.array_equal(cells, by_imagecodecs(data))


@pytest.mark.parametrize("data", DCT.values(), ids=DCT)
def test_each_cut_scan_is_warned_of(data: bytes) -> None:
    for cut in cuts(data):
        with pytest.raises(PixelDecodeError):
            unwarned(cut)


def test_pydicoms_pictures_decode_alike() -> None:
    compared = 0
    for path in pydicom_images():
        ds = pydicom.dcmread(path, force=True)
        if getattr(ds.file_meta, "TransferSyntaxUID", "") not in (files.JPEG_BASELINE, files.JPEG_EXTENDED):
            continue
        for data in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))):
            cells = unwarned(data)
            compared += cells is not None
            assert cells is None or np.array_equal(cells, by_imagecodecs(data))
    assert compared >= 3


def test_colours_that_libjpeg_takes_otherwise_are_left_to_the_other_decoder() -> None:
    assert decode_strict(DCT["4:4:4"], read_jpeg(DCT["4:4:4"]), "RGB") is None


def test_twelve_bits_are_left_to_the_other_decoder() -> None:
    data = bytes(imagecodecs.jpeg8_encode(np.full((16, 16), 1100, np.uint16), bitspersample=12))
    assert decode_strict(data, read_jpeg(data), "Gray") is None


@pytest.mark.parametrize("junk", [b"\0" * 64, b"\x55" * 40])
def test_bytes_between_scan_and_end_marker_refuse_the_picture(junk: bytes) -> None:
    """They are what a scan leaves over that was damaged further up."""
    with pytest.raises(PixelDecodeError):
        unwarned(by_pillow(screen(gray=True))[:-2] + junk + EOI)


def overwritten(data: bytes, length: int, share: float, fill: int | None = None) -> bytes:
    """``length`` bytes of the scan changed, at ``share`` of its length."""
    scan = data.rindex(b"\xff\xda")
    at = scan + 16 + int((len(data) - scan - 32 - length) * share)
    junk = RNG.integers(0, 255, length).astype(np.uint8).tobytes() if fill is None else bytes([fill]) * length
    return data[:at] + junk + data[at + length :]


def textured(bits: int = 8) -> NDArray[Any]:
    """(240, 320) smooth hills under noise, as a film is."""
    rows, columns = np.mgrid[0:240, 0:320]
    hills = 0.5 + 0.2 * np.sin(columns / 70) + 0.2 * np.cos(rows / 50) + RNG.normal(0, 0.02, rows.shape)
    cells: NDArray[Any] = (np.clip(hills, 0, 1) * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return cells


SEQUENTIAL: dict[str, dict[str, Any]] = {
    "gray": {},
    "4:2:0": {"subsampling": 2},
    "restarts": {"restart_marker_blocks": 8},
}


def refused(kind: str, length: int, share: float, fill: int | None) -> bool:
    """Whether an 8-bit DCT picture with ``length`` bytes overwritten is refused."""
    gray = textured()
    pixels = np.dstack([gray, gray[::-1], gray[:, ::-1]]) if kind == "4:2:0" else gray
    data = by_pillow(pixels, **SEQUENTIAL[kind])
    image = attributes(pixels, 8, photometric="YBR_FULL_422" if kind == "4:2:0" else "MONOCHROME2")
    decode(files.JPEG_BASELINE, data, image)
    try:
        decode(files.JPEG_BASELINE, overwritten(data, length, share, fill), image)
    except PixelDecodeError as error:
        return error.code == "pixel_decode_failed"
    return False


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_512_zeros_in_a_dct_scan_refuse_the_picture(kind: str, share: float) -> None:
    assert refused(kind, 512, share, 0)


@pytest.mark.parametrize("kind", ["gray", "restarts"])
def test_nearly_every_64_bytes_of_noise_in_a_dct_scan_refuse_the_picture(kind: str) -> None:
    """What is left finds its way back with not one block too few or too many."""
    assert sum(refused(kind, 64, share / 20, None) for share in range(2, 18)) >= 13


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_damage_shows_although_no_marker_names_the_colours(photometric: str) -> None:
    """The data set does, which libjpeg cannot read."""
    pixels = np.dstack([textured()] * 3)
    marked = bytes(imagecodecs.jpeg8_encode(pixels, level=90, colorspace="RGB", outcolorspace="RGB"))
    adobe = marked.index(b"\xff\xee")
    whole = bytearray(marked[:adobe] + marked[adobe + 16 :])
    sof, sos = whole.index(b"\xff\xc0"), whole.index(b"\xff\xda")
    for number in range(3):
        whole[sof + 10 + 3 * number] = whole[sos + 5 + 2 * number] = number + 1
    decode(files.JPEG_BASELINE, bytes(whole), attributes(pixels, 8, photometric=photometric))
    with pytest.raises(PixelDecodeError):
        damaged = overwritten(bytes(whole), 512, 0.5, fill=0)
        decode(files.JPEG_BASELINE, damaged, attributes(pixels, 8, photometric=photometric))


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe2\x00\x14ICC_PROFILE\x00\x05\x02abcd",  # number 5 of 2
        b"\xff\xe0\x00\x10JFIF\x00\x07\x01\x00\x00\x01\x00\x01\x00\x00",  # version 7
    ],
)
def test_what_is_odd_in_a_segment_that_is_no_picture_is_no_damage(segment: bytes) -> None:
    data = by_pillow(textured())
    cells = unwarned(data[:2] + segment + data[20:])  # in JFIF's place
    assert cells is not None
    assert np.array_equal(cells, by_imagecodecs(data))


@pytest.mark.parametrize("name", ["4:2:2", "gray", "progressive"])
def test_a_screen_cut_in_its_black_border_is_refused(name: str) -> None:
    data = DCT[name]
    pixels = screen(gray=name == "gray")
    photometric = "MONOCHROME2" if name == "gray" else "YBR_FULL_422"
    decode(files.JPEG_BASELINE, data, attributes(pixels, 8, photometric=photometric))
    with pytest.raises(PixelDecodeError):
        decode(files.JPEG_BASELINE, data[:-12] + EOI, attributes(pixels, 8, photometric=photometric))


# --- the bits of JPEG Lossless -------------------------------------------------------------------------------------


def film(bits: int) -> NDArray[Any]:
    """Noise of every magnitude with a black corner."""
    spread = RNG.integers(0, 1 << bits, (60, 77)) >> RNG.integers(0, bits, (60, 77))
    spread[-20:, -30:] = 0
    return spread.astype(np.uint8 if bits <= 8 else np.uint16)


def lossless(pixels: NDArray[Any], bits: int, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=predictor))


def decoded(data: bytes) -> Cells:
    cells: Cells = imagecodecs.jpeg8_decode(data, colorspace="UNKNOWN", outcolorspace="UNKNOWN")
    return cells


def never(_: bytes) -> Cells:
    raise AssertionError("decoded a second time")


@pytest.mark.parametrize("bits", [2, 8, 10, 12, 16])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_a_whole_lossless_film_takes_its_whole_scan(bits: int, predictor: int) -> None:
    data = lossless(film(bits), bits, predictor)
    assert scan_bits_match(data, decoded(data))
    require_whole_lossless_scans(data, decoded(data), never)


@pytest.mark.parametrize("predictor", [1, 2, 5, 7])
def test_a_whole_lossless_colour_picture_takes_its_whole_scan(predictor: int) -> None:
    pixels = screen()
    data = lossless_rgb(pixels, predictor)
    assert scan_bits_match(data, decoded(data))
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 8)).cells, pixels)


def lossless_rgb(pixels: NDArray[np.uint8], predictor: int = 1) -> bytes:
    options: dict[str, Any] = {"colorspace": "UNKNOWN", "outcolorspace": "UNKNOWN"}
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, **options))


def test_the_largest_difference_has_no_bits_of_its_own() -> None:
    pixels = np.zeros((4, 9), np.uint16)
    pixels[1, ::2] = 0x8000
    data = lossless(pixels, 16)
    assert scan_bits_match(data, decoded(data))


@pytest.mark.parametrize("bits", [8, 14])
@pytest.mark.parametrize("predictor", [1, 6])
def test_a_cut_lossless_film_never_takes_its_whole_scan(bits: int, predictor: int) -> None:
    for cut in cuts(lossless(film(bits), bits, predictor)):
        assert scan_bits_match(cut, decoded(cut)) is False


def test_a_cut_lossless_film_is_refused_although_its_corner_is_black() -> None:
    pixels = film(12)
    data = lossless(pixels, 12)
    with pytest.raises(PixelDecodeError):
        decode(files.JPEG_LOSSLESS, data[:-20] + EOI, attributes(pixels, 12))


@pytest.mark.parametrize("fill", [b"\xff", b"\xff\xff\xff"])
def test_fill_bytes_before_the_end_marker_of_a_lossless_film_are_sound(fill: bytes) -> None:
    """T.81 B.1.1.2."""
    pixels = film(12)
    data = lossless(pixels, 12)[:-2] + fill + EOI
    assert scan_bits_match(data, pixels)
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 12)).cells, pixels)


@pytest.mark.parametrize("zeros", [1, 2, 7])
def test_a_few_zeros_behind_a_lossless_scan_are_sound(zeros: int) -> None:
    pixels = film(12)
    data = lossless(pixels, 12)[:-2] + bytes(zeros) + EOI
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(pixels, 12)).cells, pixels)


@pytest.mark.parametrize("junk", [b"\x01", b"\0" * 64, b"\x55" * 40])
def test_bits_left_over_refuse_a_lossless_film(junk: bytes) -> None:
    pixels = film(12)
    data = lossless(pixels, 12)[:-2] + junk + EOI
    with pytest.raises(PixelDecodeError):
        decode(files.JPEG_LOSSLESS, data, attributes(pixels, 12))


@pytest.mark.parametrize(("length", "fill"), [(64, 0), (64, 0x55), (512, 0), (512, 0xAA)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("bits", "predictor"), [(8, 1), (12, 1), (12, 7)])
def test_bytes_overwritten_in_a_lossless_scan_refuse_the_film(
    bits: int, predictor: int, share: float, length: int, fill: int
) -> None:
    pixels = textured(bits)
    data = overwritten(lossless(pixels, bits, predictor), length, share, fill)
    with pytest.raises(PixelDecodeError) as refusal:
        decode(files.JPEG_LOSSLESS, data, attributes(pixels, bits))
    assert refusal.value.code == "pixel_decode_failed"


def test_a_lossless_colour_picture_with_bytes_overwritten_is_refused() -> None:
    pixels = np.dstack([textured(), textured(), textured()])
    with pytest.raises(PixelDecodeError):
        decode(files.JPEG_LOSSLESS, overwritten(lossless_rgb(pixels), 64, 0.5, 0), attributes(pixels, 8))


def test_a_marker_in_the_middle_of_a_lossless_scan_is_damage() -> None:
    pixels = film(12)
    data = lossless(pixels, 12)
    start = [behind for _, _, behind in jpeg_segments(data)][-1]
    half = (start + len(data)) // 2
    for marker in (b"\xff\xd0", b"\xff\xc4\x00\x02", b"\xff\x8c"):
        assert scan_bits_match(data[:half] + marker + data[half:], pixels) is False


# --- scans written by hand, code by code ---------------------------------------------------------------------------

CODES = {0: "00", 1: "010", 2: "011", 3: "100", 4: "101", 5: "110", 6: "1110", 7: "11110", 8: "111110", 9: "1111110"}
COUNTS = bytes([0, 1, 5, 1, 1, 1, 1, *[0] * 9])  # of codes with 1, 2, 3 ... bits; the all-ones code stays unused


def coded(differences: list[int]) -> str:
    """Bits of the differences (T.81 H.1.2.2): the category's code, then as many bits as the category."""
    bits = ""
    for difference in differences:
        size = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << size) - 1
        bits += CODES[size] + (f"{value:0{size}b}" if size else "")
    return bits


def packed(bits: str, fill: str = "1") -> bytes:
    """Whole bytes, filled up, FF stuffed."""
    bits += fill * (-len(bits) % 8)
    whole = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return whole.replace(b"\xff", b"\xff\x00")


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def by_hand(scans: list[tuple[bytes, bytes]], size: tuple[int, int], components: int = 1, restart: int = 0) -> bytes:
    """A lossless JPEG of 8 bits; each scan is its header behind the component count and its coded bytes."""
    frame = b"\x08" + size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big") + bytes([components])
    frame += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    table = segment(0xC4, b"\x00" + COUNTS + bytes(CODES))
    interval = segment(0xDD, restart.to_bytes(2, "big")) if restart else b""
    parts = b"".join(segment(0xDA, bytes([len(head) // 2 - 1]) + head) + data for head, data in scans)
    return b"\xff\xd8" + segment(0xC3, frame) + table + interval + parts + EOI


# [[128, 130], [131, 131], [128, 126]] from the left: 128 - 128, +2, from above: 131 - 128, 0, 128 - 131, -2
ROWS = np.array([[128, 130], [131, 131], [128, 126]], np.uint8)
LEFT = b"\x01\x00\x01\x00\x00"  # component 1, table 0, predictor 1, no point transform


@pytest.mark.parametrize("fill", ["1", "0"])
def test_a_scan_filled_up_with_ones_or_zeros_is_whole(fill: str) -> None:
    data = by_hand([(LEFT, packed(coded([0, 2, 3, 0, -3, -2]), fill))], (3, 2))
    assert np.array_equal(decoded(data), ROWS)
    assert scan_bits_match(data, ROWS)


def test_restarts_begin_a_row_anew() -> None:
    """Restart after every row: each first sample is predicted as 128 (T.81 H.1.2.1), and each row is filled up."""
    rows = [coded([0, 2]), coded([3, 0]), coded([0, -2])]
    scan = b"\xff\xd0".join([packed(rows[0]), packed(rows[1]) + b"\xff\xd1" + packed(rows[2])])
    data = by_hand([(LEFT, scan)], (3, 2), restart=2)
    assert np.array_equal(decoded(data), ROWS)
    assert scan_bits_match(data, ROWS)
    assert np.array_equal(decode(files.JPEG_LOSSLESS, data, attributes(ROWS, 8)).cells, ROWS)
    changed = data.replace(packed(rows[1]), packed(coded([9, 99])))
    assert scan_bits_match(changed, ROWS) is False
    assert scan_bits_match(data.replace(b"\xff\xd1", b""), ROWS) is False


def test_each_component_may_have_a_scan_of_its_own() -> None:
    scans = [(bytes([number, 0, 1, 0, 0]), packed(coded([0, 2, 3, 0, -3, -2]))) for number in (1, 2, 3)]
    data = by_hand(scans, (3, 2), components=3)
    pixels = np.dstack([ROWS] * 3)
    assert scan_bits_match(data, pixels)
    missing = by_hand(scans[:2], (3, 2), components=3)
    assert scan_bits_match(missing, pixels) is False


def test_a_point_transform_drops_bits_that_take_none() -> None:
    """Halved: [[64, 65], [65, 65], [64, 63]], the first one predicted as 2 ** (8 - 1 - 1) = 64."""
    data = by_hand([(b"\x01\x00\x01\x00\x01", packed(coded([0, 1, 1, 0, -1, -1])))], (3, 2))
    pixels = ROWS & 0xFE
    assert np.array_equal(decoded(data), pixels)
    assert scan_bits_match(data, pixels)


def test_pydicoms_lossless_pictures_take_their_whole_scans() -> None:
    compared = 0
    for path in pydicom_images():
        ds = pydicom.dcmread(path, force=True)
        if getattr(ds.file_meta, "TransferSyntaxUID", "") == files.JPEG_LOSSLESS:
            for data in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))):
                assert scan_bits_match(data, decoded(data))
                compared += 1
    assert compared >= 1
