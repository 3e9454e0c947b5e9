"""Trees made to hurt, through the whole service: it stays up, and each file gets the outcome that is right for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, images, names
from tests.unit.hostile_files import OK, hostile_files

MAX_SERVICE_RSS_KB = 600 * 1024
RENDER_MEMORY_MB = 3072
"""Three times the decoded size for which the generator's expectations hold."""


def resident_kb(pid: int) -> int:
    """Peak resident memory of the service's own process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.fixture
def render_processes() -> int:
    """One may die while the other works."""
    return 2


def test_all_hostile_files_in_one_import_get_their_outcomes(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    with ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        render_memory_mb=RENDER_MEMORY_MB,
        max_workers=2,
    ) as service:
        import_all_hostile_files(service, xiehe_today, tmp_path)


def import_all_hostile_files(service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    hostile = {file.name: file for file in hostile_files()}
    folder = tmp_path / "dicom" / "2024-01" / "P001"
    folder.mkdir(parents=True)
    for file in hostile.values():
        (folder / file.name).write_bytes(file.content)
    pid = service_today.pid

    done = service_today.run(folder.parent, on_patient_mismatch="trust_folder")

    assert (done["status"], done["result"]) == ("completed", "partial"), done["result_detail"]
    assert_closed(done["progress"])
    rows = {Path(row["source_path"]).name: row for row in service_today.report(done["task_id"])}
    assert rows.keys() == hostile.keys()
    wrong = {
        name: (row["code"], sorted(hostile[name].expected))
        for name, row in rows.items()
        if (OK if row["outcome"] == "uploaded" else row["code"]) not in hostile[name].expected
    }
    assert not wrong
    uploaded = sum(row["outcome"] == "uploaded" for row in rows.values())
    assert len(names(xiehe_today)) == sum(row["frames_uploaded"] for row in rows.values()) >= uploaded > 0
    assert {image["patient_id"] for image in images(xiehe_today)} == {"P001"}
    assert service_today.pid == pid
    assert service_today.http.get("/health").status_code == 200
    assert resident_kb(pid) < MAX_SERVICE_RSS_KB
    assert not list((service_today.output / ".partial").iterdir())


def test_hostile_file_system_is_survived_and_every_file_accounted_for(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    root = write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {
                "P001": {"a.dcm": a_dicom_file(), "empty.dcm": b"", "empty": b"", "study": {"a.dcm": a_dicom_file()}},
                "EMPTY": {},
                "stray.dcm": a_dicom_file(),
            },
            "2024-02": {},
            "2024-13": {"P001": {"lost.dcm": a_dicom_file()}},
            "root.dcm": a_dicom_file(),
        },
    )
    patient = root / "2024-01" / "P001"
    os.mkfifo(patient / "fifo.dcm")
    (patient / "loop.dcm").symlink_to("loop.dcm")
    (patient / "up").symlink_to("..")
    (patient / "twice.dcm").symlink_to("a.dcm")
    (patient / "nowhere.dcm").symlink_to("gone")
    (patient / ("x" * 251 + ".dcm")).write_bytes(a_dicom_file())
    (patient / ("影" * 80 + ".dcm")).write_bytes(a_dicom_file())
    (Path(os.fsdecode(os.fsencode(patient) + b"/\xff\xfe.dcm"))).write_bytes(a_dicom_file())
    (patient / "new\nline.dcm").write_bytes(a_dicom_file())
    (patient / "con.dcm").write_bytes(a_dicom_file())
    deep = patient
    for _ in range(40):
        deep = deep / "d"
        deep.mkdir()
    (deep / "deep.dcm").write_bytes(a_dicom_file())
    (patient / "mem.dcm").symlink_to("/proc/self/mem")  # stat says 0 bytes, and reading fails with EIO

    done = service_today.run(root)

    assert done["status"] == "completed", done
    assert_closed(done["progress"])
    assert [Path(entry["path"]).name for entry in done["skipped_folders"]] == ["2024-13"]
    rows = service_today.report(done["task_id"])
    codes = {Path(row["source_path"]).name: row["code"] for row in rows}
    assert codes["empty.dcm"] == "empty_file"
    assert {codes["stray.dcm"], codes["root.dcm"]} == {"misplaced_file"}
    assert codes["mem.dcm"] in ("empty_file", "unreadable_file", "not_dicom")
    uploaded = [row for row in rows if row["outcome"] == "uploaded"]
    assert len(uploaded) == 8, codes
    assert len(names(xiehe_today)) == 8
    assert done["progress"]["total_files_scanned"] == len(rows) == 8 + 4
    ignored = service_today.report(done["task_id"], include="ignored")[len(rows) :]
    reasons = sorted(row["code"] for row in ignored)
    assert reasons == sorted(
        ["broken_symlink", "broken_symlink", "not_dicom", "special_file", "symlink_duplicate", "symlink_duplicate"]
    )
    assert done["progress"]["ignored_files"] == len(ignored)
    again = service_today.run(root)
    assert again["progress"]["new_images_uploaded"] == 0, again["progress"]
    assert again["progress"]["duplicate_images_skipped"] == 8


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_flood_of_misfits_is_capped_in_the_status_and_whole_in_the_report(
    service_today: ServiceProcess, tmp_path: Path, dry_run: bool
) -> None:
    """600 patient folders directly under the root beside one good month."""
    root = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    folders = [root / f"{number:06d}" for number in range(600)]
    for folder in folders:
        folder.mkdir()

    done = service_today.run(root, dry_run=dry_run)

    assert (done["status"], done["result"]) == ("completed", "partial"), done
    assert done["progress"]["new_images_uploaded"] == 1
    assert len(done["skipped_folders"]) == 100
    assert done["skipped_folders_total"] == 600
    assert len(service_today.report(done["task_id"])) == 1
    rows = service_today.report(done["task_id"], include="skipped")[1:]
    assert {row["source_path"] for row in rows} == set(map(str, folders))
    assert {(row["outcome"], row["code"]) for row in rows} == {("skipped", "skipped_folder")}
    assert all(row["detail"] and row["hint"] for row in rows)
    service_today.stop()
    service_today.start()
    after = service_today.status(done["task_id"])
    assert (len(after["skipped_folders"]), after["skipped_folders_total"]) == (100, 600)


def test_header_that_lies_of_its_frames_costs_nothing_where_its_name_is_known(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    """XieHe lists the name, so the header alone is read; it must not be turned into a hundred million names."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    service_today.run(source)
    (source / "2024-01" / "P001" / "a.dcm").write_bytes(a_dicom_file(NumberOfFrames=100_000_000))

    done = service_today.run(source)

    assert [entry["code"] for entry in done["errors"]] == ["too_many_frames"], done["errors"]
    assert resident_kb(service_today.pid) < MAX_SERVICE_RSS_KB
    assert names(xiehe_today) == {("P001", "a.jpg")}


def test_file_that_arrives_whole_later_is_taken_by_retry_and_then_nothing_is_left(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    whole = a_dicom_file(size=128)
    source = write_tree(
        tmp_path / "dicom", {"2024-01": {"P001": {"half.dcm": whole[: len(whole) // 2], "ok.dcm": a_dicom_file()}}}
    )

    done = service_today.run(source)

    assert [entry["code"] for entry in done["errors"]] == ["truncated_pixel_data"], done["errors"]
    (source / "2024-01" / "P001" / "half.dcm").write_bytes(whole)
    child = service_today.http.post(f"/import/{done['task_id']}/retry").json()["task_id"]
    assert service_today.wait(child)["progress"]["new_images_uploaded"] == 1
    nothing_left = service_today.http.post(f"/import/{child}/retry")
    assert (nothing_left.status_code, nothing_left.json()["code"]) == (409, "nothing_to_retry")
    assert len(names(xiehe_today)) == 2
