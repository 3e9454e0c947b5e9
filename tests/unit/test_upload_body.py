"""The multipart form: what the server's own parser reads out of it equals what was put in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser

from errors import FileError
from models import RemotePatient, Sex, UploadRequest
from xiehe.uploads.upload_body import MAX_NAME_BYTES, checked_image, form_of

_PATIENT = RemotePatient(1, "P1", Sex.MALE, None)
_NAME_CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\")


def _request(path: Path, name: str) -> UploadRequest:
    return UploadRequest(str(path), name, _PATIENT, None)


async def _parsed(path: Path, name: str, description: str) -> tuple[str | None, bytes, str, int]:
    request = _request(path, name)
    form = form_of(checked_image(request), request, {"patient_id": "1", "description": description})
    body = b"".join([piece async for piece in form.body()])
    assert int(form.headers["Content-Length"]) == len(body)
    read = await MultiPartParser(Headers(form.headers), cast(AsyncGenerator[bytes, None], form.body())).parse()
    file = read["file"]
    assert isinstance(file, UploadFile)
    return file.filename, await file.read(), str(read["description"]), len(body)


@settings(max_examples=150, deadline=None)
@given(st.text(_NAME_CHARACTERS, min_size=1, max_size=60).map(lambda stem: stem + ".jpg"), st.binary(min_size=1))
def test_any_storable_name_and_any_bytes_survive_the_form(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "image"
    path.write_bytes(content)
    filename, received, description, _ = asyncio.run(_parsed(path, name, "正位X光片"))
    assert (filename, received, description) == (name, content, "正位X光片")


def test_a_file_larger_than_one_piece_survives_the_form(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    (tmp_path / "big").write_bytes(content)
    assert asyncio.run(_parsed(tmp_path / "big", "a.jpg", "x"))[1] == content


def test_a_file_that_shrinks_under_way_is_an_error_not_a_short_image(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x" * 100)
    image = checked_image(_request(path, "a.jpg"))
    path.write_bytes(b"x" * 10)
    with pytest.raises(FileError, match="变短"):
        asyncio.run(image.read(0, 100))


def test_a_part_is_read_from_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(range(256)) * 40_000)
    image = checked_image(_request(path, "a.jpg"))

    async def part() -> bytes:
        return b"".join([piece async for piece in image.pieces(5_000_001, 10_000_003)])

    assert asyncio.run(part()) == path.read_bytes()[5_000_001:10_000_003]


@pytest.mark.parametrize("length", [MAX_NAME_BYTES, MAX_NAME_BYTES + 1])
def test_the_limit_of_names_counts_bytes(tmp_path: Path, length: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x")
    name = "名" * (length // 3) + "a" * (length % 3)
    if length <= MAX_NAME_BYTES:
        assert checked_image(_request(path, name)).size_bytes == 1
    else:
        with pytest.raises(FileError):
            checked_image(_request(path, name))
