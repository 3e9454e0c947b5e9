"""What changes under a run: patients deleted or made anew in XieHe, files replaced, folders with hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, images, names
from tests.waiting import until

FOREVER = {"times": "forever"}


@pytest.fixture
def render_processes() -> int:
    """Files race with each other and with what changes."""
    return 2


def nine_files(patient_id: str = "P001") -> dict[str, bytes]:
    return {f"{number}.dcm": a_dicom_file(patient_id, shade=7 * number) for number in range(9)}


def test_xiehe_that_lost_everything_between_two_runs_gets_everything_again(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    """What the service still remembers of the patient must not count for a XieHe that was set up anew."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": nine_files()}})
    service.run(source)
    before = names(xiehe)
    xiehe.reset()

    again = service.run(source)

    assert again["progress"]["new_images_uploaded"] == 9, again["progress"]
    assert again["progress"]["new_patients_created"] == 1
    assert names(xiehe) == before
    assert_bytes_are_ours(xiehe, service.report(again["task_id"]))


def test_patient_made_anew_under_another_row_gets_everything_again(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": nine_files()}})
    service_today.run(source)
    xiehe_today.reset()
    with RawClient(xiehe_today) as raw:
        raw.patient_row("someone-else")
        row = raw.patient_row("P001")

    again = service_today.run(source)

    assert row == 2
    assert again["progress"]["new_images_uploaded"] == 9, again["progress"]
    assert again["progress"]["existing_patients_skipped"] == 1
    assert len(names(xiehe_today)) == 9


def test_patient_deleted_in_mid_run_fails_its_own_files_and_no_other(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    operation = "upload_single" if xiehe.contract < 3 else "create_session"
    xiehe.hold(operation, skip=12)  # that many are surely more than one file
    tree = {"P001": nine_files("P001") | {"cine.dcm": a_dicom_file("P001", frames=6)}, "P002": nine_files("P002")}
    source = write_tree(tmp_path / "dicom", {"2024-01": tree})
    task_id = service.start_import(source)
    until(lambda: service.status(task_id)["progress"]["new_images_uploaded"])
    xiehe.until_held(operation)
    victim = next(row["id"] for row in xiehe.state()["patients"] if row["patient_id"] == "P001")
    xiehe.soft_delete_patient(victim)
    xiehe.clear_faults()

    done = service.wait(task_id)

    assert done["status"] == "completed", done
    assert_closed(done["progress"])
    rows = service.report(task_id)
    assert len(rows) == 19
    assert {row["code"] for row in rows if row["outcome"] == "failed"} <= {"patient_deleted_in_xiehe"}
    assert all(row["outcome"] == "uploaded" for row in rows if row["patient_id"] == "P002")
    assert len({pair for pair in names(xiehe) if pair[0] == "P002"}) == 9


def test_folders_with_hostile_names_fail_their_files_and_nothing_else(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    month = bytes(source / "2024-01")
    hostile = (b"P\xff\xfe", b"P\n2", b"..P", b"P%_", b"P\\002", b"x" * 200, b"P\x07", "患".encode() * 60, b"P 2 ")
    for folder in hostile:
        (tmp_path / "one.dcm").write_bytes(a_dicom_file(None))
        target = month + b"/" + folder
        Path(target.decode("utf-8", "surrogateescape")).mkdir()
        Path((target + b"/a\xff.dcm").decode("utf-8", "surrogateescape")).write_bytes(a_dicom_file(None))

    done = service_today.run(source)

    assert done["status"] == "completed", done
    assert_closed(done["progress"])
    assert done["progress"]["total_files_scanned"] == 1 + len(hostile)
    codes = {row["code"] for row in service_today.report(done["task_id"]) if row["outcome"] == "failed"}
    assert codes <= {"patient_id_invalid", "patient_id_too_long"}
    assert ("P%_", "a") not in names(xiehe_today)
    assert {pair[0] for pair in names(xiehe_today)} >= {"P001", "P%_", "P\\002", "..P"}
    assert not [image for image in images(xiehe_today) if image["patient_id"] is None]
    again = service_today.run(source)
    assert again["progress"]["new_images_uploaded"] == 0, again["progress"]


def test_one_instance_under_two_names_is_stored_under_both_and_says_so(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    same = a_dicom_file(uid="1.2.3.4.5")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": same, "b.dcm": same}}})

    done = service_today.run(source)

    assert names(xiehe_today) == {("P001", "a.jpg"), ("P001", "b.jpg")}
    warned = [
        row["source_path"]
        for row in service_today.report(done["task_id"])
        if "instance_under_other_name" in {note["code"] for note in row["warnings"]}
    ]
    assert len(warned) == 1, warned


def test_patient_whose_only_file_belongs_to_another_is_neither_made_nor_counted(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "one", {"2024-01": {"P001": {"a.dcm": a_dicom_file(uid="1.2.3.4.5")}}})
    service_today.run(source)
    stray = a_dicom_file("P002", uid="1.2.3.4.5")
    other = write_tree(tmp_path / "two", {"2024-01": {"P002": {"a.dcm": stray}}})

    done = service_today.run(other)

    assert [entry["code"] for entry in done["errors"]] == ["instance_of_other_patient"]
    assert done["progress"]["total_patients_found"] == 0, done["progress"]
    assert [row["patient_id"] for row in xiehe_today.state()["patients"]] == ["P001"]


def test_xiehe_that_hangs_delays_neither_cancel_nor_stop(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    """With a time-out that no test lives to see."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": nine_files()}})
    service = ServiceProcess(tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token)
    service.change_client(read_timeout_s=3600)
    with service:
        xiehe_today.hold("complete_session")
        task_id = service.start_import(source)
        xiehe_today.until_held("complete_session")
        service.stop()
        service.start()
        service.wait(task_id, "running")
        assert service.http.post(f"/import/{task_id}/cancel").status_code == 202
        service.wait_for_rest(task_id)
        xiehe_today.clear_faults()

        again = service.run(source)

        assert again["progress"]["failed_files"] == 0
        assert len(names(xiehe_today)) == 9


@pytest.mark.parametrize("operation", ["search_patients", "create_patient"])
def test_patient_whom_xiehe_cannot_serve_fails_alone(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path, operation: str
) -> None:
    people = ("A-SICK", "B-WELL", "C-WELL")
    tree: Tree = {name: {f"{at}.dcm": a_dicom_file(name, shade=at) for at in range(3)} for name in people}
    xiehe.faults({"operation": operation, "kind": "status", "status": 500, "match": "SICK", **FOREVER})

    done = service.run(write_tree(tmp_path / "dicom", {"2024-01": tree}))

    assert done["result"] == "partial"
    failed = [row for row in service.report(done["task_id"]) if row["outcome"] == "failed"]
    wanted = "patient_unavailable" if operation == "search_patients" else failed[0]["code"]
    assert {(row["patient_id"], row["code"]) for row in failed} == {("A-SICK", wanted)}
    assert len(failed) == 3
    assert {patient for patient, _ in names(xiehe)} == {"B-WELL", "C-WELL"}

    xiehe.clear_faults()
    again = service.wait(service.http.post(f"/import/{done['task_id']}/retry").json()["task_id"])
    assert again["progress"]["new_images_uploaded"] == 3
