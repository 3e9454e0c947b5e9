"""What a verification says of one file's images; and the content as C3/C4 tell it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_client import storage_etag
from errors import UnreadableFileError
from history import ReportRow
from importing.verification.image_check import ImageCheck, PatientImages
from models import FileOutcome, ImportedImage, OutcomeKind, RemoteImage, VerifyResult
from tests.unit.test_history import an_image, an_outcome

PART = 8 * 1024 * 1024
OURS = "0123-1"


def etag_by_hand(content: bytes) -> str:
    parts = [content[at : at + PART] for at in range(0, len(content), PART)]
    return hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest() + f"-{len(parts)}"


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5])
def test_content_is_told_as_the_object_storage_tells_it(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "a.jpg").write_bytes(content)
    assert storage_etag(str(tmp_path / "a.jpg")) == etag_by_hand(content)


def test_content_of_what_is_not_there_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        storage_etag(str(tmp_path / "gone.jpg"))


def a_file(**changes: Any) -> ReportRow:
    outcome = an_outcome("/srv/dicom/2024-01/P1/IM1.dcm", patient_id="P1", upload_filename="IM1.jpg", image_file_id=99)
    return ReportRow(1, replace(outcome, **{"frames_total": 1, **changes}))


def listed(image_id: int = 99, name: str = "IM1.jpg", **changes: Any) -> RemoteImage:
    return replace(RemoteImage(image_id, name, 5, OURS), **changes)


def check(
    file: ReportRow, images: list[RemoteImage] | None, known: list[ImportedImage], etag: str | None = OURS
) -> list[tuple[int, VerifyResult]]:
    rules = ImageCheck("t1", "/out", lambda path, size: etag)
    return [(found.frame, found.result) for found in rules.results(file, PatientImages.of(images, known))]


@pytest.mark.parametrize(
    ("images", "etag", "result"),
    [
        ([listed()], OURS, VerifyResult.OK),
        ([listed()], None, VerifyResult.OK_PRESENT),
        ([listed()], "4567-1", VerifyResult.DIFFERS),
        ([listed(storage_etag=None)], OURS, VerifyResult.OK_PRESENT),
        ([listed(storage_etag=None, size_bytes=None)], OURS, VerifyResult.OK_PRESENT),
        ([listed(size_bytes=6)], OURS, VerifyResult.DIFFERS),
        ([listed(name="other.jpg")], OURS, VerifyResult.OK),
        ([listed(name="other.jpg")], None, VerifyResult.OK_PRESENT),
        ([listed(name="other.jpg", storage_etag="4567-1")], OURS, VerifyResult.DIFFERS),
        ([listed(name="other.jpg", size_bytes=6)], OURS, VerifyResult.DIFFERS),
        ([listed(storage_etag="0123-2")], OURS, VerifyResult.OK_PRESENT),
        ([listed(storage_etag="0123")], OURS, VerifyResult.OK_PRESENT),
        ([listed(image_id=100)], OURS, VerifyResult.OK),
        ([listed(image_id=100, storage_etag="89-1")], OURS, VerifyResult.DIFFERS),
        ([listed(image_id=100, name="other.jpg")], OURS, VerifyResult.MISSING),
        ([], OURS, VerifyResult.MISSING),
        (None, OURS, VerifyResult.MISSING),
    ],
)
def test_an_image_is_there_or_another_or_gone(
    images: list[RemoteImage] | None, etag: str | None, result: VerifyResult
) -> None:
    assert check(a_file(), images, [an_image()], etag) == [(1, result)]


@pytest.mark.parametrize(
    ("kept", "result"), [(OURS, VerifyResult.OK), ("4567-1", VerifyResult.DIFFERS), (None, VerifyResult.OK_PRESENT)]
)
def test_what_the_index_keeps_stands_in_for_the_jpg(kept: str | None, result: VerifyResult) -> None:
    assert check(a_file(), [listed()], [an_image(storage_etag=kept)], None) == [(1, result)]
    assert check(a_file(), [listed()], [an_image(storage_etag=kept)], kept and "89-1") == [(1, result)]


def test_a_rename_is_told_in_the_detail() -> None:
    rules = ImageCheck("t1", "/out", lambda path, size: OURS)
    (found,) = rules.results(a_file(), PatientImages.of([listed(name="other.jpg")], [an_image()]))
    assert found.detail == "内容一致；XieHe 中已改名为 other.jpg"


def test_a_name_that_another_image_got_is_not_ours() -> None:
    ours, another = an_image(), an_image("IM2", image_file_id=98)
    assert check(a_file(), [listed(98, "IM1.jpg")], [ours, another]) == [(1, VerifyResult.MISSING)]


def test_a_claimed_image_is_found_under_the_name_that_xiehe_gave_it() -> None:
    claimed = an_image("IM1", stored_name="IM1.dcm.png", uploaded_by_us=False, jpg_size=None)
    neighbour = an_image("IM1.dcm", image_file_id=7)
    file = a_file(kind=OutcomeKind.DUPLICATE, upload_filename="IM1.dcm.png")
    images = [listed(99, "IM1.dcm.png", size_bytes=1), listed(7, "IM1.dcm.jpg")]
    assert check(file, images, [claimed, neighbour]) == [(1, VerifyResult.OK_PRESENT)]
    assert check(file, images[1:], [claimed, neighbour]) == [(1, VerifyResult.MISSING)]


def test_a_strangers_image_is_only_known_to_be_there() -> None:
    strange = an_image(uploaded_by_us=False, jpg_size=None)
    file = a_file(kind=OutcomeKind.DUPLICATE)
    assert check(file, [listed(size_bytes=12345)], [strange]) == [(1, VerifyResult.OK_PRESENT)]
    assert check(file, [listed()], []) == [(1, VerifyResult.OK_PRESENT)]


def test_another_output_format_is_the_same_image() -> None:
    png = an_image(stored_name="IM1.png")
    assert check(a_file(kind=OutcomeKind.DUPLICATE), [listed(name="IM1.png")], [png]) == [(1, VerifyResult.OK)]


def frames_of(outcome: FileOutcome, numbers: list[int]) -> list[ImportedImage]:
    return [an_image(f"IM1-{n:04d}", frame_number=n, image_file_id=n, source_path=outcome.source_path) for n in numbers]


def test_each_frame_is_looked_for() -> None:
    file = a_file(upload_filename="IM1-0001.jpg", frames_total=3, image_file_id=1)
    there = [listed(1, "IM1-0001.jpg"), listed(3, "IM1-0003.jpg")]
    found = check(file, there, frames_of(file.outcome, [1, 2, 3]))
    assert found == [(1, VerifyResult.OK), (2, VerifyResult.MISSING), (3, VerifyResult.OK)]


def test_of_a_file_that_failed_in_part_the_frames_that_arrived_are_looked_for() -> None:
    file = a_file(kind=OutcomeKind.FAILED, upload_filename=None, frames_total=3, frames_uploaded=2, image_file_id=None)
    others = [
        an_image("IM2", source_path="/srv/y"),
        an_image("IM1-0002", frame_number=2, task_id="another", source_path="/srv/x"),
    ]
    known = frames_of(file.outcome, [1, 3]) + others
    assert check(file, [listed(1, "IM1-0001.jpg")], known) == [(1, VerifyResult.OK), (3, VerifyResult.MISSING)]
