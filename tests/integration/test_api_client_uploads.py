"""One picture goes to one patient under one name, byte for byte, whatever XieHe's contract makes of names and ids."""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import replace

import pytest

from api_client import XieHeClient
from errors import PatientDeletedInXieHeError, UnreadableFileError, UploadRejectedError, UploadUnavailableError
from models import NewPatient, RemotePatient, Sex
from tests.integration.api_client_scene import (
    ALL,
    IMPATIENT,
    SESSION,
    SINGLE,
    Leap,
    Scene,
    leap,
    on,
    sandboxes,
    scene,
    sha,
)
from tests.waiting import PATIENCE_S

__all__ = ["leap", "sandboxes", "scene"]

NAMES = [
    "a.jpg",
    "中 文.jpg",
    'say "hi".jpg',
    "100%25.jpg",
    "%22.jpg",
    "a;b=c.jpg",
    "😀.jpg",
    " led.jpg",
    "e\u0301.jpg",
    "a'b`$.jpg",
]


@on(*ALL)
async def test_picture_arrives_byte_for_byte(scene: Scene) -> None:
    patient, content = await scene.patient(), bytes(range(256)) * 100
    receipt = await scene.upload(scene.picture("a.jpg", patient, content))
    assert scene.stored() == [("P001", "a.jpg", sha(content))]
    assert (receipt.stored_name, receipt.size_bytes, receipt.found) == ("a.jpg", len(content), False)
    assert (receipt.image_file_id is None) == (scene.contract in SINGLE)
    assert scene.sandbox.state()["orphans"] == []


@on(*ALL)
async def test_names_are_stored_byte_for_byte(scene: Scene) -> None:
    patient = await scene.patient()
    await asyncio.gather(*(scene.upload(scene.picture(name, patient, name.encode())) for name in NAMES))
    assert sorted(scene.stored()) == sorted(("P001", name, sha(name.encode())) for name in NAMES)
    assert sorted(image.filename for image in await scene.client.list_images(patient)) == sorted(NAMES)


@on(*ALL)
async def test_the_longest_name_passes_and_a_longer_one_is_refused_unsent(scene: Scene) -> None:
    patient = await scene.patient()
    longest = "名" * 78 + "a.jpg"
    assert len(longest.encode()) == 239
    await scene.upload(scene.picture(longest, patient))
    with pytest.raises(UploadRejectedError):
        await scene.upload(scene.picture("b" + longest, patient))
    assert [name for _, name, _ in scene.stored()] == [longest]


@on(*ALL)
async def test_a_name_that_is_no_bare_name_is_refused_unsent(scene: Scene) -> None:
    picture = scene.picture("ok.jpg", await scene.patient())
    for name in ("../x.jpg", "a/b.jpg", "a\\b.jpg", "a\nb.jpg", "a\x00.jpg", "", "..", "\udc80.jpg"):
        with pytest.raises(UploadRejectedError):
            await scene.upload(replace(picture, stored_name=name))
    assert scene.sandbox.state()["images"] == []


@on(*ALL)
async def test_hospital_number_that_is_another_patients_row_id_gets_its_own_picture(scene: Scene) -> None:
    first = await scene.patient("P001")
    digits = await scene.patient(str(first.row_id))
    assert digits.patient_id == str(first.row_id) != str(digits.row_id)
    await scene.upload(scene.picture("a.jpg", digits, b"digits"))
    assert scene.stored() == [(digits.patient_id, "a.jpg", sha(b"digits"))]


@on(*SINGLE)
async def test_a_hospital_number_in_the_place_of_the_row_id_is_a_programming_error(scene: Scene) -> None:
    patient = RemotePatient("P001", "P001", Sex.MALE, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await scene.upload(scene.picture("a.jpg", patient))
    assert scene.sandbox.state()["images"] == []


@on(*ALL)
@pytest.mark.parametrize("exam_type", ["正位X光片", "侧位X光片", "左侧曲位", "体态照片", None])
async def test_exam_type_becomes_the_description(scene: Scene, exam_type: str | None) -> None:
    await scene.upload(scene.picture("a.jpg", await scene.patient(), exam_type=exam_type))
    assert [row["description"] for row in scene.sandbox.state()["images"]] == [exam_type]


@on(*ALL)
@pytest.mark.parametrize("exam_type", ["CT影像", "脊柱正位", "status", "Chest PA"])
async def test_a_deadly_description_does_not_kill_the_upload(scene: Scene, exam_type: str) -> None:
    await scene.upload(scene.picture("a.jpg", await scene.patient(), exam_type=exam_type))
    (row,) = scene.sandbox.state()["images"]
    assert row["description"] == (None if scene.contract in SINGLE else exam_type)


@on(*SINGLE)
async def test_equal_names_at_once_keep_their_own_bytes(scene: Scene) -> None:
    """XieHe stores by name and whole second: within one second the later would overwrite the earlier."""
    retry = replace(IMPATIENT, same_name_gap_s=1.05)
    patients = [await scene.patient(f"P{number}") for number in range(3)]
    async with scene.another_client(retry=retry) as client:
        await asyncio.gather(
            *(
                client.upload(scene.picture("IM0001.jpg", patient, patient.patient_id.encode()), known_ids=frozenset())
                for patient in patients
            ),
            *(client.upload(scene.picture(f"{n}.jpg", patients[0], b"other"), known_ids=frozenset()) for n in range(4)),
        )
    same = [(who, content) for who, name, content in scene.stored() if name == "IM0001.jpg"]
    assert sorted(same) == sorted((patient.patient_id, sha(patient.patient_id.encode())) for patient in patients)
    starts = [entry["time"] for entry in scene.sandbox.requests("upload_single") if entry["filename"] == "IM0001.jpg"]
    assert all(later - earlier > 1.0 for earlier, later in itertools.pairwise(starts))


@on(1)
async def test_other_names_go_by_while_equal_names_wait(scene: Scene, leap: Leap) -> None:
    patients = [await scene.patient(f"P{number}") for number in range(6)]
    retry = replace(IMPATIENT, same_name_gap_s=PATIENCE_S)
    async with scene.another_client(retry=retry, upload_concurrency=2) as client:
        await leap(PATIENCE_S)  # each name waits that long after a start
        waiting = [
            asyncio.create_task(client.upload(scene.picture("IM0001.jpg", patient), known_ids=frozenset()))
            for patient in patients
        ]
        await client.upload(scene.picture("first.jpg", patients[0]), known_ids=frozenset())
        await asyncio.gather(
            *(client.upload(scene.picture(f"{n}.jpg", patients[0]), known_ids=frozenset()) for n in range(20))
        )
        assert sum(task.done() for task in waiting) <= 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@on(2)
async def test_a_failing_upload_does_not_take_the_good_one_of_that_name_with_it(scene: Scene) -> None:
    good, bad = await scene.patient("good"), await scene.patient("bad")
    scene.sandbox.faults({"operation": "upload_single", "kind": "storage_fault", "match": "bad"})
    async with scene.another_client(retry=replace(IMPATIENT, same_name_gap_s=1.05)) as client:
        await asyncio.gather(
            client.upload(scene.picture("IM0001.jpg", good, b"good"), known_ids=frozenset()),
            client.upload(scene.picture("IM0001.jpg", bad, b"bad"), known_ids=frozenset()),
        )
    assert sorted(scene.stored()) == [("bad", "IM0001.jpg", sha(b"bad")), ("good", "IM0001.jpg", sha(b"good"))]


@on(*SESSION)
@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 12_288, 50_001])
async def test_parts_join_to_the_whole(scene: Scene, size: int) -> None:
    content = bytes(number % 253 for number in range(size))
    await scene.upload(scene.picture("a.jpg", await scene.patient(), content))
    assert scene.stored() == [("P001", "a.jpg", sha(content))]


@on(*SINGLE)
async def test_a_file_of_many_pieces_arrives_whole(scene: Scene) -> None:
    content = bytes(range(256)) * 40_000
    await scene.upload(scene.picture("big.jpg", await scene.patient(), content))
    assert scene.stored() == [("P001", "big.jpg", sha(content))]


@on(*ALL)
async def test_an_upload_says_that_it_begins_before_any_byte_is_sent(scene: Scene) -> None:
    told: list[tuple[str | None, int]] = []

    async def on_begin(session_id: str | None) -> None:
        sent = scene.sandbox.requests("put_part") + scene.sandbox.requests("upload_single")
        told.append((session_id, len([entry for entry in sent if entry["filename"]])))

    receipt = await scene.upload(scene.picture("a.jpg", await scene.patient()), on_begin=on_begin)
    ((session_id, sent),) = told
    assert sent == 0
    if scene.contract in (1, 2):
        assert session_id is None
    elif scene.contract == 3:
        assert session_id == str(receipt.image_file_id)
    else:
        assert session_id


@on(*ALL)
async def test_no_token_goes_to_the_storage(scene: Scene) -> None:
    """The sandbox's part links, as a presigned URL's, say 403 to whatever they don't expect."""
    await scene.upload(scene.picture("a.jpg", await scene.patient()))
    assert {entry["status"] for entry in scene.sandbox.requests("put_part")} <= {200}


@on(*ALL)
async def test_refused_type_is_the_files_fault(scene: Scene) -> None:
    patient = await scene.patient()
    with pytest.raises(UploadUnavailableError if scene.contract == 1 else UploadRejectedError):  # C1 masks it as 500
        await scene.upload(scene.picture("a.bmp", patient))
    await scene.upload(scene.picture("a.jpg", patient))
    assert [name for _, name, _ in scene.stored()] == ["a.jpg"]


@on(*ALL)
@pytest.mark.parametrize("status", [413, 403])
async def test_a_proxys_refusal_of_the_file_is_the_files_fault_at_once(scene: Scene, status: int) -> None:
    operation = "upload_single" if scene.contract in SINGLE else "create_session"
    patient = await scene.patient()
    scene.sandbox.clear_requests()
    scene.sandbox.faults({"operation": operation, "kind": "html_error", "status": status})
    with pytest.raises(UploadRejectedError, match=str(status)):
        await scene.upload(scene.picture("a.jpg", patient))
    assert len(scene.sandbox.requests(operation)) == 1


@on(*ALL)
async def test_an_upload_that_always_fails_while_lists_work_is_told_from_a_refusal(scene: Scene) -> None:
    operation = "upload_single" if scene.contract in SINGLE else "create_session"
    patient = await scene.patient()
    scene.sandbox.clear_requests()
    scene.sandbox.faults({"operation": operation, "kind": "status", "status": 500, "times": "forever"})
    with pytest.raises(UploadUnavailableError):
        await scene.upload(scene.picture("a.jpg", patient))
    assert len(scene.sandbox.requests(operation)) == 5


@on(*ALL)
async def test_a_patient_that_vanished_is_told_as_such(scene: Scene) -> None:
    patient = replace(await scene.patient(), row_id=99_999)
    with pytest.raises(PatientDeletedInXieHeError, match="P001"):
        await scene.upload(scene.picture("a.jpg", patient))
    assert scene.sandbox.state()["orphans"] == []


@on(4)
async def test_a_patient_deleted_in_mid_run_is_told_as_such(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.soft_delete_patient(patient.row_id)
    with pytest.raises(PatientDeletedInXieHeError):
        await scene.upload(scene.picture("a.jpg", patient))


@on(*ALL)
async def test_a_file_that_is_gone_or_empty_is_its_own_fault(scene: Scene) -> None:
    patient = await scene.patient()
    gone, empty = scene.picture("gone.jpg", patient), scene.picture("empty.jpg", patient, b"")
    os.unlink(gone.path)
    with pytest.raises(UnreadableFileError):
        await scene.upload(gone)
    with pytest.raises(UploadRejectedError):
        await scene.upload(empty)
    assert scene.sandbox.state()["images"] == []


@on(*ALL)
async def test_many_uploads_of_many_patients_at_once(scene: Scene) -> None:
    patients = [(await scene.client.create_patient(NewPatient(f"P{n}", "n", Sex.MALE, None))).patient for n in range(5)]
    pictures = [
        scene.picture(f"{patient.patient_id}-{n}.jpg", patient, f"{patient.patient_id}-{n}.jpg".encode())
        for patient in patients
        for n in range(8)
    ]
    async with XieHeClient.open(replace(scene.options, upload_concurrency=8)) as client:
        await asyncio.gather(*(client.upload(picture, known_ids=frozenset()) for picture in pictures))
    expected = [(p.patient.patient_id, p.stored_name, sha(p.stored_name.encode())) for p in pictures]
    assert sorted(scene.stored()) == sorted(expected)
