"""Pause, resume, cancel, and the pauses that come and go by themselves."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, names
from tests.waiting import until

FILES = 40
FIRST = 6
"""Sessions that XieHe opens before it holds the others back; one is the service's question for the contract."""


@pytest.fixture
def render_processes() -> int:
    """Several files are under way at each order."""
    return 2


@pytest.fixture
def a_long_source(xiehe_today: SandboxProcess, tmp_path: Path) -> Path:
    """Forty files, and a XieHe that holds all but the first few back until it is told to go on."""
    xiehe_today.hold("create_session", skip=FIRST)
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(FILES)}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def post(service: ServiceProcess, task_id: str, operation: str) -> int:
    return service.http.post(f"/import/{task_id}/{operation}").status_code


def well_begun(service: ServiceProcess, xiehe: SandboxProcess, task_id: str) -> None:
    """Returns once some files are done, and the next ones are at XieHe."""
    until(lambda: service.status(task_id)["progress"]["total_files_scanned"])
    xiehe.until_held("create_session")


def lives_through_another_import(service: ServiceProcess, other: Path) -> None:
    """Returns when what was under way is done, and another import has been begun and ended since."""
    service.begins_no_file()
    source = write_tree(other, {"2024-02": {"P002": {"other.dcm": a_dicom_file("P002")}}})
    assert service.run(source)["progress"]["new_images_uploaded"] == 1


def test_pause_begins_no_other_file_and_resume_goes_on(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path, tmp_path: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    well_begun(service_today, xiehe_today, task_id)

    assert post(service_today, task_id, "pause") == 202
    xiehe_today.clear_faults()
    lives_through_another_import(service_today, tmp_path / "other")
    at_rest = service_today.status(task_id)["progress"]
    assert service_today.status(task_id)["pause_reason"] == "user"
    assert_closed(at_rest)
    assert at_rest["total_files_scanned"] < FILES
    assert post(service_today, task_id, "pause") == 409

    assert post(service_today, task_id, "resume") == 202
    done = service_today.wait(task_id)
    assert done["progress"]["new_images_uploaded"] == FILES
    assert len(names(xiehe_today)) == FILES + 1


def test_pause_outlives_a_restart(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    well_begun(service_today, xiehe_today, task_id)
    assert post(service_today, task_id, "pause") == 202
    xiehe_today.clear_faults()
    service_today.begins_no_file()
    service_today.kill()
    service_today.start()

    status = service_today.status(task_id)
    assert (status["status"], status["pause_reason"]) == ("paused", "user")

    post(service_today, task_id, "resume")
    assert service_today.wait(task_id)["progress"]["new_images_uploaded"] == FILES
    assert len(names(xiehe_today)) == FILES


def test_cancel_ends_it_and_retry_is_all_that_is_left(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    well_begun(service_today, xiehe_today, task_id)

    assert post(service_today, task_id, "cancel") == 202
    xiehe_today.clear_faults()
    status = service_today.wait_for_rest(task_id)

    assert status["status"] == "cancelled"
    assert_closed(status["progress"])
    assert status["progress"]["new_images_uploaded"] <= len(names(xiehe_today)) < FILES
    refused = service_today.http.post(f"/import/{task_id}/resume")
    assert refused.status_code == 409
    assert "retry" in refused.json()["detail"]

    again = service_today.run(a_long_source)
    assert again["progress"]["failed_files"] == 0
    assert len(names(xiehe_today)) == FILES


def test_completed_tasks_cannot_be_steered(service_today: ServiceProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    task_id = service_today.run(source)["task_id"]

    for operation in ("pause", "resume", "cancel"):
        assert post(service_today, task_id, operation) == 409
    assert post(service_today, "dicom-import-20240101-000000-00000000", "pause") == 404


def test_backend_that_is_down_pauses_the_task_and_fails_no_file(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    xiehe_today.until_held("create_session")
    xiehe_today.stop()
    paused = service_today.wait(task_id, "paused")
    assert paused["pause_reason"] == "backend_unavailable"
    assert paused["progress"]["failed_files"] == 0

    xiehe_today.start()
    done = service_today.wait(task_id)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0)
    assert len(names(xiehe_today)) == FILES


def test_wrong_token_pauses_and_a_new_one_in_env_goes_on(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / ".env").write_text("API_TOKEN=not-a-good-one\n")
    with ServiceProcess(folder, xiehe_today.url) as service:
        task_id = service.start_import(source)
        paused = service.wait(task_id, "paused")
        assert paused["pause_reason"] == "backend_auth"
        assert any("API_TOKEN" in note["message"] for note in paused["warnings"])
        assert "not-a-good-one" not in service.log.read_text()

        (folder / ".env").write_text(f"API_TOKEN={xiehe_today.token}\n")
        service.http.post(f"/import/{task_id}/resume")
        done = service.wait(task_id)

        assert done["result"] == "success"


def test_masked_refusals_of_different_files_pause_instead_of_failing_all(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults({"operation": "create_session", "kind": "status", "status": 500, "times": 60})
    files = {f"{number}.dcm": a_dicom_file() for number in range(6)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    done = service_today.run(source)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done
    assert len(names(xiehe_today)) == 6


def test_one_file_that_xiehe_never_takes_fails_alone(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults(
        {"operation": "create_session", "kind": "status", "status": 500, "times": "forever", "match": "bad.jpg"}
    )
    files = {f"{name}.dcm": a_dicom_file() for name in ("a", "bad", "c")}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    done = service_today.run(source)

    assert [entry["code"] for entry in done["errors"]] == ["upload_rejected"]
    assert len(names(xiehe_today)) == 2
    xiehe_today.clear_faults()
    child = service_today.http.post(f"/import/{done['task_id']}/retry").json()["task_id"]
    assert service_today.wait(child)["result"] == "success"
    assert len(names(xiehe_today)) == 3


def test_outside_the_active_hours_a_task_waits_and_says_so(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=3)
    hours = f"{later:%H:%M}-{later + timedelta(hours=2):%H:%M}"
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, active_hours=hours, timezone="UTC"
    ) as service:
        waiting = service.status(service.start_import(source))
        assert (waiting["status"], waiting["pause_reason"]) == ("pending", "outside_active_hours")
        assert any(hours in note["message"] for note in waiting["warnings"])
        service.http.post(f"/import/{waiting['task_id']}/cancel")

        assert service.run(source, run_now=True)["result"] == "success"


def test_source_that_vanishes_pauses_the_task(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    task_id = service_today.start_import(a_long_source)
    xiehe_today.until_held("create_session")
    hidden = a_long_source.with_name("unmounted")
    os.rename(a_long_source, hidden)
    xiehe_today.clear_faults()

    paused = service_today.wait(task_id, "paused")
    assert paused["pause_reason"] == "source_missing"
    os.rename(hidden, a_long_source)
    done = service_today.wait(task_id)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done["errors"]
    assert len(names(xiehe_today)) == FILES
