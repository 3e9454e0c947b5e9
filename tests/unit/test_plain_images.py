"""PNG, JPEG, TIFF and BMP files through ``read_file``: what is seen, what is stripped, what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dicom_processor import read_file
from models import ReadReply, ReadRequest, RenderOptions, Sex, WindowSource
from tests.dicom_files import a_dicom_file
from tests.plain_pictures import (
    ORIENTATION,
    PHOTOMETRIC,
    SECRET,
    SUBFILE,
    a_bmp,
    a_cmyk_jpeg,
    a_deep_drawing,
    a_drawing,
    a_grey_drawing,
    a_jpeg,
    a_png,
    a_png_claiming,
    a_tiff,
    a_wide_gamut_profile,
    encoded,
    tiff_pages,
)

Read = Callable[..., ReadReply]
PNG = RenderOptions(output_format="png")
JPG = RenderOptions()


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes bytes to ``a.png`` and reads it as a plain image, rendering to PNG unless told otherwise."""
    (tmp_path / "out").mkdir()

    def run(content: bytes, options: RenderOptions | None = PNG, **request: Any) -> ReadReply:
        path = tmp_path / "a.png"
        path.write_bytes(content)
        values: dict[str, Any] = {"named_dicom": False, "plain_image": True} | request
        return read_file(ReadRequest(str(path), output_prefix=str(tmp_path / "out" / "a"), render=options, **values))

    return run


def pixels(reply: ReadReply, frame: int = 1) -> NDArray[np.uint8]:
    assert reply.failure is None, reply.failure
    return np.asarray(Image.open(reply.images[frame - 1].path))


def code(reply: ReadReply) -> str:
    return reply.failure.code if reply.failure else "ignored" if reply.ignored else "ok"


# --- what it says of itself ----------------------------------------------------------------------------------------


def test_it_knows_of_no_patient_and_is_told_apart_by_its_bytes(read: Read) -> None:
    reply = read(a_png(), None)
    assert reply.header is not None
    patient, image = reply.header.patient, reply.header.image
    assert (patient.patient_id, patient.name, patient.sex, patient.birth_date) == (None, None, Sex.UNKNOWN, None)
    assert (image.sop_instance_uid, image.transfer_syntax, image.modality, image.frames) == (None, None, None, 1)
    assert reply.content_sha256 == hashlib.sha256(a_png()).hexdigest()
    assert reply.images == ()


@pytest.mark.parametrize("content", [a_png(), a_jpeg(), a_tiff(), a_bmp()])
def test_without_the_setting_it_is_ignored(read: Read, content: bytes) -> None:
    assert code(read(content, plain_image=False)) == "ignored"


def test_content_decides_and_not_the_name(read: Read) -> None:
    assert pixels(read(a_bmp())).shape == (24, 32)
    dicom = read(a_dicom_file("P009"))
    assert dicom.header is not None
    assert dicom.header.patient.patient_id == "P009"


def test_dicom_with_a_tiff_in_its_preamble_is_dicom(read: Read) -> None:
    reply = read(b"II*\0" + a_dicom_file("P009")[4:])
    assert reply.header is not None
    assert reply.header.patient.patient_id == "P009"


@pytest.mark.parametrize("content", [b"no picture at all " * 20, b"GIF89a" + bytes(200), b"BM" + b"text " * 50])
def test_what_is_none_of_them_fails_under_its_own_code(read: Read, content: bytes) -> None:
    assert code(read(content)) == "not_an_image"


def test_empty_file_fails(read: Read) -> None:
    assert code(read(b"")) == "empty_file"


# --- what is seen --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        encoded(a_drawing(), "PNG"),
        encoded(a_drawing(), "BMP"),
        encoded(a_drawing(), "TIFF"),
        encoded(a_drawing(), "TIFF", compression="tiff_lzw"),
        encoded(np.dstack([a_drawing(), np.full((24, 32), 255, np.uint8)]), "PNG"),
    ],
)
def test_colours_are_those_of_the_file(read: Read, content: bytes) -> None:
    reply = read(content)
    assert np.array_equal(pixels(reply), a_drawing())
    assert reply.images[0].window is None


@pytest.mark.parametrize(
    "content",
    [
        a_png(),
        a_bmp(),
        a_tiff(),
        encoded(Image.fromarray(a_grey_drawing()).convert("P", palette=Image.Palette.WEB, dither=None), "PNG"),
        encoded(Image.merge("LA", [Image.fromarray(a_grey_drawing()), Image.new("L", (32, 24), 255)]), "PNG"),
    ],
    ids=["png", "bmp", "tiff", "grey palette", "opaque alpha"],
)
def test_grey_stays_grey_of_8_bits(read: Read, content: bytes) -> None:
    reply = read(content)
    assert Image.open(reply.images[0].path).mode == "L"
    assert pixels(reply).shape == (24, 32)


def test_one_bit_is_black_and_white(read: Read) -> None:
    bits = a_grey_drawing() > 100
    for content in (encoded(bits, "PNG"), encoded(Image.fromarray(bits), "TIFF", compression="group4")):
        assert np.array_equal(pixels(read(content)), bits * np.uint8(255))


def test_palette_becomes_its_colours(read: Read) -> None:
    picture = Image.fromarray(a_drawing()).quantize(16)
    assert np.array_equal(pixels(read(encoded(picture, "PNG"))), np.asarray(picture.convert("RGB")))


def test_what_is_transparent_lies_on_black(read: Read) -> None:
    alpha = np.zeros((24, 32), np.uint8)
    alpha[:, 16:] = 255
    seen = pixels(read(encoded(np.dstack([a_drawing(), alpha]), "PNG")))
    assert not seen[:, :16].any()
    assert np.array_equal(seen[:, 16:], a_drawing()[:, 16:])


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, lambda stored: np.swapaxes(stored, 0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(np.swapaxes(stored, 0, 1), 2)),
        (8, np.rot90),
    ],
)
def test_orientation_is_applied_to_the_pixels(
    read: Read, orientation: int, upright: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = upright(a_drawing())
    assert np.array_equal(pixels(read(encoded(a_drawing(), "PNG", exif=exif))), expected)
    assert np.array_equal(pixels(read(a_tiff(a_drawing(), tiffinfo={ORIENTATION: orientation}))), expected)
    stored = np.asarray(Image.open(read(a_jpeg(), JPG).images[0].path))
    assert np.array_equal(pixels(read(a_jpeg(orientation=orientation))), upright(stored))


def test_cmyk_as_print_shops_write_it_has_the_right_colours(read: Read) -> None:
    assert np.abs(pixels(read(a_cmyk_jpeg())).astype(int) - a_drawing()).max() < 12


def test_colour_profile_is_converted_to_srgb(read: Read) -> None:
    seen = pixels(read(encoded(a_drawing(), "PNG", icc_profile=a_wide_gamut_profile()))).astype(int)
    assert np.abs(seen - a_drawing()[..., [1, 0, 2]]).max() <= 40  # red and green change places
    assert (seen[2, 31, 1] > 150) & (seen[2, 31, 0] < 100)


def test_srgb_itself_changes_nothing(read: Read) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(read(encoded(a_drawing(), "PNG", icc_profile=profile))), a_drawing())


def test_unusable_profile_is_told_and_the_picture_taken_as_it_is(read: Read) -> None:
    reply = read(encoded(a_drawing(), "PNG", icc_profile=b"no profile"))
    assert np.array_equal(pixels(reply), a_drawing())
    assert [warning.code for warning in reply.warnings] == ["colour_profile_ignored"]


def test_grey_of_16_bits_goes_from_its_smallest_to_its_largest_value(read: Read) -> None:
    expected = np.floor((a_deep_drawing() - 1000.0) / 2000 * 255 + 0.5).astype(np.uint8)
    for content in (encoded(a_deep_drawing(), "PNG"), a_tiff(a_deep_drawing()), a_tiff(a_deep_drawing() / 7)):
        reply = read(content)
        assert np.abs(pixels(reply).astype(int) - expected).max() <= 1
        assert reply.images[0].window is not None
        assert reply.images[0].window.source is WindowSource.MINMAX


def test_the_requests_window_holds_for_16_bits_and_not_for_8(read: Read) -> None:
    window = RenderOptions(window_center=2000, window_width=100, output_format="png")
    reply = read(encoded(a_deep_drawing(), "PNG"), window)
    assert reply.images[0].window is not None
    assert reply.images[0].window.source is WindowSource.REQUEST
    assert set(np.unique(pixels(reply)[[0, -1]])) == {0, 255}
    assert np.array_equal(pixels(read(a_png(), window)), a_grey_drawing())


def test_tiff_that_says_white_is_zero_is_inverted(read: Read) -> None:
    for page in (a_deep_drawing(), a_grey_drawing()):
        plain = pixels(read(a_tiff(page)))
        inverted = pixels(read(a_tiff(page, tiffinfo={PHOTOMETRIC: 0})))
        seen_as_stored = page.dtype == np.uint8  # Pillow's writer inverts 8 bits as it saves them
        assert np.abs(inverted.astype(int) - (plain if seen_as_stored else 255 - plain)).max() <= 1


def test_signed_tiff_values_keep_their_order(read: Read) -> None:
    signed = a_deep_drawing().astype(np.int32) - 2000
    assert pixels(read(a_tiff(signed)))[0, 0] == 0
    assert pixels(read(a_tiff(signed)))[-1, -1] == 255


def test_pixels_that_are_clearly_not_square_are_corrected(read: Read) -> None:
    fax = encoded(a_grey_drawing(), "TIFF", dpi=(204, 98))
    assert (read(fax).images[0].width_px, read(fax).images[0].height_px) == (32, 50)
    turned = encoded(a_grey_drawing(), "TIFF", dpi=(204, 98), tiffinfo={ORIENTATION: 6})
    assert (read(turned).images[0].width_px, read(turned).images[0].height_px) == (50, 32)
    nearly = read(encoded(a_grey_drawing(), "TIFF", dpi=(72, 71))).images[0]
    assert (nearly.width_px, nearly.height_px) == (32, 24)
    kept = read(fax, RenderOptions(square_pixels=False)).images[0]
    assert (kept.width_px, kept.height_px) == (32, 24)


# --- frames --------------------------------------------------------------------------------------------------------


def test_pages_of_a_tiff_are_frames(read: Read) -> None:
    content = a_tiff(*(a_grey_drawing(shade=shade) for shade in (0, 1, 2)), a_deep_drawing())
    reply = read(content)
    assert reply.header is not None
    assert reply.header.image.frames == 4
    assert [image.frame_number for image in reply.images] == [1, 2, 3, 4]
    assert np.array_equal(pixels(reply, 2), a_grey_drawing(shade=1))
    only = read(content, frames=(3,))
    assert [image.frame_number for image in only.images] == [3]
    assert code(read(content, RenderOptions(max_frames=3))) == "too_many_frames"
    assert code(read(content, frames=(5,))) == "missing_attribute"


def test_each_page_has_its_own_orientation(read: Read) -> None:
    reply = read(tiff_pages((a_drawing(), {}), (a_drawing(), {ORIENTATION: 6}), (a_drawing(), {})))
    assert np.array_equal(pixels(reply, 1), a_drawing())
    assert np.array_equal(pixels(reply, 2), np.rot90(a_drawing(), -1))
    assert np.array_equal(pixels(reply, 3), a_drawing())


def test_previews_and_masks_in_a_tiff_are_no_frames(read: Read) -> None:
    small = a_grey_drawing(6, 8)
    reply = read(tiff_pages((a_grey_drawing(), {}), (small, {SUBFILE: 1}), (small, {SUBFILE: 4})))
    assert [(image.frame_number, image.width_px) for image in reply.images] == [(1, 32)]


def test_animated_png_is_refused_rather_than_cut_down(read: Read) -> None:
    frames = [Image.fromarray(a_grey_drawing(shade=shade)) for shade in (0, 90)]
    animated = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert code(read(animated)) == "unsupported_image"


def test_second_picture_inside_a_jpeg_is_left_out_with_a_warning(read: Read) -> None:
    frames = [Image.fromarray(a_drawing()), Image.fromarray(a_drawing(12, 16))]
    reply = read(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert [image.width_px for image in reply.images] == [32]
    assert [warning.code for warning in reply.warnings] == ["extra_pictures_ignored"]


# --- what is stripped ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [a_png(), a_jpeg(), a_tiff(tiffinfo={270: SECRET}), a_jpeg(orientation=6)])
@pytest.mark.parametrize("options", [JPG, PNG])
def test_nothing_but_pixels_leaves(read: Read, content: bytes, options: RenderOptions) -> None:
    assert SECRET.encode() in content
    written = Path(read(content, options).images[0].path)
    assert SECRET.encode() not in written.read_bytes()
    assert set(Image.open(written).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}, {"icc_profile": b"no profile"}],
    ids=["baseline", "progressive", "subsampled", "restart markers", "useless profile"],
)
def test_jpeg_is_taken_over_without_coding_it_anew(read: Read, options: dict[str, Any]) -> None:
    content = a_jpeg(**options) + b"bytes behind the end " + SECRET.encode()
    written = Path(read(content, JPG).images[0].path).read_bytes()
    assert len(written) < len(content)
    assert SECRET.encode() not in written
    assert np.array_equal(imagecodecs.jpeg8_decode(written), imagecodecs.jpeg8_decode(content))


def test_grey_and_rgb_jpegs_keep_their_meaning(read: Read) -> None:
    for content in (encoded(a_grey_drawing(), "JPEG"), encoded(a_drawing(), "JPEG", keep_rgb=True, quality=95)):
        seen = np.asarray(Image.open(read(content, JPG).images[0].path))
        assert np.array_equal(seen, imagecodecs.jpeg8_decode(content))


def test_thumbnail_within_a_jfif_header_goes(read: Read) -> None:
    plain = encoded(a_drawing(), "JPEG")
    length = int.from_bytes(plain[4:6], "big")
    thumbnail = SECRET.encode().ljust(27, b"\0")
    header = plain[6 : 4 + length - 2] + bytes((3, 3)) + thumbnail
    content = plain[:4] + (2 + len(header)).to_bytes(2, "big") + header + plain[4 + length :]
    written = Path(read(content, JPG).images[0].path).read_bytes()
    assert SECRET.encode() not in written
    assert np.array_equal(imagecodecs.jpeg8_decode(written), imagecodecs.jpeg8_decode(plain))


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        a_png(),
        a_jpeg(),
        a_jpeg(progressive=True),
        a_bmp(),
        a_tiff(),
        encoded(a_grey_drawing(), "TIFF", compression="tiff_lzw"),
        encoded(Image.fromarray(a_grey_drawing(300, 300) > 100), "TIFF", compression="group4"),
    ],
    ids=["png", "jpeg", "progressive", "bmp", "tiff", "lzw", "group4"],
)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_cut_off_file_is_never_painted_black(read: Read, tmp_path: Path, content: bytes, share: float) -> None:
    assert code(read(content[: int(len(content) * share)])) == "truncated_pixel_data"
    assert list((tmp_path / "out").iterdir()) == []


def test_jpeg_whose_scan_ends_early_is_refused_although_it_has_an_end(read: Read) -> None:
    content = encoded(a_drawing(200, 200), "JPEG")
    assert code(read(content[: len(content) // 2] + b"\xff\xd9")) == "pixel_decode_failed"


def a_noisy_jpeg(**options: Any) -> bytes:
    """A JPEG whose scan holds some tens of kB."""
    noise = np.random.default_rng(1).integers(0, 90, (200, 200, 3), dtype=np.uint8)
    return encoded(noise + a_drawing(200, 200) // 2, "JPEG", quality=75, subsampling=0, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize(
    "overwritten", [bytes(512), b"\xff\xd9" * 32, b"\xff\xd3" * 32], ids=["zeros", "ends", "restarts"]
)
def test_jpeg_with_overwritten_bytes_is_refused(read: Read, options: dict[str, Any], overwritten: bytes) -> None:
    content = bytearray(a_noisy_jpeg(**options))
    middle = len(content) // 2
    content[middle : middle + len(overwritten)] = overwritten
    assert code(read(bytes(content))) == "pixel_decode_failed"


@pytest.mark.parametrize(
    "content",
    [
        a_noisy_jpeg(),
        a_noisy_jpeg(progressive=True),
        a_noisy_jpeg(restart_marker_rows=1),
        a_noisy_jpeg(optimize=True),
        a_noisy_jpeg()[:-2] + b"\xff\xff\xff\xd9",
        a_noisy_jpeg()[:-2] + b"\x12\x34" * 8 + b"\xff\xd9",
        a_noisy_jpeg() + b"what a camera appends",
        encoded(a_grey_drawing(), "JPEG"),
    ],
    ids=["baseline", "progressive", "restarts", "optimized", "fill bytes", "surplus", "appended", "grey"],
)
def test_sound_jpeg_of_any_writer_stays(read: Read, content: bytes) -> None:
    assert code(read(content)) == "ok"


def test_size_that_a_header_promises_is_not_allocated(read: Read) -> None:
    assert code(read(a_png_claiming(60_000, 60_000), RenderOptions(max_pixels_bytes=10**8))) == "file_too_large"
    assert code(read(a_png_claiming(2000, 2000))) == "pixel_decode_failed"
    assert code(read(a_png(), RenderOptions(max_pixels_bytes=500))) == "file_too_large"
    assert code(read(a_png(), max_file_bytes=100)) == "file_too_large"


@pytest.mark.parametrize(
    "content",
    [
        bytes(imagecodecs.jpeg8_encode(a_grey_drawing(), lossless=True)),
        bytes(imagecodecs.jpeg8_encode(a_deep_drawing(0, 4000), bitspersample=12)),
        encoded(Image.fromarray(a_drawing()).convert("LAB"), "TIFF"),
    ],
    ids=["lossless jpeg", "12-bit jpeg", "lab"],
)
def test_variants_that_cannot_be_shown_rightly_are_refused(read: Read, content: bytes) -> None:
    assert code(read(content)) in ("unsupported_image", "pixel_decode_failed")


def test_damaged_file_is_refused(read: Read) -> None:
    content = bytearray(encoded(a_grey_drawing(200, 200), "PNG"))
    content[len(content) // 2] ^= 0xFF
    assert code(read(bytes(content))) == "pixel_decode_failed"


@pytest.mark.parametrize("offset", [10**6, 2**63 + 5, 2**64 - 1])
def test_directory_at_an_offset_beyond_all_measure_is_the_files_fault(read: Read, offset: int) -> None:
    assert code(read(b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little") + bytes(200))) == "truncated_pixel_data"


def test_broken_exif_does_not_keep_a_picture_out(read: Read) -> None:
    plain = encoded(a_drawing(), "JPEG")
    broken = plain[:2] + b"\xff\xe1\x00\x0eExif\0\0II*\0\xff\xff" + plain[2:]
    assert code(read(broken)) == "ok"


# --- smaller -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "expected"), [(16, (16, 12)), (32, (32, 24)), (500, (32, 24)), (1, (1, 1))])
def test_thumbnails_are_scaled_down_and_never_up(read: Read, size: int, expected: tuple[int, int]) -> None:
    image = read(a_jpeg(), RenderOptions(max_side_px=size)).images[0]
    assert (image.width_px, image.height_px) == expected
    assert Image.open(image.path).size == expected


def test_thumbnail_of_dicom_shows_the_same_and_has_its_own_scale(read: Read) -> None:
    content = a_dicom_file(size=200, PixelSpacing=[0.5, 0.5])
    full, small = read(content), read(content, RenderOptions(output_format="png", max_side_px=100))
    other = np.asarray(Image.open(small.images[0].path)).astype(int)
    assert other.shape == (100, 100)
    assert Image.open(small.images[0].path).info["dpi"][0] == pytest.approx(25.4, rel=0.01)
    assert full.header == small.header
