"""A lost answer never makes a second image: on every contract, wherever the connection is cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from api_client import XieHeClient
from errors import BackendUnavailableError, UploadUnavailableError
from models import RemotePatient, UploadReceipt
from tests.integration.api_client_scene import (
    ALL,
    IMPATIENT,
    READ_TIMEOUT_S,
    SESSION,
    SINGLE,
    Leap,
    Scene,
    leap,
    on,
    sandboxes,
    scene,
    sha,
    until,
)
from tests.integration.sandbox_process import RawClient
from tests.waiting import PATIENCE_S

__all__ = ["leap", "sandboxes", "scene"]

KINDS = [
    "cut_before",
    "cut_after",
    "reset",
    "status",
    "status_after",
    "html_error",
    "storage_fault",
]


def _operations(contract: int) -> list[str]:
    return ["upload_single"] if contract in SINGLE else ["create_session", "put_part", "complete_session"]


@on(*ALL)
@pytest.mark.parametrize("kind", KINDS)
async def test_one_fault_in_any_call_of_an_upload_leaves_exactly_one_image(scene: Scene, kind: str) -> None:
    patient = await scene.patient()
    for number, operation in enumerate(_operations(scene.contract)):
        scene.sandbox.faults({"operation": operation, "kind": kind, "status": 500, "match": f"{number}.jpg"})
    async with scene.another_client() as client:
        await asyncio.gather(*_uploads_of_each(scene, client, patient))
    _assert_each_once(scene)


@on(*ALL)
@pytest.mark.parametrize("kind", ["held", "held_after"])
async def test_a_call_that_outlasts_the_clients_patience_leaves_exactly_one_image(
    scene: Scene, leap: Leap, kind: str
) -> None:
    """Any call of an upload; it is done, or answered, after its client has given up."""
    patient = await scene.patient()
    for number, operation in enumerate(_operations(scene.contract)):
        scene.sandbox.faults({"operation": operation, "kind": kind, "match": f"{number}.jpg"})
    async with scene.another_client(retry=replace(IMPATIENT, late_commit_window_s=PATIENCE_S)) as client:
        uploads = asyncio.gather(*_uploads_of_each(scene, client, patient))
        await until(lambda: all(rule["fired"] for rule in scene.sandbox.fault_report()))
        await leap(READ_TIMEOUT_S)
        scene.sandbox.let_go()
        await uploads
    _assert_each_once(scene)


def _uploads_of_each(scene: Scene, client: XieHeClient, patient: RemotePatient) -> list[Awaitable[UploadReceipt]]:
    """One upload for each operation that may go wrong."""
    return [
        client.upload(scene.picture(f"{number}.jpg", patient, b"%d" % number), known_ids=frozenset())
        for number, _ in enumerate(_operations(scene.contract))
    ]


def _assert_each_once(scene: Scene) -> None:
    scene.sandbox.until_idle()  # also what nobody waits for
    expected = [("P001", f"{n}.jpg", sha(b"%d" % n)) for n, _ in enumerate(_operations(scene.contract))]
    assert sorted(scene.stored()) == expected
    assert all(rule["fired"] == 1 for rule in scene.sandbox.fault_report())


@on(*ALL)
async def test_four_faults_in_a_row_are_outlasted(scene: Scene) -> None:
    patient = await scene.patient()
    for operation in _operations(scene.contract):
        scene.sandbox.faults({"operation": operation, "kind": "status", "status": 500, "times": 4})
    await scene.upload(scene.picture("a.jpg", patient, b"a"))
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]


@on(*SINGLE)
async def test_landed_upload_is_found_and_named(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "upload_single", "kind": "cut_after"})
    receipt = await scene.upload(scene.picture("a.jpg", patient))
    (image,) = scene.sandbox.state()["images"]
    assert (receipt.found, receipt.image_file_id) == (True, image["id"])
    assert len(scene.sandbox.requests("upload_single")) == 2  # the probe of the contract, and one upload


@on(*SINGLE)
async def test_an_equal_name_from_before_is_not_taken_for_the_lost_upload(scene: Scene) -> None:
    patient = await scene.patient()
    with RawClient(scene.sandbox) as raw:
        raw.upload("a.jpg", patient.row_id, b"\xff\xd8older!!")
    known = frozenset(image.image_file_id for image in await scene.client.list_images(patient))
    for copies, known_ids in ((2, known), (3, None)):
        scene.sandbox.faults({"operation": "upload_single", "kind": "cut_before", "match": "a.jpg"})
        async with scene.another_client() as client:
            receipt = await client.upload(scene.picture("a.jpg", patient, b"\xff\xd8picture"), known_ids=known_ids)
        assert not receipt.found
        assert len(scene.stored()) == copies


@on(*SINGLE)
async def test_an_image_of_this_clients_earlier_upload_is_not_taken_for_the_lost_one(scene: Scene) -> None:
    """C1/C2 do not tell an upload's image id, so ``known_ids`` can lag behind."""
    patient = await scene.patient()
    await scene.upload(scene.picture("a.jpg", patient, b"one"))
    scene.sandbox.faults({"operation": "upload_single", "kind": "cut_before"})
    receipt = await scene.upload(scene.picture("a.jpg", patient, b"two"))
    assert not receipt.found
    assert len(scene.stored()) == 2


@on(1)
async def test_equal_names_wait_until_a_lost_upload_can_no_longer_land(scene: Scene, leap: Leap) -> None:
    """The first is still being worked on when its client has given up: the second must not overlap it."""
    first, second = await scene.patient("first"), await scene.patient("second")
    scene.sandbox.faults({"operation": "upload_single", "kind": "held", "match": "first"})
    retry = replace(IMPATIENT, late_commit_window_s=PATIENCE_S, same_name_gap_s=1.05)
    async with scene.another_client(retry=retry) as client:
        uploads = asyncio.gather(
            client.upload(scene.picture("IM1.jpg", first, b"first"), known_ids=frozenset()),
            client.upload(scene.picture("IM1.jpg", second, b"second"), known_ids=frozenset()),
        )
        await scene.held("upload_single")
        await leap(READ_TIMEOUT_S)
        await client.upload(scene.picture("other.jpg", second), known_ids=frozenset())
        assert _sent(scene, "IM1.jpg") == 1
        scene.sandbox.let_go()
        await uploads
    assert [stored for stored in sorted(scene.stored()) if stored[1] == "IM1.jpg"] == [
        ("first", "IM1.jpg", sha(b"first")),
        ("second", "IM1.jpg", sha(b"second")),
    ]


def _sent(scene: Scene, name: str) -> int:
    return len([entry for entry in scene.sandbox.requests("upload_single") if entry["filename"] == name])


@on(*SINGLE)
async def test_equal_names_wait_until_a_cancelled_upload_can_no_longer_land(scene: Scene, leap: Leap) -> None:
    first, second = await scene.patient("first"), await scene.patient("second")
    scene.sandbox.faults({"operation": "upload_single", "kind": "held", "match": "first"})
    async with scene.another_client(retry=replace(IMPATIENT, late_commit_window_s=PATIENCE_S)) as client:
        task = asyncio.create_task(client.upload(scene.picture("IM1.jpg", first, b"1"), known_ids=frozenset()))
        await scene.held("upload_single")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        later = asyncio.create_task(client.upload(scene.picture("IM1.jpg", second, b"2"), known_ids=frozenset()))
        scene.sandbox.let_go()
        scene.sandbox.until_idle()
        await client.upload(scene.picture("other.jpg", second), known_ids=frozenset())
        assert _sent(scene, "IM1.jpg") == 1
        await leap(PATIENCE_S)
        await later
    assert ("second", "IM1.jpg", sha(b"2")) in scene.stored()


@on(4)
async def test_a_completion_under_lease_is_waited_for_not_doubled(scene: Scene) -> None:
    """502, then 409 for the lease; the same session becomes the one image."""
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "complete_session", "kind": "storage_fault", "times": 2})
    scene.sandbox.stop_clock()
    upload = asyncio.create_task(scene.upload(scene.picture("a.jpg", patient, b"a")))
    await until(lambda: 409 in {entry["status"] for entry in scene.sandbox.requests("complete_session")})
    scene.sandbox.run_clock()
    receipt = await upload
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]
    assert not receipt.found
    assert len(scene.sandbox.requests("create_session")) == 2  # the probe, and one session


@on(3)
async def test_a_row_stuck_uploading_is_left_and_a_new_session_made(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "complete_session", "kind": "storage_fault"})
    await scene.upload(scene.picture("a.jpg", patient, b"a"))
    assert [row["status"] for row in scene.sandbox.state()["images"]] == ["UPLOADING", "UPLOADED"]
    assert [image.filename for image in await scene.client.list_images(patient)] == ["a.jpg"]


@on(*SESSION)
async def test_an_expired_part_link_leads_to_a_new_session(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "put_part", "kind": "html_error", "status": 403})
    sessions: list[str | None] = []

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    receipt = await scene.upload(scene.picture("a.jpg", patient, b"a"), on_begin=on_begin)
    assert len(set(sessions)) == 2
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]
    assert scene.contract == 4 or str(receipt.image_file_id) == sessions[-1]


@on(*SESSION)
async def test_a_session_that_failed_is_followed_by_a_new_one(scene: Scene) -> None:
    """400 from completion, as after a size mismatch."""
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "complete_session", "kind": "status", "status": 400})
    await scene.upload(scene.picture("a.jpg", patient, b"a"))
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]


@on(*SESSION)
async def test_sessions_that_fail_every_time_are_told_from_a_refusal(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "put_part", "kind": "html_error", "status": 403, "times": "forever"})
    with pytest.raises(UploadUnavailableError):
        await scene.upload(scene.picture("a.jpg", patient, b"a"))
    assert scene.stored() == []


@on(*ALL)
async def test_a_backend_that_dies_in_mid_upload_is_unavailable_and_settles_later(scene: Scene) -> None:
    patient, sessions = await scene.patient(), list[str | None]()

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    last = _operations(scene.contract)[-1]
    scene.sandbox.faults(
        {"operation": last, "kind": "cut_after"},
        *(
            {"operation": op, "kind": "cut_before", "times": "forever"}
            for op in (last, "list_images", "search_patients", "get_session")
        ),
    )
    picture = scene.picture("a.jpg", patient, b"a")
    with pytest.raises(BackendUnavailableError):
        await scene.upload(picture, on_begin=on_begin)
    scene.sandbox.clear_faults()
    receipt = await scene.client.settle(scene.intent(picture, sessions[-1] if sessions else None), picture.path)
    (image,) = (row for row in scene.sandbox.state()["images"] if row["status"] == "UPLOADED")
    assert receipt is not None and receipt.found
    assert receipt.image_file_id == image["id"]


@on(*ALL)
async def test_settling_at_once_waits_until_the_lost_call_can_no_longer_land(scene: Scene, leap: Leap) -> None:
    """The call is still being worked on, its client gave up, could not look either, and asks again a moment later."""
    patient, sessions = await scene.patient(), list[str | None]()

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    picture = scene.picture("a.jpg", patient, b"a")
    async with scene.another_client(retry=replace(IMPATIENT, late_commit_window_s=PATIENCE_S)) as client:
        await client.detect_contract()
        await leap(PATIENCE_S)  # a start makes it wait as well
        last = _operations(scene.contract)[-1]
        scene.sandbox.faults(
            {"operation": last, "kind": "held", "match": "a.jpg"},
            *(
                {"operation": operation, "kind": "cut_before", "times": "forever"}
                for operation in (last, "list_images", "search_patients", "get_session")
            ),
        )
        upload = asyncio.create_task(client.upload(picture, known_ids=frozenset(), on_begin=on_begin))
        await scene.held(last)
        await leap(READ_TIMEOUT_S)
        with pytest.raises(BackendUnavailableError):
            await upload
        scene.sandbox.clear_faults(keep_held=True)
        scene.sandbox.clear_requests()
        intent = scene.intent(picture, sessions[-1] if sessions else None)
        settling = asyncio.create_task(client.settle(intent))
        await scene.looked_at()
        scene.sandbox.let_go()
        receipt = await settling
    assert receipt is not None
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]


# --- after a restart ----------------------------------------------------------------------------------------------


async def _killed_during(scene: Scene, operation: str, name: str = "a.jpg") -> tuple[str | None, Path]:
    """Begin an upload and cancel it while that call is on its way; its session id, as the intent would hold it."""
    patient, sessions = await scene.patient(), list[str | None]()

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    picture = scene.picture(name, patient, b"killed")
    scene.sandbox.clear_requests()
    async with XieHeClient.open(scene.options) as client:
        await client.detect_contract()
        task = asyncio.create_task(client.upload(picture, known_ids=frozenset(), on_begin=on_begin))
        await until(lambda: [e for e in scene.sandbox.requests(operation) if e["filename"] or e["fault"]])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return (sessions[-1] if sessions else None), Path(picture.path)


@on(*ALL)
async def test_an_upload_that_landed_after_a_kill_is_found(scene: Scene) -> None:
    """The dead process's request is still being worked on when the new process asks."""
    last = _operations(scene.contract)[-1]
    scene.sandbox.faults({"operation": last, "kind": "held", "match": "a.jpg"})
    session_id, _ = await _killed_during(scene, last)
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    scene.sandbox.clear_requests()
    async with scene.another_client(retry=replace(IMPATIENT, late_commit_window_s=PATIENCE_S)) as client:
        settling = asyncio.create_task(client.settle(scene.intent(picture, session_id), picture.path))
        await scene.looked_at()
        scene.sandbox.let_go()
        receipt = await settling
    assert receipt is not None and receipt.found
    assert scene.stored() == [("P001", "a.jpg", sha(b"killed"))]
    assert len(list(scene.sandbox.state()["images"])) == 1


@on(*ALL)
async def test_an_upload_that_did_not_land_settles_as_nothing(scene: Scene) -> None:
    first = _operations(scene.contract)[0]
    scene.sandbox.faults({"operation": first, "kind": "cut_before", "match": "a.jpg", "times": "forever"})
    session_id, _ = await _killed_during(scene, first)
    scene.sandbox.clear_faults()
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    async with scene.another_client() as client:
        assert await client.settle(scene.intent(picture, session_id), picture.path) is None
        await client.upload(picture, known_ids=frozenset())
    assert scene.stored() == [("P001", "a.jpg", sha(b"killed"))]


@on(*SESSION)
async def test_a_session_killed_before_its_bytes_settles_as_nothing(scene: Scene) -> None:
    scene.sandbox.faults({"operation": "put_part", "kind": "cut_before", "times": "forever"})
    session_id, _ = await _killed_during(scene, "put_part")
    assert session_id is not None
    scene.sandbox.clear_faults()
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    async with scene.another_client() as client:
        assert await client.settle(scene.intent(picture, session_id), picture.path) is None
        await client.upload(picture, known_ids=frozenset())
    assert scene.stored() == [("P001", "a.jpg", sha(b"killed"))]


@on(4)
async def test_a_session_killed_under_lease_is_completed_by_the_next_process(scene: Scene) -> None:
    scene.sandbox.faults(
        {"operation": "complete_session", "kind": "storage_fault"},
        {"operation": "get_session", "kind": "held", "match": "a.jpg"},
    )
    session_id, _ = await _killed_during(scene, "get_session")
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    async with scene.another_client() as client:
        receipt = await client.settle(scene.intent(picture, session_id), picture.path)
    assert receipt is not None and receipt.found
    assert scene.stored() == [("P001", "a.jpg", sha(b"killed"))]


@on(4)
async def test_a_settled_session_needs_no_file(scene: Scene) -> None:
    sessions: list[str | None] = []

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    picture = scene.picture("a.jpg", await scene.patient())
    intent = scene.intent(picture, None)
    uploaded = await scene.upload(picture, on_begin=on_begin)
    os.unlink(picture.path)
    receipt = await scene.client.settle(replace(intent, session=sessions[0]), picture.path)
    assert receipt is not None and receipt.image_file_id == uploaded.image_file_id
