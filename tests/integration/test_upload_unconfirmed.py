"""C4: a session that stays COMPLETING can become an image hours later, so its image is never sent a second time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_client import RetryPolicy
from errors import UploadUnconfirmedError
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.api_client_scene import Scene, on, sandboxes, scene, sha
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import names
from tests.waiting import until

__all__ = ["sandboxes", "scene"]

STALLS = {"operation": "complete_session", "kind": "completion_stalls", "times": "forever", "match": "stalled"}


@pytest.fixture
def xiehe(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(4, tmp_path / "xiehe", lease_seconds=0.3) as process:
        yield process


@pytest.fixture
def service(xiehe: SandboxProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token)
    process.change_client(lease_total_s=1)
    with process:
        yield process


@pytest.fixture
def source(tmp_path: Path) -> Path:
    files = {name: a_dicom_file("P001", shade=number) for number, name in enumerate(["a.dcm", "stalled.dcm", "z.dcm"])}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def codes(service: ServiceProcess, task: dict[str, Any]) -> dict[str, str]:
    return {Path(row["source_path"]).stem: row["code"] for row in service.report(task["task_id"])}


def stalled_sessions(xiehe: SandboxProcess) -> list[str]:
    return [row["status"] for row in xiehe.sessions() if row["filename"] == "stalled.jpg"]


def open_intents(service: ServiceProcess) -> int:
    with closing(sqlite3.connect(service.folder / "data" / "history.sqlite3")) as connection:
        (found,) = connection.execute("SELECT COUNT(*) FROM intents").fetchone()
    return int(found)


def a_stalled_import(service: ServiceProcess, xiehe: SandboxProcess, source: Path) -> dict[str, Any]:
    xiehe.faults(STALLS)
    done = service.run(source)
    assert codes(service, done) == {"a": "uploaded", "stalled": "upload_unconfirmed", "z": "uploaded"}
    assert stalled_sessions(xiehe) == ["COMPLETING"]
    assert open_intents(service) == 1
    return done


def test_neither_an_import_nor_a_retry_nor_a_restart_opens_a_second_session(
    service: ServiceProcess, xiehe: SandboxProcess, source: Path
) -> None:
    done = a_stalled_import(service, xiehe, source)
    service.http.post(f"/import/{done['task_id']}/retry").raise_for_status()
    until(lambda: service.status(done["task_id"])["retried_by"] is not None)
    retried = service.wait(service.status(done["task_id"])["retried_by"])
    assert codes(service, retried) == {"stalled": "upload_unconfirmed"}
    service.kill()
    service.start()
    assert codes(service, service.run(source))["stalled"] == "upload_unconfirmed"
    assert stalled_sessions(xiehe) == ["COMPLETING"]

    assert xiehe.reconcile() == 1

    assert codes(service, service.run(source)) == dict.fromkeys(["a", "stalled", "z"], "duplicate")
    assert len(names(xiehe)) == 3 and open_intents(service) == 0


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_session_that_ended_without_an_image_is_followed_by_a_new_one(
    service: ServiceProcess, xiehe: SandboxProcess, source: Path, status: str
) -> None:
    a_stalled_import(service, xiehe, source)
    xiehe.reconcile(status)
    xiehe.clear_faults()
    assert codes(service, service.run(source))["stalled"] == "uploaded"
    assert stalled_sessions(xiehe) == [status, "COMPLETED"]
    assert len(names(xiehe)) == 3


def test_a_completion_that_works_again_is_taken_up_with_the_session_it_had(
    service: ServiceProcess, xiehe: SandboxProcess, source: Path
) -> None:
    done = a_stalled_import(service, xiehe, source)
    xiehe.clear_faults()
    child = service.http.post(f"/import/{done['task_id']}/retry").json()["task_id"]
    assert codes(service, service.wait(child)) == {"stalled": "uploaded"}
    assert stalled_sessions(xiehe) == ["COMPLETED"]
    assert len(names(xiehe)) == 3


def test_a_service_killed_while_it_waits_asks_the_same_session_again(
    service: ServiceProcess, xiehe: SandboxProcess, source: Path
) -> None:
    service.stop()
    service.change_client(lease_total_s=600)
    service.start()
    xiehe.faults(STALLS)
    task_id = service.start_import(source)
    until(lambda: stalled_sessions(xiehe) == ["COMPLETING"])
    service.kill()
    service.change_client(lease_total_s=1)
    service.start()
    done = service.wait(task_id)
    assert codes(service, done)["stalled"] == "upload_unconfirmed"
    assert stalled_sessions(xiehe) == ["COMPLETING"]
    xiehe.reconcile()
    assert codes(service, service.run(source))["stalled"] == "duplicate"
    assert len(names(xiehe)) == 3


@on(4)
async def test_the_client_says_that_it_is_open_and_finds_it_later(scene: Scene) -> None:
    patient, sessions = await scene.patient(), list[str | None]()

    async def on_begin(session_id: str | None) -> None:
        sessions.append(session_id)

    scene.sandbox.faults(STALLS)
    request = scene.picture("stalled.jpg", patient, b"late")
    async with scene.another_client(retry=_quick(scene)) as client:
        with pytest.raises(UploadUnconfirmedError):
            await client.upload(request, known_ids=frozenset(), on_begin=on_begin)
        for _ in range(2):
            with pytest.raises(UploadUnconfirmedError):
                await client.settle(scene.intent(request, sessions[0], age_s=1000.0), request.path)
        scene.sandbox.reconcile()
        receipt = await client.settle(scene.intent(request, sessions[0], age_s=1000.0), request.path)
    assert receipt is not None and receipt.found
    assert len(sessions) == 1
    assert scene.stored() == [("P001", "stalled.jpg", sha(b"late"))]


def _quick(scene: Scene) -> RetryPolicy:
    return replace(scene.options.retry, lease_total_s=0.5)
