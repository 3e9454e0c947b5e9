"""The main job, end to end, on the four contracts: what XieHe holds afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicom_processor import read_file
from models import ReadRequest, RenderOptions
from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, images, names

SEVEN = (
    "total_files_scanned",
    "total_patients_found",
    "new_patients_created",
    "existing_patients_skipped",
    "new_images_uploaded",
    "duplicate_images_skipped",
    "failed_files",
)


@pytest.fixture
def render_processes() -> int:
    """Files race with each other."""
    return 2


def seven(status: dict[str, object]) -> tuple[int, ...]:
    progress = status["progress"]
    assert isinstance(progress, dict)
    return tuple(progress[name] for name in SEVEN)


def three_months() -> dict[str, Tree]:
    """Two patients in three months, one of them in two."""
    return {
        "2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1), "b.DCM": a_dicom_file(shade=2)}},
        "2024-02": {"P002": {"a.dcm": a_dicom_file("P002", shade=3), "c": a_dicom_file("P002", shade=4)}},
        "2024-03": {"P001": {"d.dicom": a_dicom_file(shade=5)}},
    }


def test_tree_becomes_patients_and_pictures_once(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", three_months())

    first = service.run(source)

    assert (first["status"], first["result"]) == ("completed", "success"), first
    assert seven(first) == (5, 2, 2, 0, 5, 0, 0)
    assert names(xiehe) == {
        ("P001", "a.jpg"),
        ("P001", "b.jpg"),
        ("P001", "d.jpg"),
        ("P002", "a.jpg"),
        ("P002", "c.jpg"),
    }
    assert_bytes_are_ours(xiehe, service.report(first["task_id"]))
    ids = {(image["patient_id"], image["filename"]): image["id"] for image in images(xiehe)}
    for row in service.report(first["task_id"]):
        assert row["image_file_id"] == ids[row["patient_id"], row["upload_filename"]]
    patients = {row["patient_id"]: row for row in xiehe.state()["patients"]}
    assert (patients["P001"]["name"], patients["P001"]["birth_date"]) == ("张三", "1980-01-02")

    second = service.run(source)

    assert seven(second) == (5, 2, 0, 2, 0, 5, 0)
    assert second["result"] == "success"
    assert len(names(xiehe)) == 5


def test_only_new_files_are_uploaded(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", three_months())
    service.run(source)
    write_tree(source, {"2024-03": {"P001": {"e.dcm": a_dicom_file(shade=6)}, "P003": {"a.dcm": a_dicom_file("P003")}}})

    again = service.run(source)

    assert seven(again) == (7, 3, 1, 2, 2, 5, 0)
    assert {("P001", "e.jpg"), ("P003", "a.jpg")} <= names(xiehe)


def test_lost_history_still_finds_duplicates_by_name(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", three_months())
    service.run(source)
    service.stop()
    service.change(data_dir=tmp_path / "another-data-dir")
    service.start()

    again = service.run(source)

    assert seven(again) == (5, 2, 0, 2, 0, 5, 0)
    rows = service.report(again["task_id"])
    assert {row["code"] for row in rows} == {"duplicate_by_name"}
    assert all("content_not_verified" in {note["code"] for note in row["warnings"]} for row in rows)


def test_pictures_that_are_not_kept_are_the_same_in_xiehe_and_leave_nothing_behind(
    xiehe: SandboxProcess, tmp_path: Path
) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "cine.dcm": a_dicom_file(shade=2, frames=3)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    with ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token, keep_jpg=False) as service:
        status = service.run(source)
        assert seven(status) == (2, 1, 1, 0, 2, 0, 0)
        assert [path for path in service.output.rglob("*") if path.name != ".partial"] == []
        assert {row["jpg_path"] for row in service.report(status["task_id"])} == {None}

    made = [picture for name in files for picture in pictures_of(source / "2024-01" / "P001" / name, tmp_path)]
    assert sorted(image["sha256"] for image in images(xiehe)) == sorted(hashlib.sha256(one).hexdigest() for one in made)


def test_a_picture_that_somebody_takes_away_in_mid_upload_is_made_again(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    xiehe_today.faults({"operation": "create_session", "kind": "held_after", "match": "a.jpg"})
    settings = {"api_token": xiehe_today.token, "keep_jpg": False}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        task_id = service.start_import(source)
        xiehe_today.until_held("create_session")
        (picture,) = (service.output / ".partial").iterdir()
        picture.unlink()
        xiehe_today.let_go()
        status = service.wait(task_id)

    assert seven(status) == (1, 1, 1, 0, 1, 0, 0)
    (made,) = pictures_of(source / "2024-01" / "P001" / "a.dcm", tmp_path)
    assert [image["sha256"] for image in images(xiehe_today)] == [hashlib.sha256(made).hexdigest()]


@pytest.mark.parametrize("frames", [1, 3])
def test_an_upload_reads_no_file_that_another_image_can_replace(
    xiehe_today: SandboxProcess, tmp_path: Path, frames: int
) -> None:
    """As on an OUTPUT_DIR that ignores case, where the kept ``im0000.jpg`` takes the place of ``IM0000.jpg``."""
    file = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(frames=frames)}}})
    names_of_all = [f"a-{number:04d}.jpg" for number in range(1, frames + 1)] if frames > 1 else ["a.jpg"]
    xiehe_today.hold("create_session", kind="held_after", match=".jpg")
    with ServiceProcess(tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token) as service:
        task_id = service.start_import(file)
        xiehe_today.until_held("create_session", frames)
        kept = [service.output / "2024-01" / "P001" / name for name in names_of_all]
        for path in kept:
            other = path.with_name("other")
            other.write_bytes(b"another image")
            other.replace(path)
        xiehe_today.clear_faults()
        status = service.wait(task_id)

    assert seven(status) == (1, 1, 1, 0, 1, 0, 0)
    made = pictures_of(file / "2024-01" / "P001" / "a.dcm", tmp_path)
    assert sorted(image["sha256"] for image in images(xiehe_today)) == sorted(
        hashlib.sha256(one).hexdigest() for one in made
    )


def pictures_of(path: Path, folder: Path) -> list[bytes]:
    """The pictures that the file becomes by the default settings."""
    request = ReadRequest(str(path), named_dicom=True, output_prefix=str(folder / path.name), render=RenderOptions())
    return [Path(image.path).read_bytes() for image in read_file(request).images]


def test_same_name_of_many_patients_at_once_keeps_each_its_bytes(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    patients = [f"P{number:03d}" for number in range(5)]
    tree = {"2024-01": {name: {"IM1": a_dicom_file(name, shade=7 * at)} for at, name in enumerate(patients)}}
    source = write_tree(tmp_path / "dicom", tree)

    done = service.run(source)

    assert seven(done) == (5, 5, 5, 0, 5, 0, 0)
    assert names(xiehe) == {(name, "IM1.jpg") for name in patients}
    assert_bytes_are_ours(xiehe, service.report(done["task_id"]))


def test_hospital_number_that_is_another_patients_row_id(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(
        tmp_path / "dicom",
        {"2024-01": {str(number): {f"x{number}.dcm": a_dicom_file(str(number))} for number in (4, 3, 2, 1)}},
    )

    done = service.run(source)

    assert done["progress"]["new_images_uploaded"] == 4
    assert names(xiehe) == {(str(number), f"x{number}.jpg") for number in (1, 2, 3, 4)}


def test_patient_and_pictures_already_in_xiehe(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    raw = RawClient(xiehe)
    created = raw.http.post(
        "/patients", json={"patient_id": "P001", "name": "张三", "gender": "MALE", "birth_date": "1980-01-02"}
    )
    assert created.status_code == 200
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})

    done = service.run(source)

    assert seven(done) == (1, 1, 0, 1, 1, 0, 0)


def test_more_than_a_page_of_images_is_listed_whole(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    files = {f"IM{number:04d}": a_dicom_file(size=4) for number in range(130)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    first = service.run(source)
    assert first["progress"]["new_images_uploaded"] == 130
    service.stop()
    service.change(data_dir=tmp_path / "another-data-dir")
    service.start()

    again = service.run(source)

    assert again["progress"]["duplicate_images_skipped"] == 130
    assert len(names(xiehe)) == 130


def test_reused_name_of_another_instance_gets_a_suffix(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    first, second = a_dicom_file(uid="1.2.3.1", shade=1), a_dicom_file(uid="1.2.3.2", shade=200)
    source = write_tree(
        tmp_path / "dicom",
        {f"2024-0{month}": {"P001": {"IM0001": file}} for month, file in enumerate((first, second, first), 1)},
    )

    done = service.run(source)

    rows = {row["month"]: row for row in service.report(done["task_id"])}
    assert (rows["2024-01"]["code"], rows["2024-01"]["upload_filename"]) == ("uploaded", "IM0001.jpg")
    assert rows["2024-02"]["code"] == "uploaded_renamed"
    assert rows["2024-02"]["upload_filename"].startswith("IM0001_")
    assert rows["2024-03"]["code"] == "duplicate"
    assert len(names(xiehe)) == 2
    assert_bytes_are_ours(xiehe, list(rows.values()))

    again = service.run(source)

    assert again["progress"]["duplicate_images_skipped"] == 3
    assert len(names(xiehe)) == 2


def test_every_frame_is_stored_and_the_file_counted_once(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"cine.dcm": a_dicom_file(frames=4)}}})

    first, second = service.run(source), service.run(source)

    assert seven(first) == (1, 1, 1, 0, 1, 0, 0)
    assert first["progress"]["frames_uploaded"] == 4
    assert names(xiehe) == {("P001", f"cine-{number:04d}.jpg") for number in (1, 2, 3, 4)}
    assert seven(second) == (1, 1, 0, 1, 0, 1, 0)


def test_lost_answers_do_not_double_an_image(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    operation = "upload_single" if xiehe.contract < 3 else "complete_session"
    xiehe.faults({"operation": operation, "kind": "cut_after", "times": 3})
    source = write_tree(tmp_path / "dicom", three_months())

    done = service.run(source)

    assert done["progress"]["new_images_uploaded"] == 5, done
    assert len(names(xiehe)) == 5
    assert_bytes_are_ours(xiehe, service.report(done["task_id"]))


def test_token_that_is_revoked_in_mid_run(xiehe: SandboxProcess, tmp_path: Path) -> None:
    xiehe.faults({"operation": "any", "kind": "revoke", "skip": 12})
    source = write_tree(tmp_path / "dicom", three_months())
    account = {"api_token": xiehe.token, "backend_username": xiehe.user, "backend_password": xiehe.password}
    with ServiceProcess(tmp_path / "service", xiehe.url, **account) as service:
        done = service.run(source)

        assert done["result"] == "success", done
        assert len(names(xiehe)) == 5


def test_soft_deleted_patient_costs_only_its_own_files(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    created = RawClient(xiehe).http.post("/patients", json={"patient_id": "GONE", "name": "n", "gender": "MALE"}).json()
    xiehe.soft_delete_patient(created.get("data", created)["id"])
    gone: Tree = {"GONE": {"a.dcm": a_dicom_file("GONE"), "b.dcm": a_dicom_file("GONE")}}
    tree = three_months() | {"2024-04": gone}
    source = write_tree(tmp_path / "dicom", tree)

    done = service.run(source)

    assert done["result"] == "partial"
    assert {entry["code"] for entry in done["errors"]} == {"patient_deleted_in_xiehe"}
    assert done["progress"]["failed_files"] == 2
    assert done["progress"]["new_images_uploaded"] == 5
    assert_closed(done["progress"])
