"""One file through ``read_file``: recognised, read, refused, left alone, written whole."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import fields
from io import FileIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dicom_processor import check_decoders, read_file
from errors import DiskFullError
from models import ImageHeader, ReadReply, ReadRequest, RenderOptions, WindowSource
from tests.unit import image_files as files
from tests.unit.image_files import gradient, image, to_bytes

Read = Callable[..., ReadReply]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes bytes to a file and reads it, rendering unless told otherwise."""
    (tmp_path / "out").mkdir()

    def run(content: bytes, options: RenderOptions | None = RenderOptions(), **request: Any) -> ReadReply:  # noqa: B008
        path = tmp_path / "a.dcm"
        path.write_bytes(content)
        values: dict[str, Any] = {"named_dicom": True, "output_prefix": str(tmp_path / "out" / "a")} | request
        return read_file(ReadRequest(str(path), render=options, **values))

    return run


def outputs(tmp_path: Path) -> list[str]:
    return sorted(entry.name for entry in (tmp_path / "out").iterdir())


def code(reply: ReadReply) -> str:
    return reply.failure.code if reply.failure else "ignored" if reply.ignored else "ok"


def meta_end(content: bytes) -> int:
    """Offset of the data set, behind preamble, magic and the meta information's group length."""
    return int(132 + 12 + struct.unpack_from("<L", content, 140)[0])


# --- header --------------------------------------------------------------------------------------------------------


def test_header_is_read_without_a_picture(read: Read, tmp_path: Path) -> None:
    reply = read(to_bytes(image(gradient(), Modality="CT", NumberOfFrames=1)), None)
    assert reply.header is not None
    assert reply.failure is None
    assert (reply.header.patient.patient_id, reply.header.image.modality, reply.header.image.frames) == (
        "P001",
        "CT",
        1,
    )
    assert reply.header.image.transfer_syntax == files.EXPLICIT
    assert reply.images == ()
    assert outputs(tmp_path) == []
    assert "parse" in reply.stage_seconds


def test_every_field_of_the_header_is_read(read: Read) -> None:
    elements: dict[str, Any] = {"Modality": "DX", "ViewPosition": "LL", "NumberOfFrames": 1}
    header = read(to_bytes(image(gradient(), **elements)), None).header
    assert header is not None
    empty = [field.name for field in fields(ImageHeader) if getattr(header.image, field.name) is None]
    assert not empty, "fill these in dicom_processor.py, and put their elements into the file of this test"


def test_file_without_instance_uid_is_told_apart_by_its_bytes(read: Read) -> None:
    content = to_bytes(image(gradient(), SOPInstanceUID=None))
    reply = read(content, None)
    assert reply.content_sha256 == hashlib.sha256(content).hexdigest()
    assert read(to_bytes(image(gradient())), None).content_sha256 is None


@pytest.mark.parametrize("syntax", [files.IMPLICIT, files.EXPLICIT, files.BIG_ENDIAN])
@pytest.mark.parametrize("with_meta", [True, False])
def test_dicom_without_preamble_is_recognised(read: Read, syntax: str, with_meta: bool) -> None:
    pixels = gradient().astype(">u2") if syntax == files.BIG_ENDIAN else gradient()
    content = to_bytes(image(pixels), syntax)
    reply = read(content[132 if with_meta else meta_end(content) :], named_dicom=False)
    assert code(reply) == "ok"
    assert reply.header is not None
    assert reply.header.patient.patient_id == "P001"
    expected = read(to_bytes(image(gradient())))
    assert Path(reply.images[0].path).read_bytes() == Path(expected.images[0].path).read_bytes()


def test_implicit_data_set_under_an_explicit_label_is_read(read: Read) -> None:
    explicit, implicit = to_bytes(image(gradient())), to_bytes(image(gradient()), files.IMPLICIT)
    meta, body = explicit[: meta_end(explicit)], implicit[meta_end(implicit) :]
    assert code(read(meta + body)) == "ok"


@pytest.mark.parametrize(
    "content", [b"just text, long enough to be looked at twice\n" * 9, b"PK\3\4" + bytes(500), bytes(900)]
)
def test_other_content_is_ignored_unless_named_dicom(read: Read, content: bytes) -> None:
    assert code(read(content, named_dicom=False)) == "ignored"
    assert code(read(content, named_dicom=True)) == "not_dicom"


def test_media_directory_is_ignored_whatever_its_name(read: Read) -> None:
    assert code(read(to_bytes(image(gradient(), SOPClassUID="1.2.840.10008.1.3.10")))) == "ignored"


@pytest.mark.parametrize("options", [RenderOptions(), None])
@pytest.mark.parametrize(
    ("intent", "skip", "reason"),
    [
        ("FOR PROCESSING", True, "for_processing"),
        ("FOR PROCESSING", False, None),
        ("FOR PRESENTATION", True, None),
        (None, True, None),
    ],
)
def test_raw_detector_data_are_ignored_only_where_that_is_wanted(
    read: Read, tmp_path: Path, options: RenderOptions | None, intent: str | None, skip: bool, reason: str | None
) -> None:
    elements = {} if intent is None else {"PresentationIntentType": intent}
    reply = read(to_bytes(image(gradient(), Modality="DX", **elements)), options, skip_for_processing=skip)
    assert (reply.ignored, reply.failure) == (reason, None)
    assert bool(outputs(tmp_path)) is (reason is None and options is not None)


def test_empty_file_is_a_failure_only_where_named_dicom(read: Read) -> None:
    assert code(read(b"", named_dicom=True)) == "empty_file"
    assert code(read(b"", named_dicom=False)) == "ignored"


def test_too_large_file_is_refused_unread(read: Read) -> None:
    assert code(read(to_bytes(image(gradient())), max_file_bytes=100)) == "file_too_large"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    reply = read_file(ReadRequest(str(tmp_path / "pipe.dcm"), True, str(tmp_path / "a")))
    assert code(reply) == "unreadable_file"


def test_vanished_file_is_unstable_and_a_folder_unreadable(tmp_path: Path) -> None:
    assert code(read_file(ReadRequest(str(tmp_path / "gone.dcm"), True, str(tmp_path / "a")))) == "unstable_file"
    assert code(read_file(ReadRequest(str(tmp_path), True, str(tmp_path / "a")))) == "unreadable_file"


def test_file_that_grows_while_it_is_read_is_unstable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(to_bytes(image(gradient())))
    real = os.stat
    looks = iter(range(100))

    def stat(target: Any, **options: Any) -> os.stat_result:
        if target == str(path) and next(looks) == 1:
            path.write_bytes(path.read_bytes() + b"\0\0")
        return real(target, **options)

    monkeypatch.setattr("dicom_processor.os.stat", stat)
    reply = read_file(ReadRequest(str(path), True, str(tmp_path / "a"), RenderOptions()))
    assert code(reply) == "unstable_file"
    assert reply.images == ()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.dcm"]


# --- pictures ------------------------------------------------------------------------------------------------------


def test_every_frame_becomes_a_picture_of_its_own(read: Read, tmp_path: Path) -> None:
    frames = np.stack([gradient(8, 8) // (n + 1) for n in range(3)])
    reply = read(to_bytes(image(frames)))
    assert [os.path.basename(picture.path) for picture in reply.images] == ["a-0001.jpg", "a-0002.jpg", "a-0003.jpg"]
    assert [picture.frame_number for picture in reply.images] == [1, 2, 3]
    assert outputs(tmp_path) == ["a-0001.jpg", "a-0002.jpg", "a-0003.jpg"]


def test_no_image_stays_where_a_later_frame_of_a_deflated_file_is_damaged(read: Read, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 1 << 16, (40, 200, 300)).astype(np.uint16)
    content = bytearray(to_bytes(image(pixels), files.DEFLATED))
    content[-500_000:-400_000] = b"\xff" * 100_000
    reply = read(bytes(content))
    assert (code(reply), reply.images, outputs(tmp_path)) == ("not_dicom", (), [])


def test_only_the_asked_for_frames_are_rendered(read: Read, tmp_path: Path) -> None:
    frames = np.stack([np.full((8, 8), value, np.uint8) for value in (10, 20, 30)])
    reply = read(to_bytes(image(frames)), frames=(3,))
    assert outputs(tmp_path) == ["a-0003.jpg"]
    assert np.asarray(Image.open(reply.images[0].path)).mean() == pytest.approx(30, abs=1)


def test_more_frames_than_allowed_are_refused(read: Read, tmp_path: Path) -> None:
    reply = read(to_bytes(image(np.zeros((4, 2, 2), np.uint8))), RenderOptions(max_frames=3))
    assert code(reply) == "too_many_frames"
    assert reply.header is not None
    assert reply.header.image.frames == 4
    assert outputs(tmp_path) == []


def test_no_picture_stays_where_a_later_frame_fails(read: Read, tmp_path: Path) -> None:
    good = bytes(imagecodecs.jpegls_encode(gradient(8, 8)))
    ds = image(np.stack([gradient(8, 8)] * 2), NumberOfFrames=2)
    reply = read(to_bytes(files.encapsulated(ds, [good, good[:40]]), files.JPEG_LS))
    assert code(reply) == "truncated_pixel_data"
    assert reply.header is not None
    assert reply.images == ()
    assert outputs(tmp_path) == []


def test_full_disk_is_nobodys_file(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        def write(self, data: Any, /) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(memoryview(data)[:100])

    monkeypatch.setattr(
        "dicom.rendering.image_files.open", lambda path, mode, buffering: Full(path, mode), raising=False
    )
    with pytest.raises(DiskFullError):
        read(to_bytes(image(gradient())))
    assert outputs(tmp_path) == []


@pytest.mark.parametrize(("header_id", "rendered"), [("P001", True), ("p001", True), ("", True), ("P002", False)])
def test_picture_of_another_patient_is_not_rendered(read: Read, header_id: str, rendered: bool) -> None:
    reply = read(to_bytes(image(gradient(), PatientID=header_id)), only_if_patient_id="P001")
    assert reply.header is not None
    assert bool(reply.images) is rendered


def test_picture_carries_scale_and_nothing_of_the_patient(read: Read) -> None:
    reply = read(to_bytes(image(gradient(), PixelSpacing=[0.143, 0.143], PatientName="Secret^Name")))
    data = Path(reply.images[0].path).read_bytes()
    assert data[:4] == b"\xff\xd8\xff\xe0"
    unit, x_density, y_density = struct.unpack_from(">BHH", data, 13)
    assert x_density == y_density
    assert x_density / {1: 25.4, 2: 10.0}[unit] == pytest.approx(1 / 0.143, rel=0.005)
    assert b"Secret" not in data
    assert b"Exif" not in data
    assert b"\xff\xfe" not in data[: data.index(b"\xff\xda")]


def test_chroma_is_kept_at_full_resolution(read: Read) -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    picture = Image.open(read(to_bytes(image(stripes))).images[0].path)
    assert np.abs(np.asarray(picture).astype(int) - stripes).mean() < 4


@pytest.mark.parametrize(
    ("spacing", "size"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (20, 32)),
        ({"PixelSpacing": [0.1, 0.2]}, (40, 16)),
        ({"PixelSpacing": [0.1, 0.10005]}, (20, 16)),
        ({"PixelAspectRatio": ["2", "1"]}, (20, 32)),
        ({"PixelAspectRatio": ["2", "1"], "PixelSpacing": [0.1, 0.1]}, (20, 16)),
        ({"ImagerPixelSpacing": [0.3, 0.1]}, (20, 48)),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.3, 0.1]}, (20, 16)),
    ],
)
def test_coarser_axis_is_enlarged_to_square_pixels(read: Read, spacing: dict[str, Any], size: tuple[int, int]) -> None:
    picture = read(to_bytes(image(gradient(), **spacing))).images[0]
    assert (picture.width_px, picture.height_px) == size == Image.open(picture.path).size


def test_slight_difference_of_spacings_is_let_pass(read: Read) -> None:
    reply = read(to_bytes(image(gradient(8, 3000), PixelSpacing=[0.1, 0.10005])))
    assert (reply.images[0].width_px, reply.images[0].height_px) == (3000, 8)


def test_scale_of_a_squared_picture_is_that_of_its_finer_axis(read: Read) -> None:
    reply = read(to_bytes(image(gradient(), PixelSpacing=[0.2, 0.1])))
    assert struct.unpack_from(">BHH", Path(reply.images[0].path).read_bytes(), 13) in ((1, 254, 254), (2, 100, 100))


def test_pixels_stay_as_they_are_where_square_ones_are_not_wanted(read: Read) -> None:
    content = to_bytes(image(gradient(), PixelSpacing=[0.2, 0.1]))
    reply = read(content, RenderOptions(square_pixels=False))
    assert (reply.images[0].width_px, reply.images[0].height_px) == (20, 16)
    unit, x_density, y_density = struct.unpack_from(">BHH", Path(reply.images[0].path).read_bytes(), 13)
    assert (unit, x_density, y_density) in ((1, 254, 127), (2, 100, 50))


def test_absurd_aspect_is_passed_over_with_a_warning(read: Read) -> None:
    reply = read(to_bytes(image(gradient(), PixelSpacing=[100, 0.01])))
    assert (reply.images[0].width_px, reply.images[0].height_px) == (20, 16)
    assert [warning.code for warning in reply.warnings] == ["pixel_aspect_ignored"]


def test_constant_picture_is_written_with_a_warning(read: Read) -> None:
    reply = read(to_bytes(image(np.full((8, 8), 9, np.uint16))))
    assert [warning.code for warning in reply.warnings] == ["constant_picture"]
    assert reply.images[0].constant


def test_png_holds_the_exact_levels_and_the_scale(read: Read) -> None:
    content = to_bytes(image((gradient(16, 16, 255)).astype(np.uint8), PixelSpacing=[0.5, 0.5]))
    picture = Image.open(read(content, RenderOptions(output_format="png")).images[0].path)
    assert np.array_equal(np.asarray(picture), gradient(16, 16, 255))
    assert picture.info["dpi"] == pytest.approx((50.8, 50.8), abs=0.01)


def test_jpg_differs_from_the_levels_by_coding_loss_only(read: Read) -> None:
    levels = (128 + 100 * np.sin(np.arange(128) / 9)[:, None] * np.cos(np.arange(96) / 7)).astype(np.uint8)
    coded = np.asarray(Image.open(read(to_bytes(image(levels))).images[0].path)).astype(int)
    assert np.abs(coded - levels).mean() < 1
    assert np.abs(coded - levels).max() <= 6


# --- the window that made it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "options", "expected"),
    [
        ({"WindowCenter": [50, 9], "WindowWidth": [10, 9]}, {}, (50, 10, WindowSource.FILE)),
        ({"WindowCenter": 50, "WindowWidth": 10}, {"window_center": 7.0, "window_width": 3.0}, (7, 3, "request")),
        ({}, {}, (2047.5, 4095, WindowSource.MINMAX)),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}, {}, (40, 400, WindowSource.DEFAULT)),
        ({"Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": -1024}, {}, (1023.5, 4095, WindowSource.MINMAX)),
        (
            {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "Z_EFF"},
            {},
            (2047.5, 4095, WindowSource.MINMAX),
        ),
    ],
)
def test_reply_tells_which_window_made_the_picture(
    read: Read, elements: dict[str, Any], options: dict[str, Any], expected: tuple[float, float, str]
) -> None:
    window = read(to_bytes(image(gradient(), **elements)), RenderOptions(**options)).images[0].window
    assert window is not None
    assert (window.center, window.width, window.source) == expected


def test_colour_has_no_window_and_keeps_its_colours(read: Read) -> None:
    pixels = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    options = RenderOptions(window_center=10, window_width=5, output_format="png")
    reply = read(to_bytes(image(pixels, WindowCenter=1, WindowWidth=2)), options)
    assert reply.images[0].window is None
    assert np.array_equal(np.asarray(Image.open(reply.images[0].path)), pixels)


def test_every_decoder_answers_at_start() -> None:
    assert len(check_decoders()) == 7
