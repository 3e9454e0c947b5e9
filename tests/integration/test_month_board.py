"""GET /months: which months are done."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import until

BROKEN = a_dicom_file("P002")[:700]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two months: the first is whole, the second holds a broken file."""
    return write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1), "b.dcm": a_dicom_file(shade=2)}},
            "2024-02": {"P002": {"c.dcm": a_dicom_file("P002"), "cut.dcm": BROKEN}},
        },
    )


@pytest.fixture
def service(xiehe_today: SandboxProcess, source: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """The service, with ``source`` as its only root."""
    settings = {"api_token": xiehe_today.token, "dicom_source_path": source}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as process:
        yield process


def board(service: ServiceProcess, **query: str) -> dict[str | None, dict[str, Any]]:
    """By month; the answer's order is checked in passing."""
    months = service.http.get("/months", params=query).raise_for_status().json()["months"]
    assert [entry["month"] for entry in months] == sorted((e["month"] for e in months), key=lambda m: m or "")[::-1]
    return {entry["month"]: entry for entry in months}


def states(service: ServiceProcess, **query: str) -> dict[str | None, str]:
    return {month: entry["state"] for month, entry in board(service, **query).items()}


def without_picture(content: bytes) -> bytes:
    """The same object, as a report is: nothing to be seen."""
    ds = pydicom.dcmread(io.BytesIO(content))
    for keyword in ("PixelData", "Rows", "Columns"):
        del ds[keyword]
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def test_months_on_disk_wait_to_be_imported(service: ServiceProcess, source: Path) -> None:
    (source / "not-a-month").mkdir()
    assert states(service) == {"2024-01": "not_imported", "2024-02": "not_imported"}
    entry = board(service)["2024-01"]
    assert (entry["files"], entry["on_disk"], entry["source_paths"]) == (0, True, [str(source / "2024-01")])


def test_a_month_is_done_when_nothing_of_it_failed(service: ServiceProcess, source: Path) -> None:
    task = service.run(source)
    months = board(service)
    assert states(service) == {"2024-01": "done", "2024-02": "partial"}
    assert (months["2024-01"]["files"], months["2024-01"]["imported"]) == (2, 2)
    second = months["2024-02"]
    assert (second["files"], second["imported"], second["failed"], second["held"]) == (2, 1, 1, 0)
    (failure,) = task["errors"]
    assert second["by_code"] == [{"code": failure["code"], "files": 1}, {"code": "uploaded", "files": 1}]
    assert second["last_task_id"] == task["task_id"]
    assert second["last_imported_at"] is not None


def test_a_retry_that_succeeds_makes_the_month_done(service: ServiceProcess, source: Path) -> None:
    task = service.run(source)
    (source / "2024-02" / "P002" / "cut.dcm").write_bytes(a_dicom_file("P002", shade=9))
    retry = service.http.post(f"/import/{task['task_id']}/retry").json()["task_id"]
    service.wait(retry)
    entry = board(service)["2024-02"]
    assert (entry["state"], entry["imported"], entry["last_task_id"]) == ("done", 2, retry)


def test_a_failed_file_that_was_taken_away_no_longer_holds_its_month_up(service: ServiceProcess, source: Path) -> None:
    service.run(source)
    (source / "2024-02" / "P002" / "cut.dcm").unlink()
    (source / "2024-01" / "P001" / "a.dcm").unlink()
    assert states(service)["2024-02"] == "partial"
    service.run(source / "2024-02")
    service.run(source / "2024-01")
    months = board(service)
    assert (months["2024-02"]["state"], months["2024-02"]["failed"]) == ("done", 0)
    assert (months["2024-01"]["state"], months["2024-01"]["imported"]) == ("done", 2)


def test_one_patient_does_not_make_a_month(service: ServiceProcess, source: Path) -> None:
    service.run(source / "2024-01" / "P001")
    assert states(service)["2024-01"] == "partial"
    service.run(source / "2024-01")
    assert states(service)["2024-01"] == "done"


def test_files_without_a_picture_do_not_spoil_a_month(service: ServiceProcess, source: Path) -> None:
    write_tree(source / "2024-01" / "P001", {"sr.dcm": without_picture(a_dicom_file())})
    task = service.run(source / "2024-01")
    assert [entry["code"] for entry in task["errors"]] == ["no_pixel_data"]
    entry = board(service)["2024-01"]
    assert (entry["state"], entry["no_pixel"], entry["failed"]) == ("done", 1, 1)


def test_a_month_runs_while_its_files_are_on_their_way_and_a_cancelled_walk_leaves_it_partial(
    service: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    xiehe_today.hold("complete_session", skip=1)
    task_id = service.start_import(source / "2024-01")
    until(lambda: board(service)["2024-01"]["imported"] == 1)
    assert states(service)["2024-01"] == "running"
    service.http.post(f"/import/{task_id}/cancel").raise_for_status()
    xiehe_today.clear_faults()
    service.wait_for_rest(task_id)
    assert states(service)["2024-01"] == "partial"
    service.run(source / "2024-01")
    assert states(service)["2024-01"] == "done"


def test_new_files_of_a_done_month_have_to_be_gone_through_to_the_end_as_well(
    service: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    service.run(source / "2024-01")
    write_tree(source / "2024-01" / "P001", {"new.dcm": a_dicom_file(shade=3), "newer.dcm": a_dicom_file(shade=4)})
    assert states(service)["2024-01"] == "done"
    xiehe_today.hold("create_session", match="newer")
    task_id = service.start_import(source / "2024-01")
    until(lambda: board(service)["2024-01"]["imported"] == 3)
    service.stop()  # newer.dcm is on its way; nothing of it is known on the board
    xiehe_today.clear_faults()
    service.change(auto_resume="false")
    service.start()
    assert states(service)["2024-01"] == "waiting"
    service.http.post(f"/import/{task_id}/cancel").raise_for_status()
    assert states(service)["2024-01"] == "partial"
    service.run(source / "2024-01")
    assert states(service)["2024-01"] == "done"


@pytest.mark.parametrize("gone", ["cut.dcm", "P002", "2024-02"])
@pytest.mark.parametrize("walked", ["root", "month"])
def test_a_month_whose_only_file_was_broken_is_forgotten_with_it(
    service: ServiceProcess, source: Path, walked: str, gone: str
) -> None:
    (source / "2024-02" / "P002" / "c.dcm").unlink()
    service.run(source)
    assert board(service)["2024-02"]["failed"] == 1
    lost = {"cut.dcm": source / "2024-02" / "P002" / "cut.dcm", "P002": source / "2024-02" / "P002"}.get(gone)
    (lost.unlink if lost and lost.is_file() else lambda: shutil.rmtree(lost or source / "2024-02"))()
    if walked == "month" and gone == "2024-02":
        (source / "2024-02").mkdir()  # an empty month
    service.run(source if walked == "root" else source / "2024-02")
    on_disk = {} if walked == "root" and gone == "2024-02" else {"2024-02": "not_imported"}
    assert states(service) == {"2024-01": "done", **on_disk}


def test_an_empty_mount_point_does_not_make_failures_forgotten(service: ServiceProcess, source: Path) -> None:
    service.run(source)
    os.rename(source, source.with_name("mounted"))
    source.mkdir()
    service.run(source)
    assert board(service)["2024-02"]["failed"] == 1


def test_a_running_import_of_a_root_shows_the_months_that_it_has_left_as_done(
    service: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    write_tree(source, {"2024-03": {"P003": {name: a_dicom_file("P003") for name in ("held-up.dcm", "quick.dcm")}}})
    xiehe_today.hold("create_session", match="held-up")
    task_id = service.start_import(source)
    until(lambda: board(service)["2024-03"]["imported"] == 1)
    until(lambda: states(service) == {"2024-01": "done", "2024-02": "partial", "2024-03": "running"})
    service.http.post(f"/import/{task_id}/cancel").raise_for_status()
    xiehe_today.clear_faults()
    service.wait_for_rest(task_id)
    assert states(service) == dict.fromkeys(("2024-01", "2024-02", "2024-03"), "partial")


def test_an_import_that_cannot_go_on_makes_its_month_wait(
    service: ServiceProcess, xiehe_today: SandboxProcess, source: Path
) -> None:
    xiehe_today.stop()
    task_id = service.start_import(source / "2024-01")
    service.wait(task_id, "paused")
    assert states(service) == {"2024-01": "waiting", "2024-02": "not_imported"}
    xiehe_today.start()
    service.wait(task_id)
    assert states(service) == {"2024-01": "done", "2024-02": "not_imported"}


def test_a_dry_run_does_not_count(service: ServiceProcess, source: Path) -> None:
    service.run(source, dry_run=True)
    assert states(service) == {"2024-01": "not_imported", "2024-02": "not_imported"}


def test_the_board_outlives_the_source_and_a_restart(service: ServiceProcess, source: Path) -> None:
    service.run(source)
    shutil.rmtree(source / "2024-01")
    service.stop()
    service.start()
    months = board(service)
    assert (months["2024-01"]["state"], months["2024-01"]["on_disk"]) == ("done", False)
    assert months["2024-01"]["source_paths"] == []
    os.rename(source, source.with_name("unmounted"))
    assert board(service)["2024-02"]["on_disk"] is None


def test_files_beside_the_months_have_a_row_of_their_own(service: ServiceProcess, source: Path) -> None:
    write_tree(source, {"lost.dcm": a_dicom_file()})
    service.run(source)
    lost = board(service)[None]
    assert (lost["state"], lost["failed"], lost["by_code"]) == (
        "partial",
        1,
        [{"code": "misplaced_file", "files": 1}],
    )
    (source / "lost.dcm").unlink()
    service.run(source)
    assert None not in board(service)


def test_one_root_of_several(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    north = write_tree(tmp_path / "north", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    south = write_tree(tmp_path / "south", {"2024-01": {"P002": {}}, "2024-03": {}})
    settings = {"api_token": xiehe_today.token, "dicom_source_path": f"{north};{south}"}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        service.run(north)
        assert states(service, root=str(north)) == {"2024-01": "done"}
        assert states(service, root=str(south)) == {"2024-01": "not_imported", "2024-03": "not_imported"}
        assert states(service) == {"2024-01": "partial", "2024-03": "not_imported"}
        paths = board(service)["2024-01"]["source_paths"]
        assert paths == [str(north / "2024-01"), str(south / "2024-01")]
        elsewhere = service.http.get("/months", params={"root": str(tmp_path)})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "source_not_allowed")
