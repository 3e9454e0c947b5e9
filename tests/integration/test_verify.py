"""POST /import/{id}/verify: is everything that a task brought really in XieHe?"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import until

NOTHING = {"ok": 0, "ok_present": 0, "missing": 0, "differs": 0}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three patients, one with a film of three frames: five files, seven images, and a broken file."""
    return write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {
                "P001": {
                    "a.dcm": a_dicom_file(shade=1),
                    "b.dcm": a_dicom_file(shade=2),
                    "cut.dcm": a_dicom_file()[:700],
                },
                "P002": {"film.dcm": a_dicom_file("P002", frames=3), "c.dcm": a_dicom_file("P002", shade=4)},
            },
            "2024-02": {"P003": {"a.dcm": a_dicom_file("P003", shade=5)}},
        },
    )


def verified(service: ServiceProcess, task_id: str) -> dict[str, Any]:
    """Starts a verification and returns it when it has ended."""
    answer = service.http.post(f"/import/{task_id}/verify")
    assert (answer.status_code, answer.json()["status"]) == (202, "running"), answer.text
    return ended(service, task_id)


def ended(service: ServiceProcess, task_id: str) -> dict[str, Any]:
    until(lambda: state(service, task_id)["status"] != "running")
    return state(service, task_id)


def state(service: ServiceProcess, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get(f"/import/{task_id}/verify").raise_for_status().json()
    return found


def results(found: dict[str, Any]) -> dict[str, int]:
    """The sums that are not 0."""
    assert found["status"] == "completed", found
    assert found["images_checked"] == found["images_total"] == sum(found[name] for name in NOTHING)
    return {name: found[name] for name in NOTHING if found[name]}


def rows(service: ServiceProcess, task_id: str, **query: str) -> list[dict[str, Any]]:
    answer = service.http.get(f"/import/{task_id}/verify/report", params={"format": "json", **query})
    listed: list[dict[str, Any]] = answer.raise_for_status().json()
    return listed


def present(xiehe: SandboxProcess) -> str:
    """The best that can be said by each contract of an image that is there: C1 and C2 tell nothing of its content."""
    return "ok" if xiehe.contract >= 3 else "ok_present"


def image_id(xiehe: SandboxProcess, patient_id: str, name: str) -> int:
    (found,) = [
        image for image in xiehe.state()["images"] if (image["patient_id"], image["filename"]) == (patient_id, name)
    ]
    return int(found["id"])


def exchange(xiehe: SandboxProcess, patient_id: str, name: str, content: bytes) -> None:
    """Somebody puts another picture in the place of ours."""
    patient_row = next(row["id"] for row in xiehe.state()["patients"] if row["patient_id"] == patient_id)
    xiehe.delete_image(image_id(xiehe, patient_id, name))
    with RawClient(xiehe) as raw:
        raw.upload(name, patient_row, content).raise_for_status()


def test_everything_is_there_after_an_import(service: ServiceProcess, xiehe: SandboxProcess, source: Path) -> None:
    task = service.run(source)
    assert task["progress"]["failed_files"] == 1
    task_id = task["task_id"]
    assert state(service, task_id) == {
        "task_id": task_id,
        "status": "none",
        "started_at": None,
        "completed_at": None,
        "images_total": 0,
        "images_checked": 0,
        **NOTHING,
        "detail": None,
    }
    assert rows(service, task_id) == []
    assert results(verified(service, task_id)) == {present(xiehe): 7}
    frames = [(row["upload_filename"], row["frame"]) for row in rows(service, task_id) if "film" in row["source_path"]]
    assert frames == [("film-0001.jpg", 1), ("film-0002.jpg", 2), ("film-0003.jpg", 3)]
    again = service.run(source)
    assert results(verified(service, again["task_id"])) == {present(xiehe): 7}


def test_what_was_deleted_or_exchanged_is_told(service: ServiceProcess, xiehe: SandboxProcess, source: Path) -> None:
    task_id = service.run(source)["task_id"]
    kept = {row["upload_filename"]: row["jpg_path"] for row in service.report(task_id) if row["patient_id"] == "P001"}
    ours = Path(kept["b.jpg"]).read_bytes()
    xiehe.delete_image(image_id(xiehe, "P002", "film-0002.jpg"))
    exchange(xiehe, "P001", "a.jpg", b"another picture of another size")
    exchange(xiehe, "P001", "b.jpg", ours[:-1] + bytes([ours[-1] ^ 1]))
    patient_row = next(row["id"] for row in xiehe.state()["patients"] if row["patient_id"] == "P003")
    xiehe.soft_delete_patient(patient_row)

    found = results(verified(service, task_id))

    same_size = "differs" if xiehe.contract >= 3 else "ok_present"
    expected = Counter({present(xiehe): 3, "missing": 2, "differs": 1}) + Counter({same_size: 1})
    assert found == dict(expected)
    by_file = {(row["patient_id"], row["upload_filename"]): row for row in rows(service, task_id)}
    assert by_file["P002", "film-0002.jpg"]["result"] == "missing"
    assert by_file["P001", "a.jpg"]["result"] == "differs"
    assert by_file["P001", "b.jpg"]["result"] == same_size
    assert "P003" in by_file["P003", "a.jpg"]["detail"]
    assert by_file["P003", "a.jpg"]["result"] == "missing"


def test_content_is_compared_by_what_the_index_keeps_not_by_the_jpg(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    paths = {row["upload_filename"]: row["jpg_path"] for row in service_today.report(task_id) if row["jpg_path"]}
    Path(paths["b.jpg"]).unlink()
    Path(paths["c.jpg"]).write_bytes(b"somebody wrote over it")
    assert results(verified(service_today, task_id)) == {"ok": 7}


def test_content_of_an_upload_by_version_0_3_0_is_compared_by_the_jpg_if_it_was_kept(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    paths = {row["upload_filename"]: row["jpg_path"] for row in service_today.report(task_id) if row["jpg_path"]}
    service_today.stop()
    with closing(sqlite3.connect(service_today.folder / "data" / "history.sqlite3")) as history:
        history.execute("UPDATE images SET storage_etag = NULL")
        history.commit()
    service_today.start()
    Path(paths["b.jpg"]).unlink()
    Path(paths["c.jpg"]).write_bytes(b"somebody wrote over it")
    assert results(verified(service_today, task_id)) == {"ok": 5, "ok_present": 2}
    assert {row["upload_filename"] for row in rows(service_today, task_id, result="ok_present")} == {"b.jpg", "c.jpg"}


def test_content_is_compared_without_kept_pictures(xiehe_today: SandboxProcess, source: Path, tmp_path: Path) -> None:
    settings = {"api_token": xiehe_today.token, "keep_jpg": "false"}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        task_id = service.run(source)["task_id"]
        assert results(verified(service, task_id)) == {"ok": 7}
        exchange(
            xiehe_today, "P001", "a.jpg", xiehe_today.image_bytes(image_id(xiehe_today, "P001", "a.jpg"))[:-1] + b"x"
        )
        assert results(verified(service, task_id)) == {"ok": 6, "differs": 1}


def test_pictures_that_xiehe_had_before_us_are_present(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    with RawClient(xiehe_today) as raw:
        patient = raw.patient_row("P003")
        raw.upload("a.jpg", patient, b"a stranger's").raise_for_status()
    task = service_today.run(source / "2024-02", on_demographics_mismatch="warn")
    assert task["progress"]["duplicate_images_skipped"] == 1, task
    assert results(verified(service_today, task["task_id"])) == {"ok_present": 1}


def test_a_backend_that_goes_away_fails_the_verification_and_calls_nothing_missing(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    xiehe_today.faults({"operation": "list_images", "kind": "status", "status": 503, "skip": 1, "times": "forever"})
    found = verified(service_today, task_id)
    assert (found["status"], found["missing"]) == ("failed", 0)
    assert found["images_checked"] < found["images_total"]
    assert "XieHe" in found["detail"]
    xiehe_today.clear_faults()
    assert results(verified(service_today, task_id)) == {"ok": 7}
    assert len(rows(service_today, task_id)) == 7


def test_a_passing_fault_is_waited_out(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    xiehe_today.faults({"operation": "list_images", "kind": "cut_before", "times": 3})
    assert results(verified(service_today, task_id)) == {"ok": 7}


def test_a_restart_interrupts_it_and_it_can_be_done_again(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    xiehe_today.hold("list_images")
    service_today.http.post(f"/import/{task_id}/verify").raise_for_status()
    second = service_today.http.post(f"/import/{task_id}/verify")
    assert (second.status_code, second.json()["code"]) == (409, "verify_running")
    assert service_today.stop() == 0
    xiehe_today.clear_faults()
    service_today.start()
    found = state(service_today, task_id)
    assert (found["status"], found["missing"]) == ("failed", 0)
    assert found["detail"].startswith("interrupted")
    assert found["completed_at"] is not None
    assert results(verified(service_today, task_id)) == {"ok": 7}
    service_today.kill()
    service_today.start()
    assert results(state(service_today, task_id)) == {"ok": 7}


def test_the_report_comes_in_three_forms(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    name = "=1+1.dcm"
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {name: a_dicom_file(), "b.dcm": a_dicom_file()}}})
    task_id = service_today.run(source)["task_id"]
    verified(service_today, task_id)
    as_json = rows(service_today, task_id)
    path = f"/import/{task_id}/verify/report"
    lines = service_today.http.get(path).text.splitlines()
    assert len(lines) == len(as_json) == 2
    table = list(
        csv.DictReader(io.StringIO(service_today.http.get(path, params={"format": "csv"}).text.lstrip("\ufeff")))
    )
    assert [row["number"] for row in table] == ["1", "2"]
    assert list(table[0]) == list(as_json[0])
    assert "'=1+1.jpg" in {row["upload_filename"] for row in table}
    assert rows(service_today, task_id, result="missing") == []


def test_what_cannot_be_verified_is_refused(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    dry = service_today.run(source, dry_run=True)["task_id"]
    refused = service_today.http.post(f"/import/{dry}/verify")
    assert (refused.status_code, refused.json()["code"]) == (409, "dry_run_task")
    xiehe_today.hold("complete_session")
    running = service_today.start_import(source)
    early = service_today.http.post(f"/import/{running}/verify")
    assert (early.status_code, early.json()["code"]) == (409, "task_not_ended")
    for method, path in (("POST", "verify"), ("GET", "verify"), ("GET", "verify/report")):
        unknown = service_today.http.request(method, f"/import/nobody/{path}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "task_not_found")


def test_another_xiehe_is_not_asked_for_what_it_never_had(
    service_today: ServiceProcess, source: Path, tmp_path: Path
) -> None:
    task_id = service_today.run(source)["task_id"]
    with SandboxProcess(4, tmp_path / "other") as other:
        service_today.stop()
        service_today.change(backend_url=other.url)
        service_today.start()
        found = verified(service_today, task_id)
    assert (found["status"], found["missing"]) == ("failed", 0)
    assert "BACKEND_URL" in found["detail"]


def test_results_go_with_their_task(service_today: ServiceProcess, source: Path) -> None:
    task_id = service_today.run(source)["task_id"]
    verified(service_today, task_id)
    service_today.stop()
    database = service_today.folder / "data" / "history.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tasks SET created_at = 946684800000000, completed_at = 946684801000000")
        connection.commit()
    service_today.start()
    until(lambda: service_today.http.get(f"/import/{task_id}/status").status_code == 404)
    with closing(sqlite3.connect(database)) as connection:
        for table in ("verifications", "verified_images"):
            rows_left = f"SELECT COUNT(*) FROM {table}"
            until(lambda: connection.execute(rows_left).fetchone() == (0,))  # noqa: B023 - called in this round
