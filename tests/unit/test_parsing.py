"""The file meta information: where it ends, and which of two counts (PS3.10 7.1)."""

from __future__ import annotations

import errno
import struct
from io import BytesIO

import imagecodecs
import numpy as np
import pytest

from dicom.header.parsing import parse
from tests.unit import image_files as files
from tests.unit.image_files import encapsulated, gradient, image, to_bytes
from tests.unit.test_dicom_processor import meta_end
from tests.unit.test_dicom_processor_pictures import frames_of


def _meta(syntax: str, *, length: int | None = None, implicit: bool = False) -> bytes:
    """Group 0002 of a few elements, with its group length unless ``length`` says otherwise (-1: none)."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    if implicit:
        body = struct.pack("<HHL", 0x0002, 0x0010, len(uid)) + uid
        head = struct.pack("<HHLL", 0x0002, 0x0000, 4, len(body))
    else:
        body = files.element(0x00020010, b"UI", uid) + files.element(0x00020013, b"SH", b"TEST")
        head = files.element(0x00020000, b"UL", struct.pack("<L", len(body) if length is None else max(length, 0)))
    return body if length == -1 else head + body


def _without_meta(content: bytes) -> bytes:
    return content[meta_end(content) :]


EXPLICIT = _without_meta(to_bytes(image(gradient())))
IMPLICIT = _without_meta(to_bytes(image(gradient()), files.IMPLICIT))
START = bytes(128) + b"DICM"


@pytest.mark.parametrize("second", [files.JPEG_2000, files.IMPLICIT, files.BIG_ENDIAN, files.DEFLATED, "1.2.3"])
@pytest.mark.parametrize("implicit", [False, True])
def test_of_two_metas_the_first_counts(second: str, implicit: bool) -> None:
    content = START + _meta(files.EXPLICIT) + _meta(second, implicit=implicit) + EXPLICIT
    parsed = parse(BytesIO(content), len(content))
    assert parsed.transfer_syntax == files.EXPLICIT
    assert np.array_equal(frames_of(content)[0].levels.pixels, frames_of(to_bytes(image(gradient())))[0].levels.pixels)


def test_a_compressed_film_saved_again_keeps_its_own_syntax() -> None:
    pixels = np.full((8, 8), 77, np.uint8)
    ds = encapsulated(image(pixels), [bytes(imagecodecs.jpegls_encode(pixels))])
    data_set = _without_meta(to_bytes(ds, files.JPEG_LS))
    content = START + _meta(files.JPEG_LS) + _meta(files.EXPLICIT) + data_set
    assert frames_of(content)[0].levels.pixels[0, 0] == 77


@pytest.mark.parametrize("implicit", [False, True])
def test_two_metas_may_stand_before_an_implicit_data_set(implicit: bool) -> None:
    content = START + _meta(files.IMPLICIT) + _meta(files.EXPLICIT, implicit=implicit) + IMPLICIT
    assert parse(BytesIO(content), len(content)).transfer_syntax == files.IMPLICIT
    assert len(frames_of(content)) == 1


@pytest.mark.parametrize("length", [-1, 0, 7, 26, 10_000])
def test_a_wrong_or_missing_group_length_does_no_harm(length: int) -> None:
    content = START + _meta(files.IMPLICIT, length=length) + IMPLICIT
    assert parse(BytesIO(content), len(content)).transfer_syntax == files.IMPLICIT
    assert len(frames_of(content)) == 1


def test_an_error_of_the_system_while_a_header_is_parsed_is_not_taken_for_damage() -> None:
    class Failing(BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            if self.tell() > 200:
                raise OSError(errno.EIO, "input/output error")
            return super().read(count)

    content = to_bytes(image(gradient()))
    with pytest.raises(OSError, match="input/output error"):
        parse(Failing(content), len(content))
