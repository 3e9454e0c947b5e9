"""Watching imports over WebSockets, as dashboards and scripts do."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import PATIENCE_S, until

FILES = 40
UNKNOWN = "dicom-import-20240101-000000-00000000"
KEY = "a-service-key"


@pytest.fixture
def a_long_source(xiehe_today: SandboxProcess, tmp_path: Path) -> Path:
    """Forty files, and a XieHe that holds all but the first few back until it is told to go on."""
    xiehe_today.hold("create_session", skip=6)
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(FILES)}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


@contextmanager
def watching(service: ServiceProcess, path: str, **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{service.port}{path}", proxy=None, max_size=None, **options) as client:
        yield client


def told(client: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(client.recv(timeout=PATIENCE_S))
    return message


def all_told(client: ClientConnection) -> list[dict[str, Any]]:
    """Everything until the service closes."""
    messages = []
    with pytest.raises(ConnectionClosed):
        while True:
            messages.append(told(client))
    return messages


def close_code(client: ClientConnection) -> int | None:
    all_told(client)
    return client.close_code


def test_an_import_is_watched_from_snapshot_to_end(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    until(lambda: service_today.status(task_id)["progress"]["total_files_scanned"])
    began = time.monotonic()
    with watching(service_today, f"/import/{task_id}/ws") as client:
        snapshot = told(client)
        xiehe_today.clear_faults()
        *events, end = all_told(client)
    seconds = time.monotonic() - began

    assert (client.close_code, client.close_reason) == (1000, "end")
    assert snapshot["type"] == "snapshot"
    assert end == {"type": "end", "task_id": task_id}
    assert {(event["type"], event["task_id"]) for event in events} == {("task", task_id)}
    numbers = [snapshot["seq"], *(event["seq"] for event in events)]
    assert numbers == sorted(set(numbers))
    scanned = [message["task"]["progress"]["total_files_scanned"] for message in (snapshot, *events)]
    assert scanned == sorted(scanned)
    assert any(0 < done < FILES for done in scanned)
    assert len(events) <= 4 * seconds + 2
    assert events[-1]["task"] == service_today.status(task_id)
    assert events[-1]["task"]["progress"]["new_images_uploaded"] == FILES
    assert all(message["task"]["seq"] == message["seq"] for message in (snapshot, *events))


def test_those_who_watch_all_tasks_hear_of_new_ones(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    xiehe_today.clear_faults()
    with watching(service_today, "/import/ws") as one, watching(service_today, "/import/ws") as other:
        assert [told(client) for client in (one, other)] == [{"type": "snapshot", "tasks": []}] * 2
        task_id = service_today.start_import(a_long_source)
        last = [the_last_of(client, task_id) for client in (one, other)]

    assert [state["status"] for state in last] == ["completed"] * 2
    assert last == [service_today.status(task_id)] * 2


def the_last_of(client: ClientConnection, task_id: str) -> dict[str, Any]:
    while (message := told(client))["type"] == "heartbeat" or message["task"]["completed_at"] is None:
        assert message.get("task_id", task_id) == task_id
    state: dict[str, Any] = message["task"]
    return state


def test_pause_and_resume_are_seen_at_once(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    with watching(service_today, f"/import/{task_id}/ws") as client:
        service_today.wait(task_id, "running")
        service_today.http.post(f"/import/{task_id}/pause").raise_for_status()
        states = [told(client)["task"]["status"]]
        while states[-1] != "paused":
            states.append(told(client)["task"]["status"])
        with watching(service_today, "/import/ws") as late:
            (shown,) = told(late)["tasks"]
        xiehe_today.clear_faults()
        service_today.http.post(f"/import/{task_id}/resume").raise_for_status()
        *events, _ = all_told(client)

    assert (shown["task_id"], shown["status"]) == (task_id, "paused")
    assert {event["task"]["status"] for event in events} <= {"paused", "running", "completed"}
    assert events[-1]["task"]["status"] == "completed"


def test_a_task_that_only_the_history_knows_is_told_and_ends(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    xiehe_today.clear_faults()
    task_id = service_today.run(a_long_source)["task_id"]
    service_today.stop()
    service_today.start()

    with watching(service_today, f"/import/{task_id}/ws") as client:
        snapshot, end = all_told(client)

    assert snapshot["task"] == service_today.status(task_id)
    assert (end["type"], client.close_code) == ("end", 1000)


def test_a_service_that_stops_says_so_to_those_who_watch(service_today: ServiceProcess, a_long_source: Path) -> None:
    task_id = service_today.start_import(a_long_source)
    service_today.wait(task_id, "running")
    with (
        watching(service_today, f"/import/{task_id}/ws") as one,
        watching(service_today, "/import/ws") as other,
    ):
        assert told(one)["type"] == told(other)["type"] == "snapshot"
        assert service_today.stop() == 0
        assert (close_code(one), close_code(other)) == (1001, 1001)


def test_unknown_tasks_have_nothing_to_watch(service_today: ServiceProcess) -> None:
    with watching(service_today, f"/import/{UNKNOWN}/ws") as client:
        assert close_code(client) == 4404
        assert client.close_reason == "task_not_found"


def test_the_first_message_has_to_bring_the_key(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    wrong: list[str | bytes] = [
        '{"type":"auth","key":"guess"}',
        '{"type":"auth"}',
        "[" * 2000,
        "密钥",
        b"\x00",
        f'"{KEY}"',
    ]
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, service_api_key=KEY
    ) as service:
        for message in wrong:
            with watching(service, "/import/ws", additional_headers={"X-API-Key": KEY}) as client:
                client.send(message)
                assert close_code(client) == 4401, message
        with watching(service, f"/import/{UNKNOWN}/ws?key={KEY}") as client:
            client.send(wrong[0])
            assert close_code(client) == 4401
        with watching(service, "/import/ws") as client:
            client.send(json.dumps({"type": "auth", "key": KEY}))
            assert told(client) == {"type": "snapshot", "tasks": []}
        assert KEY not in service.log.read_text()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_from_elsewhere_may_not_watch(service_today: ServiceProcess, origin: str) -> None:
    with watching(service_today, "/import/ws", origin=origin) as client:
        assert (close_code(client), client.close_reason) == (4403, "origin_not_allowed")


def test_own_page_and_named_origins_may_watch(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    admin = "http://admin.hospital:3000"
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, cors_origins=admin
    ) as service:
        for origin in (admin, f"http://127.0.0.1:{service.port}", f"https://127.0.0.1:{service.port}", None):
            with watching(service, "/import/ws", origin=origin) as client:
                assert told(client)["type"] == "snapshot"


def test_foreign_host_names_may_not_watch(service_today: ServiceProcess) -> None:
    here = socket.create_connection(("127.0.0.1", service_today.port))
    with connect(f"ws://evil.example:{service_today.port}/import/ws", sock=here) as client:
        assert (close_code(client), client.close_reason) == (4403, "host_not_allowed")
