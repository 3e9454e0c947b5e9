"""The HTTP API of the user's document, and what was added to it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TASK_ID = re.compile(r"dicom-import-\d{8}-\d{6}-[0-9a-f]{8}")
CONTRACT_FIELDS = {
    "task_id",
    "status",
    "source_path",
    "description",
    "created_at",
    "started_at",
    "completed_at",
    "duration_seconds",
    "progress",
    "errors",
}


@pytest.fixture
def a_source(tmp_path: Path) -> Path:
    return write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {
                "P001": {
                    "a.dcm": a_dicom_file(),
                    "broken.dcm": b"this is no DICOM at all",
                    "notes.txt": b"hello",
                    "Thumbs.db": b"x",
                },
            },
            "202402": {"P002": {"a.dcm": a_dicom_file("P002")}},
        },
    )


def test_health(service_today: ServiceProcess) -> None:
    body = service_today.http.get("/health").json()
    assert set(body) == {"status", "timestamp"}
    assert body["status"] == "healthy"
    assert TIME.fullmatch(body["timestamp"])


def test_start_answers_202_with_location(service_today: ServiceProcess, a_source: Path) -> None:
    answer = service_today.http.post("/import", json={"source_path": str(a_source), "description": "一月"})

    body = answer.json()
    assert answer.status_code == 202
    assert TASK_ID.fullmatch(body["task_id"])
    assert TIME.fullmatch(body["started_at"])
    assert body["status"] == "pending"
    assert {"task_id", "status", "message", "started_at"} <= set(body)
    assert answer.headers["location"] == f"/import/{body['task_id']}/status"


def test_status_has_the_fields_of_the_document(service_today: ServiceProcess, a_source: Path) -> None:
    done = service_today.run(a_source, description="一月")

    assert set(done) >= CONTRACT_FIELDS
    assert done["description"] == "一月"
    assert TIME.fullmatch(done["completed_at"])
    assert done["duration_seconds"] is not None
    assert done["progress"]["ignored_files"] == 2
    assert done["errors_total"] == 1
    (entry,) = done["errors"]
    assert set(entry) == {"file", "patient_id", "code", "error", "hint", "timestamp"}
    assert entry["code"] == "not_dicom"
    assert done["result"] == "partial"
    (skipped,) = done["skipped_folders"]
    assert skipped["path"].endswith("202402")
    assert "MONTH_FOLDER_FORMAT" in skipped["hint"]
    assert_closed(done["progress"])


def test_stats_are_flat_and_broken_down(service_today: ServiceProcess, a_source: Path) -> None:
    task_id = service_today.run(a_source)["task_id"]

    stats = service_today.http.get(f"/import/{task_id}/stats").json()

    assert stats["new_images_uploaded"] == 1
    assert {(row["outcome"], row["code"], row["files"]) for row in stats["by_code"]} == {
        ("uploaded", "uploaded", 1),
        ("failed", "not_dicom", 1),
    }
    assert stats["by_month"] == [{"month": "2024-01", "scanned": 2, "uploaded": 1, "duplicate": 0, "failed": 1}]
    assert stats["stage_seconds"]


def test_tasks_are_listed_newest_first_and_paged(service_today: ServiceProcess, a_source: Path) -> None:
    ids = [service_today.run(a_source)["task_id"] for _ in range(3)]

    body = service_today.http.get("/import/tasks", params={"limit": 2}).json()

    assert body["total"] == 3
    assert [task["task_id"] for task in body["tasks"]] == ids[::-1][:2]


def test_report_in_three_forms(service_today: ServiceProcess, a_source: Path) -> None:
    task_id = service_today.run(a_source)["task_id"]
    url = f"/import/{task_id}/report"

    lines = service_today.http.get(url).text.splitlines()
    array = service_today.http.get(url, params={"format": "json"}).json()
    text = service_today.http.get(url, params={"format": "csv"}).text
    table = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))

    assert [json.loads(line) for line in lines] == array
    assert [row["source_path"] for row in table] == [row["source_path"] for row in array]
    assert {row["outcome"] for row in array} == {"uploaded", "failed"}
    assert {row["code"] for row in service_today.report(task_id, include="ignored")} >= {"junk", "not_dicom"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"source_path": "/no/such/folder"}, 400, "source_not_found"),
        ({"source_path": __file__}, 400, "source_not_found"),
        ({}, 400, "source_not_found"),
        ({"source_path": 5}, 422, "invalid_request"),
        ({"sourcepath": "/x"}, 422, "invalid_request"),
        ({"source_path": "/x", "window_center": 40}, 422, "invalid_request"),
        ({"source_path": "/x", "on_patient_mismatch": "guess"}, 422, "invalid_request"),
    ],
)
def test_bad_orders_are_problem_documents(
    service_today: ServiceProcess, body: dict[str, object], status: int, code: str
) -> None:
    answer = service_today.http.post("/import", json=body)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert re.search("[\u4e00-\u9fff]", problem["detail"])


def test_unknown_task_is_404(service_today: ServiceProcess) -> None:
    for path in ("status", "stats", "report"):
        answer = service_today.http.get(f"/import/dicom-import-20240101-000000-00000000/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")


def test_source_outside_the_roots_is_403_whether_it_exists_or_not(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    (tmp_path / "elsewhere").mkdir()
    (root / "sneaky").symlink_to(tmp_path / "elsewhere")
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, dicom_source_path=root
    ) as service:
        for path in (tmp_path / "elsewhere", tmp_path / "nothing", root / "..", root / "sneaky"):
            answer = service.http.post("/import", json={"source_path": str(path)})
            assert (answer.status_code, answer.json()["code"]) == (403, "source_not_allowed")
        assert service.run()["progress"]["new_images_uploaded"] == 1


def test_month_and_patient_folders_are_sources(service_today: ServiceProcess, a_source: Path) -> None:
    month = service_today.run(a_source / "2024-01")
    patient = service_today.run(a_source / "2024-01" / "P001")

    assert month["progress"]["new_images_uploaded"] == 1
    assert patient["progress"]["duplicate_images_skipped"] == 1
    assert month["skipped_folders"] == []


def test_nothing_fitting_is_said_and_not_a_success(service_today: ServiceProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"P001": {"a.dcm": a_dicom_file()}})

    done = service_today.run(source)

    assert (done["status"], done["result"]) == ("completed", "failed")
    (warning,) = done["warnings"]
    assert warning["code"] == "nothing_fits"
    assert "P001" in warning["message"]


def test_empty_month_is_a_success(service_today: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "dicom" / "2024-01").mkdir(parents=True)

    done = service_today.run(tmp_path / "dicom")

    assert (done["status"], done["result"], done["warnings"]) == ("completed", "success", [])


def test_misplaced_dicom_is_a_failure(service_today: ServiceProcess, tmp_path: Path) -> None:
    month: Tree = {"b": a_dicom_file(), "P001": {"c": a_dicom_file()}}
    tree: Tree = {"a.dcm": a_dicom_file(), "readme.txt": b"x", "2024-01": month}

    done = service_today.run(write_tree(tmp_path / "dicom", tree))

    assert [entry["code"] for entry in done["errors"]] == ["misplaced_file", "misplaced_file"]
    assert done["progress"]["new_images_uploaded"] == 1
    assert done["progress"]["ignored_files"] == 1


def test_status_answers_while_an_import_runs_and_a_second_one_of_the_same_source_is_refused(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    xiehe_today.hold("create_session", skip=3)
    files = {f"{number}.dcm": a_dicom_file() for number in range(30)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    task_id = service_today.start_import(source)

    xiehe_today.until_held("create_session")
    answer = service_today.http.post("/import", json={"source_path": str(source / "2024-01")})
    running = service_today.status(task_id)
    xiehe_today.clear_faults()
    done = service_today.wait(task_id)

    assert (answer.status_code, answer.json()["code"]) == (409, "source_busy")
    assert task_id in answer.json()["detail"]
    assert running["completed_at"] is None
    assert running["duration_seconds"] is None
    assert running["result"] is None
    assert done["progress"]["new_images_uploaded"] == 30


def test_history_outlives_the_service(service_today: ServiceProcess, a_source: Path) -> None:
    before = service_today.run(a_source)
    report = service_today.report(before["task_id"])
    service_today.stop()
    service_today.start()

    after = service_today.status(before["task_id"])

    remembered = {"files_found": 0}
    assert after["progress"] | remembered == before["progress"] | remembered
    assert after["errors"] == before["errors"]
    assert after["result"] == before["result"]
    assert service_today.report(before["task_id"]) == report


def test_window_of_the_request_is_used_and_told(service_today: ServiceProcess, a_source: Path) -> None:
    done = service_today.run(a_source, window_center=300, window_width=200)

    (row,) = [row for row in service_today.report(done["task_id"]) if row["outcome"] == "uploaded"]
    assert (row["window_center"], row["window_width"], row["window_source"]) == (300, 200, "request")


def test_service_says_what_it_is(service_today: ServiceProcess) -> None:
    assert "POST /import" in service_today.http.get("/").json()["routes"]
    assert service_today.http.get("/openapi.json").json()["paths"]
    assert service_today.http.get("/nowhere").json()["code"] == "route_not_found"


def test_readiness_names_each_dependency(service_today: ServiceProcess, xiehe_today: SandboxProcess) -> None:
    fine = service_today.http.get("/health/ready")
    assert (fine.status_code, fine.json()["contract"]) == (200, "C4")
    xiehe_today.stop()

    broken = service_today.http.get("/health/ready")

    assert broken.status_code == 503
    assert [check["name"] for check in broken.json()["checks"] if not check["ok"]] == ["xiehe"]


def test_retry_of_what_did_not_fail_is_refused_and_starts_nothing(
    service_today: ServiceProcess, tmp_path: Path
) -> None:
    source = write_tree(
        tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(), "b.dcm": a_dicom_file("P9")}}}
    )
    task_id = service_today.run(source)["task_id"]
    retry = f"/import/{task_id}/retry"

    misspelt = service_today.http.post(retry, json={"code": "pateint_mismatch"})
    of_none = service_today.http.post(retry, json={"code": "render_timeout"})

    assert misspelt.status_code == 422
    assert (of_none.status_code, of_none.json()["code"]) == (409, "nothing_to_retry")
    assert service_today.http.get("/import/tasks").json()["total"] == 1
    assert service_today.http.post(retry, json={"code": "patient_mismatch"}).status_code == 202
