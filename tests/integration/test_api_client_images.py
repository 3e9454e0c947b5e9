"""The list of a patient's images: whole, complete ones only, stable."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from errors import BackendUnavailableError
from models import RemotePatient, Sex
from tests.integration.api_client_scene import ALL, SESSION, Scene, on, sandboxes, scene
from tests.integration.sandbox_process import RawClient

__all__ = ["sandboxes", "scene"]


@on(*ALL)
async def test_an_unknown_row_has_no_images(scene: Scene) -> None:
    assert await scene.client.list_images(RemotePatient(99_999, "X", Sex.UNKNOWN, None)) == []


@on(*ALL)
async def test_more_than_two_hundred_images_of_one_second_are_all_listed(scene: Scene) -> None:
    """Rows of one second have no order among them: shuffled anew for each page."""
    patient = await scene.patient()
    with RawClient(scene.sandbox) as raw:
        for number in range(230):
            raw.upload(f"{number}.jpg", patient.row_id, b"x")
    scene.sandbox.faults({"operation": "list_images", "kind": "shuffle_ties", "times": "forever"})
    first = await scene.client.list_images(patient)
    second = await scene.client.list_images(patient)
    assert {image.filename for image in first} == {f"{number}.jpg" for number in range(230)}
    assert first == second


@on(*ALL)
async def test_a_list_that_grows_while_it_is_read_loses_nothing_that_was_there(scene: Scene) -> None:
    patient = await scene.patient()
    with RawClient(scene.sandbox) as raw:
        for number in range(120):
            raw.upload(f"{number}.jpg", patient.row_id, b"x")
    growing = [scene.upload(scene.picture(f"new{number}.jpg", patient)) for number in range(12)]
    listing = [scene.client.list_images(patient) for _ in range(6)]
    uploading = asyncio.gather(*growing)
    lists = await asyncio.gather(*listing)
    await uploading
    for images in lists:
        assert {f"{number}.jpg" for number in range(120)} <= {image.filename for image in images}


@on(3)
async def test_sessions_that_were_never_completed_are_not_images(scene: Scene) -> None:
    patient = await scene.patient()
    with RawClient(scene.sandbox) as raw:
        raw.create_session("abandoned.jpg", patient.row_id, 5).raise_for_status()
        session = raw.payload(raw.create_session("short.jpg", patient.row_id, 5))
        raw.complete(session, raw.put_parts(session, b"x"))
    await scene.upload(scene.picture("whole.jpg", patient))
    assert {row["status"] for row in scene.sandbox.state()["images"]} == {"UPLOADING", "FAILED", "UPLOADED"}
    assert [image.filename for image in await scene.client.list_images(patient)] == ["whole.jpg"]


@on(*SESSION)
@pytest.mark.parametrize("size", [10, 4096, 4097, 20_000])
async def test_storage_etag_proves_the_content(scene: Scene, size: int) -> None:
    patient = await scene.patient()
    content = bytes(number % 251 for number in range(size))
    await scene.upload(scene.picture("a.jpg", patient, content))
    parts = [hashlib.md5(content[at : at + 4096]).digest() for at in range(0, size, 4096)]
    (image,) = await scene.client.list_images(patient)
    assert image.storage_etag == f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    assert image.size_bytes == size


@on(*ALL)
async def test_a_list_that_cannot_be_read_is_not_an_empty_list(scene: Scene) -> None:
    patient = await scene.patient()
    scene.sandbox.faults({"operation": "list_images", "kind": "status", "status": 500, "times": "forever"})
    with pytest.raises(BackendUnavailableError, match="500"):
        await scene.client.list_images(patient)


@on(*ALL)
@pytest.mark.parametrize("kind", ["status", "html_error", "cut_before", "cut_after", "reset", "slow"])
async def test_one_fault_while_listing_is_not_noticed(scene: Scene, kind: str) -> None:
    patient = await scene.patient()
    await scene.upload(scene.picture("a.jpg", patient))
    scene.sandbox.faults({"operation": "list_images", "kind": kind, "status": 503, "seconds": 0.1, "times": 2})
    assert [image.filename for image in await scene.client.list_images(patient)] == ["a.jpg"]
