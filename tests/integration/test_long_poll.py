"""``GET /import/{id}/status?wait=&since=`` for those who cannot have a WebSocket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import until

LONGER_THAN_ANY_TEST_S = 60
"""The client's own time-out is half of it: an answer that came only when the time was up would fail the test.

No slowness does: what is asked for is there at once, or the next file away.
"""


@pytest.fixture
def a_long_source(xiehe_today: SandboxProcess, tmp_path: Path) -> Path:
    """Twenty files."""
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(20)}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def poll(service: ServiceProcess, task_id: str, wait: float = LONGER_THAN_ANY_TEST_S, **query: int) -> dict[str, Any]:
    query_all, patience_s = {"wait": wait, **query}, LONGER_THAN_ANY_TEST_S / 2
    answer = service.http.get(f"/import/{task_id}/status", params=query_all, timeout=patience_s)
    status: dict[str, Any] = answer.raise_for_status().json()
    return status


def test_polling_from_change_to_change_sees_the_import_to_its_end(
    service_today: ServiceProcess, a_long_source: Path
) -> None:
    seen = [service_today.status(service_today.start_import(a_long_source))]
    while seen[-1]["completed_at"] is None:
        seen.append(poll(service_today, seen[-1]["task_id"], since=seen[-1]["seq"]))

    numbers = [status["seq"] for status in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1]["progress"]["new_images_uploaded"] == 20
    assert poll(service_today, seen[-1]["task_id"], since=numbers[-1]) == seen[-1]
    assert poll(service_today, seen[-1]["task_id"]) == seen[-1]


@pytest.fixture
def at_rest(service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path) -> dict[str, Any]:
    """A paused task of which nothing is under way: it does not change any more."""
    xiehe_today.hold("create_session", skip=3)
    task_id = service_today.start_import(a_long_source)
    xiehe_today.until_held("create_session")
    until(lambda: service_today.status(task_id)["progress"]["total_is_final"])
    service_today.http.post(f"/import/{task_id}/pause").raise_for_status()
    xiehe_today.clear_faults()
    service_today.begins_no_file()
    other = write_tree(a_long_source.with_name("other"), {"2024-02": {"P002": {"a.dcm": a_dicom_file("P002")}}})
    service_today.run(other)  # what was being written down before is written down after it
    return service_today.status(task_id)


def test_a_task_that_does_not_change_is_answered_when_the_time_is_up(
    service_today: ServiceProcess, at_rest: dict[str, Any]
) -> None:
    assert at_rest["status"] == "paused"
    assert poll(service_today, at_rest["task_id"], wait=1.0, since=at_rest["seq"]) == at_rest
    assert poll(service_today, at_rest["task_id"], wait=0.1) == at_rest
    assert poll(service_today, at_rest["task_id"], wait=0) == at_rest


def test_what_only_the_history_knows_is_answered_at_once(service_today: ServiceProcess, a_long_source: Path) -> None:
    done = service_today.run(a_long_source)
    service_today.stop()
    service_today.start()

    remembered = poll(service_today, done["task_id"], since=0)

    assert (remembered["result"], remembered["seq"]) == ("success", 0)


def test_a_service_that_stops_does_not_wait_for_those_who_wait(
    service_today: ServiceProcess, at_rest: dict[str, Any]
) -> None:
    task_id, seq = at_rest["task_id"], at_rest["seq"]
    with socket.create_connection(("127.0.0.1", service_today.port), timeout=LONGER_THAN_ANY_TEST_S / 2) as waiting:
        path = f"/import/{task_id}/status?wait={LONGER_THAN_ANY_TEST_S}&since={seq}"
        waiting.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        service_today.status(task_id)  # came later and was answered: the one before has been understood

        assert service_today.stop() == 0
        answer = waiting.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"status":"paused"' in answer


@pytest.mark.parametrize(
    "query", [{"wait": "-1"}, {"wait": "61"}, {"wait": "nan"}, {"wait": "soon"}, {"wait": "1", "since": "-1"}]
)
def test_odd_waits_are_refused(service_today: ServiceProcess, query: dict[str, str]) -> None:
    answer = service_today.http.get("/import/dicom-import-20240101-000000-00000000/status", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_nobody_waits_for_a_task_that_is_not_there(service_today: ServiceProcess) -> None:
    answer = service_today.http.get(
        "/import/dicom-import-20240101-000000-00000000/status", params={"wait": LONGER_THAN_ANY_TEST_S}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
