"""XieHe's object storage fails while log-in and lists work; files that fail alone; what a proxy answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, names
from tests.waiting import until

FILES = 12
STORAGE_DOWN: tuple[dict[str, Any], ...] = tuple(
    {"operation": operation, "kind": "storage_fault", "times": "forever"}
    for operation in ("create_session", "put_part", "complete_session")
)


def a_source(folder: Path, *files: str, patient: str = "P001") -> Path:
    tree = {name: a_dicom_file(patient, shade=number) for number, name in enumerate(files)}
    return write_tree(folder, {"2024-01": {patient: tree}})


def some_files(prefix: str = "") -> list[str]:
    return [f"{prefix}{number:02d}.dcm" for number in range(FILES)]


def looks(xiehe: SandboxProcess) -> int:
    """How often the service has asked whether log-in works."""
    return len(xiehe.requests("me"))


def test_storage_that_is_down_costs_few_sessions_though_log_in_and_lists_work(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults(*STORAGE_DOWN)
    task_id = service_today.start_import(a_source(tmp_path / "dicom", *some_files()))
    paused = service_today.wait(task_id, "paused")
    assert any("图像上传恢复" in notice["message"] for notice in paused["warnings"])
    at_pause, seen = len(xiehe_today.sessions("FAILED")), looks(xiehe_today)

    until(lambda: looks(xiehe_today) >= seen + 25)

    resting = service_today.status(task_id)
    assert (resting["status"], resting["pause_reason"]) == ("paused", "backend_unavailable")
    ready = service_today.http.get("/health/ready")
    assert ready.status_code == 503 and "图像上传" in ready.text
    assert at_pause <= FILES * 5  # five attempts of each upload that was under way
    assert len(xiehe_today.sessions("FAILED")) - at_pause <= 12  # ever rarer: 0.2 s, 0.4 s, 0.8 s ...
    xiehe_today.clear_faults()

    done = service_today.wait(task_id)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done["errors"]
    assert_closed(done["progress"])
    assert len(names(xiehe_today)) == FILES == len(xiehe_today.sessions("COMPLETED"))


def test_storage_that_is_mended_is_noticed_at_once_by_a_resume(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    settings = {"api_token": xiehe_today.token, "backend_probe_seconds": 300}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        xiehe_today.faults(*STORAGE_DOWN)
        task_id = service.start_import(a_source(tmp_path / "dicom", *some_files()))
        service.wait(task_id, "paused")
        service.http.post(f"/import/{task_id}/resume").raise_for_status()
        service.wait(task_id, "paused")  # still down
        xiehe_today.clear_faults()
        service.http.post(f"/import/{task_id}/resume").raise_for_status()
        assert service.wait(task_id)["result"] == "success"
    assert len(names(xiehe_today)) == FILES


def test_a_task_that_waits_for_the_storage_can_be_cancelled(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults(*STORAGE_DOWN)
    task_id = service_today.start_import(a_source(tmp_path / "dicom", *some_files()))
    service_today.wait(task_id, "paused")
    service_today.http.post(f"/import/{task_id}/cancel").raise_for_status()
    until(lambda: service_today.status(task_id)["completed_at"] is not None)
    assert service_today.status(task_id)["progress"]["new_images_uploaded"] == 0


def test_two_tasks_that_wait_for_the_storage_go_on_together(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults(*STORAGE_DOWN)
    sources = [a_source(tmp_path / name, *some_files(name), patient=name) for name in ("A", "B")]
    tasks = [service_today.start_import(source) for source in sources]
    for task_id in tasks:
        service_today.wait(task_id, "paused")
    at_pause, seen = len(xiehe_today.sessions("FAILED")), looks(xiehe_today)
    until(lambda: looks(xiehe_today) >= seen + 10)
    assert len(xiehe_today.sessions("FAILED")) - at_pause <= 12
    xiehe_today.clear_faults()
    assert [service_today.wait(task_id)["result"] for task_id in tasks] == ["success"] * 2
    assert len(names(xiehe_today)) == 2 * FILES


def test_a_restart_in_an_outage_begins_with_one_upload(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults(*STORAGE_DOWN)
    task_id = service_today.start_import(a_source(tmp_path / "dicom", *some_files()))
    service_today.wait(task_id, "paused")
    service_today.kill()
    before = len(xiehe_today.sessions("FAILED"))
    service_today.start()
    service_today.wait(task_id, "paused")
    assert len(xiehe_today.sessions("FAILED")) - before <= 5 + 4  # one file's attempts, and probes since
    xiehe_today.clear_faults()
    assert service_today.wait(task_id)["result"] == "success"
    assert len(names(xiehe_today)) == FILES


@pytest.mark.parametrize("kind", ["status", "html_error", "storage_fault"])
@pytest.mark.parametrize("bad", [["bad-0.dcm"], ["bad-0.dcm", "bad-1.dcm"], [f"zbad-{n}.dcm" for n in range(5)]])
def test_files_whose_sessions_are_never_made_fail_alone(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path, kind: str, bad: list[str]
) -> None:
    """Also where they are the last of the import, so that no other file can show that uploads work."""
    rule = {"operation": "create_session", "kind": kind, "status": 502, "times": "forever", "match": "bad-"}
    xiehe_today.faults(rule)
    good = ["a.dcm", "c.dcm", "n.dcm"]

    done = service_today.run(a_source(tmp_path / "dicom", *good, *bad))

    rows = {Path(row["source_path"]).name: row["code"] for row in service_today.report(done["task_id"])}
    assert rows == dict.fromkeys(good, "uploaded") | dict.fromkeys(bad, "upload_rejected")
    assert len(names(xiehe_today)) == len(good)
    again = service_today.http.post(f"/import/{done['task_id']}/retry").json()["task_id"]  # nothing but bad ones
    assert service_today.wait(again)["progress"]["failed_files"] == len(bad)


@pytest.mark.parametrize("contract", [1, 3])
def test_a_lone_file_that_is_never_taken_ends_where_no_session_can_be_tried(contract: int, tmp_path: Path) -> None:
    operation = "upload_single" if contract == 1 else "create_session"
    with (
        SandboxProcess(contract, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        xiehe.faults({"operation": operation, "kind": "status", "status": 500, "times": "forever", "match": "bad"})
        done = service.run(a_source(tmp_path / "dicom", "a.dcm", "bad.dcm"))
        codes = sorted(row["code"] for row in service.report(done["task_id"]))
        assert codes == ["upload_rejected", "uploaded"]
        assert [name for _, name in names(xiehe)] == ["a.jpg"]


def test_a_proxy_that_answers_404_for_a_dead_backend_costs_time_and_no_file(tmp_path: Path) -> None:
    """C1's nginx: its error page names a file that is nowhere."""
    with (
        SandboxProcess(1, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        xiehe.faults({"operation": "any", "kind": "html_error", "status": 404, "times": "forever"})
        task_id = service.start_import(a_source(tmp_path / "dicom", *some_files()))
        paused = service.wait(task_id, "paused")
        assert paused["pause_reason"] == "backend_unavailable"
        ready = service.http.get("/health/ready").json()
        assert "代理" in next(check["detail"] for check in ready["checks"] if check["name"] == "xiehe")
        xiehe.clear_faults()
        done = service.wait(task_id)
        assert (done["result"], done["progress"]["failed_files"]) == ("success", 0)
        assert len(names(xiehe)) == FILES


@pytest.mark.parametrize("operation", ["search_patients", "list_images", "upload_single"])
def test_a_proxys_404_within_an_import_on_c1_loses_and_doubles_nothing(operation: str, tmp_path: Path) -> None:
    with (
        SandboxProcess(1, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        rule = {"operation": operation, "kind": "html_error", "status": 404, "times": 7, "skip": 2}
        xiehe.faults(rule)
        done = service.run(a_source(tmp_path / "dicom", *some_files()))
        assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done["errors"]
        assert len(names(xiehe)) == FILES


def test_a_redirect_to_https_is_told_to_the_operator(
    xiehe_today: SandboxProcess, service_today: ServiceProcess, tmp_path: Path
) -> None:
    xiehe_today.faults({"operation": "any", "kind": "redirect", "times": "forever"})
    task_id = service_today.start_import(a_source(tmp_path / "dicom", "a.dcm"))
    service_today.wait(task_id, "paused")
    ready = service_today.http.get("/health/ready").json()
    assert "https://" in next(check["detail"] for check in ready["checks"] if check["name"] == "xiehe")
    xiehe_today.clear_faults()
    assert service_today.wait(task_id)["result"] == "success"


@pytest.mark.parametrize("contract", [1, 3, 4])
def test_a_body_that_a_proxy_does_not_let_pass_is_told_by_the_proxys_setting(contract: int, tmp_path: Path) -> None:
    operation = "upload_single" if contract == 1 else "put_part"
    with (
        SandboxProcess(contract, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        rule = {"operation": operation, "kind": "html_error", "status": 413, "times": "forever", "match": "large"}
        xiehe.faults(rule)
        done = service.run(a_source(tmp_path / "dicom", "a.dcm", "large.dcm"))
        failed = [row for row in service.report(done["task_id"]) if row["outcome"] == "failed"]
        assert [row["code"] for row in failed] == ["upload_rejected"]
        assert "client_max_body_size" in failed[0]["detail"]
        if contract == 4:
            assert len([row for row in xiehe.sessions() if "large" in row["filename"]]) == 2  # one for each chance
