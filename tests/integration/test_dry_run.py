"""A dry run writes nothing to XieHe, and says exactly what the import after it does."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid

from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, names
from tests.waiting import until

WRITING = {"create_patient", "upload_single", "create_session", "complete_session", "put_part"}
REAL = {"would_upload": "uploaded", "would_upload_renamed": "uploaded_renamed"}
COUNTERS = (
    "total_files_scanned",
    "total_patients_found",
    "new_patients_created",
    "existing_patients_skipped",
    "new_images_uploaded",
    "duplicate_images_skipped",
    "failed_files",
    "held_files",
    "no_pixel_files",
    "ignored_files",
    "frames_uploaded",
    "bytes_uploaded",
)


def a_bit_of_everything() -> dict[str, Tree]:
    """New and known patients, reused names, instances met twice, multi-frame, held, broken and ignored files."""
    twice, others = generate_uid(), generate_uid()
    return {
        "2024-01": {
            "P001": {
                "a.dcm": a_dicom_file(shade=1),
                "b.dcm": a_dicom_file(shade=2, uid=others),
                "b": a_dicom_file(shade=3),
            },
            "P002": {"cine.dcm": a_dicom_file("P002", frames=3), "twice.dcm": a_dicom_file("P002", uid=twice)},
            "P003": {"STRAY.dcm": a_dicom_file("P999"), "broken.dcm": a_dicom_file("P003")[:-40]},
        },
        "2024-02": {
            "P001": {"a.dcm": a_dicom_file(shade=4), "notes.txt": b"ignored"},
            "P002": {"twice.dcm": a_dicom_file("P002", uid=twice), "x.dcm": a_dicom_file("P002")},
        },
        "2024-03": {"P004": {"x.dcm": a_dicom_file("P004", uid=others), "y.dcm": a_dicom_file("P004")}},
        "2024年4月": {"P005": {"a.dcm": a_dicom_file("P005")}},
    }


def comparable(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What a report says of each file, a dry run's words put as the import's."""
    shown = ("patient_id", "upload_filename", "frames_total", "frames_uploaded", "bytes_uploaded")
    return {
        row["source_path"]: (*(REAL.get(row[name], row[name]) for name in ("outcome", "code")), *map(row.get, shown))
        for row in rows
    }


def held_by(xiehe: SandboxProcess) -> dict[str, Any]:
    """All of a XieHe's state but the log of what it was asked."""
    return {name: value for name, value in xiehe.state().items() if name != "requests"}


def counters(status: Mapping[str, Any]) -> dict[str, int]:
    return {name: status["progress"][name] for name in COUNTERS}


def wait_until_the_plan_is_dropped(service: ServiceProcess) -> None:
    """That comes right after the task's end."""
    until(lambda: not planned_rows(service))


def planned_rows(service: ServiceProcess) -> int:
    with sqlite3.connect(service.folder / "data" / "history.sqlite3") as database:
        count: int = database.execute("SELECT count(*) FROM images WHERE backend_url LIKE 'dry-run:%'").fetchone()[0]
    return count


def test_dry_run_foretells_the_import_and_writes_nothing(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", a_bit_of_everything())
    service.run(source / "2024-01" / "P001")
    before, images = held_by(xiehe), sorted(service.output.rglob("*.jpg"))
    xiehe.clear_requests()

    dry = service.run(source, dry_run=True)

    assert {request["operation"] for request in xiehe.requests()} & WRITING == set()
    assert held_by(xiehe) == before
    assert sorted(service.output.rglob("*.jpg")) == images
    wait_until_the_plan_is_dropped(service)
    assert dry["dry_run"] is True
    assert_closed(dry["progress"])

    real = service.run(source)

    planned, done = service.report(dry["task_id"]), service.report(real["task_id"])
    assert comparable(planned) == comparable(done)
    assert counters(dry) == counters(real)
    assert {row["outcome"] for row in planned} == {"would_upload", "duplicate", "failed"}
    assert {"would_upload", "would_upload_renamed", "duplicate"} <= {row["code"] for row in planned}
    assert {"patient_mismatch", "instance_of_other_patient", "truncated_pixel_data"} <= {r["code"] for r in planned}
    assert (dry["result"], [folder["path"] for folder in dry["skipped_folders"]]) == (
        real["result"],
        [folder["path"] for folder in real["skipped_folders"]],
    )


def test_plan_adds_the_dry_run_up(service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", a_bit_of_everything())
    service_today.run(source / "2024-01" / "P001")

    dry = service_today.run(source, dry_run=True)

    plan = dry["plan"]
    assert (plan["patients_to_create"], plan["patients_to_reuse"]) == (2, 1)
    assert (plan["files_to_upload"], plan["duplicates"], plan["held"], plan["unreadable"]) == (5, 4, 2, 1)
    assert plan["images_to_upload"] == 7
    assert plan["bytes_to_upload"] == sum(row["bytes_uploaded"] for row in service_today.report(dry["task_id"]))
    assert plan["estimated_seconds"] >= 1
    assert plan["estimate_basis"]
    assert service_today.http.get(f"/import/{dry['task_id']}/stats").json()["plan"] == plan
    assert service_today.status(service_today.start_import(source))["plan"] is None


def test_dry_run_cannot_be_retried(service_today: ServiceProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", a_bit_of_everything())
    dry = service_today.run(source, dry_run=True)

    refused = service_today.http.post(f"/import/{dry['task_id']}/retry")

    assert (refused.status_code, refused.json()["code"]) == (409, "dry_run_task")


def test_dry_run_that_is_killed_goes_on_and_foretells_the_same(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", a_bit_of_everything())
    for number in range(60):
        write_tree(source, {"2024-01": {"P006": {f"{number:03d}.dcm": a_dicom_file("P006", size=256)}}})
    service_today.run(source / "2024-01" / "P001")
    there = names(xiehe_today)
    task_id = service_today.start_import(source, dry_run=True)
    until(lambda: service_today.status(task_id)["progress"]["total_files_scanned"] >= 8)
    service_today.kill()
    service_today.start()

    dry = service_today.wait(task_id)
    assert names(xiehe_today) == there
    wait_until_the_plan_is_dropped(service_today)

    real = service_today.run(source)
    assert comparable(service_today.report(task_id)) == comparable(service_today.report(real["task_id"]))
    assert counters(dry) == counters(real)


def test_cancelled_dry_run_leaves_nothing_behind(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    patients: Tree = {f"P{number:03d}": {"a.dcm": a_dicom_file(f"P{number:03d}")} for number in range(8)}
    source = write_tree(tmp_path / "dicom", {"2024-01": patients})
    xiehe_today.hold("search_patients", skip=1)
    task_id = service_today.start_import(source, dry_run=True)
    xiehe_today.until_held("search_patients")
    service_today.http.post(f"/import/{task_id}/cancel").raise_for_status()
    xiehe_today.clear_faults()

    ended = service_today.wait_for_rest(task_id)
    wait_until_the_plan_is_dropped(service_today)

    assert ended["status"] == "cancelled"
    assert "没有写入 XieHe" in ended["result_detail"]
