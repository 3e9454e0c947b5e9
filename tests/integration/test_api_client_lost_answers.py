"""A lost answer never makes a second image: on every contract, wherever the connection is cut."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from api_client import XieHeClient
from errors import BackendUnavailableError, UploadUnavailableError
from tests.integration.api_client_scene import (
    ALL,
    IMPATIENT,
    SESSION,
    SINGLE,
    Scene,
    on,
    sandboxes,
    scene,
    sha,
    until,
)
from tests.integration.sandbox_process import RawClient

__all__ = ["sandboxes", "scene"]

KINDS = [
    "cut_before",
    "cut_after",
    "reset",
    "status",
    "status_after",
    "html_error",
    "slow",
    "slow_after",
    "storage_fault",
]


def _operations(contract: int) -> list[str]:
    return ["upload_single"] if contract in SINGLE else ["create_session", "put_part", "complete_session"]


@on(*ALL)
@pytest.mark.parametrize("kind", KINDS)
async def test_one_fault_in_any_call_of_an_upload_leaves_exactly_one_image(scene: Scene, kind: str) -> None:
    """Slow is slower than the client waits, and quicker than an upload may land."""
    patient = await scene.patient()
    for number, operation in enumerate(_operations(scene.contract)):
        scene.sandbox.faults(
            {"operation": operation, "kind": kind, "status": 500, "seconds": 0.3, "match": f"{number}.jpg"}
        )
    async with scene.another_client(read_timeout_s=0.2) as client:
        await asyncio.gather(
            *(
                client.upload(scene.picture(f"{number}.jpg", patient, b"%d" % number), known_ids=frozenset())
                for number, _ in enumerate(_operations(scene.contract))
            )
        )
    await until(lambda: all(entry["finished"] for entry in scene.sandbox.requests()))  # also what nobody waits for
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
async def test_equal_names_wait_until_a_lost_upload_can_no_longer_land(scene: Scene) -> None:
    """The first is still being worked on when its client has given up: the second must not overlap it."""
    first, second = await scene.patient("first"), await scene.patient("second")
    scene.sandbox.faults({"operation": "upload_single", "kind": "slow", "seconds": 0.6, "match": "first"})
    retry = replace(IMPATIENT, landing_s=1.5, same_name_gap_s=1.05)
    async with scene.another_client(read_timeout_s=0.2, retry=retry) as client:
        await asyncio.gather(
            client.upload(scene.picture("IM1.jpg", first, b"first"), known_ids=frozenset()),
            client.upload(scene.picture("IM1.jpg", second, b"second"), known_ids=frozenset()),
        )
    assert sorted(scene.stored()) == [("first", "IM1.jpg", sha(b"first")), ("second", "IM1.jpg", sha(b"second"))]


@on(*SINGLE)
async def test_equal_names_wait_until_a_cancelled_upload_can_no_longer_land(scene: Scene) -> None:
    first, second = await scene.patient("first"), await scene.patient("second")
    scene.sandbox.faults({"operation": "upload_single", "kind": "slow", "seconds": 0.3, "match": "first"})
    task = asyncio.create_task(scene.upload(scene.picture("IM1.jpg", first)))
    await until(lambda: any(entry["fault"] for entry in scene.sandbox.requests("upload_single")))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await scene.upload(scene.picture("IM1.jpg", second))
    cancelled, later = [entry for entry in scene.sandbox.requests("upload_single") if entry["filename"]]
    assert later["time"] > cancelled["finished"]


@on(4)
async def test_a_completion_under_lease_is_waited_for_not_doubled(scene: Scene) -> None:
    """502, then 409 for the lease; the same session becomes the one image."""
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "complete_session", "kind": "storage_fault", "times": 2})
    receipt = await scene.upload(scene.picture("a.jpg", patient, b"a"))
    assert scene.stored() == [("P001", "a.jpg", sha(b"a"))]
    assert not receipt.found
    assert len(scene.sandbox.requests("create_session")) == 2  # the probe, and one session
    assert 409 in {entry["status"] for entry in scene.sandbox.requests("complete_session")}


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
    receipt = await scene.client.settle(scene.intent(picture, sessions[-1] if sessions else None))
    (image,) = (row for row in scene.sandbox.state()["images"] if row["status"] == "UPLOADED")
    assert receipt is not None and receipt.found
    assert receipt.image_file_id == image["id"]


@on(*ALL)
async def test_settling_at_once_waits_until_the_lost_call_can_no_longer_land(scene: Scene) -> None:
    """The call is still being worked on, its client gave up, could not look either, and asks again a moment later."""
    patient, sessions = await scene.patient(), list[str | None]()

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    picture = scene.picture("a.jpg", patient, b"a")
    retry, opened_s = replace(IMPATIENT, landing_s=0.8), time.monotonic()
    async with scene.another_client(read_timeout_s=0.2, retry=retry) as client:
        await client.detect_contract()
        await until(lambda: time.monotonic() - opened_s > retry.landing_s)  # a start makes it wait as well
        last = _operations(scene.contract)[-1]
        scene.sandbox.faults(
            {"operation": last, "kind": "slow", "seconds": 0.6, "match": "a.jpg"},
            *(
                {"operation": operation, "kind": "cut_before", "times": "forever"}
                for operation in (last, "list_images", "search_patients", "get_session")
            ),
        )
        with pytest.raises(BackendUnavailableError):
            await client.upload(picture, known_ids=frozenset(), on_begin=on_begin)
        scene.sandbox.clear_faults()
        intent = replace(scene.intent(picture, sessions[-1] if sessions else None), request=replace(picture, path=""))
        receipt = await client.settle(intent)
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
        await until(lambda: [entry for entry in scene.sandbox.requests(operation) if entry["filename"]])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return (sessions[-1] if sessions else None), Path(picture.path)


@on(*ALL)
async def test_an_upload_that_landed_after_a_kill_is_found(scene: Scene) -> None:
    """The dead process's request is still being worked on when the new process asks."""
    last = _operations(scene.contract)[-1]
    scene.sandbox.faults({"operation": last, "kind": "slow", "seconds": 0.3, "match": "a.jpg"})
    session_id, _ = await _killed_during(scene, last)
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    async with scene.another_client(retry=replace(IMPATIENT, landing_s=1.0)) as client:
        receipt = await client.settle(scene.intent(picture, session_id))
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
        assert await client.settle(scene.intent(picture, session_id)) is None
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
        assert await client.settle(scene.intent(picture, session_id)) is None
        await client.upload(picture, known_ids=frozenset())
    assert scene.stored() == [("P001", "a.jpg", sha(b"killed"))]


@on(4)
async def test_a_session_killed_under_lease_is_completed_by_the_next_process(scene: Scene) -> None:
    scene.sandbox.faults(
        {"operation": "complete_session", "kind": "storage_fault"},
        {"operation": "get_session", "kind": "slow", "seconds": 0.5},
    )
    session_id, _ = await _killed_during(scene, "get_session")
    picture = scene.picture("a.jpg", await scene.patient(), b"killed")
    async with scene.another_client() as client:
        receipt = await client.settle(scene.intent(picture, session_id))
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
    receipt = await scene.client.settle(replace(intent, session_id=sessions[0]))
    assert receipt is not None and receipt.image_file_id == uploaded.image_file_id
