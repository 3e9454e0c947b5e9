"""An image never reaches another patient's record: folder, header and XieHe's patient against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, names


def a_tree_with_a_stray_file(root: Path) -> Path:
    """P001's folder holds two of its own files and one of P999."""
    folder = {"a.dcm": a_dicom_file(), "b.dcm": a_dicom_file("P999", PatientName="Li^Si"), "c.dcm": a_dicom_file()}
    return write_tree(root, {"2024-01": {"P001": folder}})


def create(xiehe: SandboxProcess, patient_id: str, **fields: Any) -> int:
    body = {"patient_id": patient_id, "name": "n", "gender": "MALE", "birth_date": "1980-01-02"} | fields
    answer = RawClient(xiehe).http.post("/patients", json=body).json()
    row_id: int = answer.get("data", answer)["id"]
    return row_id


def test_file_of_another_patient_is_held(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    done = service.run(a_tree_with_a_stray_file(tmp_path / "dicom"))

    assert names(xiehe) == {("P001", "a.jpg"), ("P001", "c.jpg")}
    assert {row["patient_id"] for row in xiehe.state()["patients"]} == {"P001"}
    (entry,) = done["errors"]
    assert (entry["code"], entry["patient_id"]) == ("patient_mismatch", "P999")
    assert "on_patient_mismatch" in entry["hint"]
    assert done["progress"]["held_files"] == 1
    assert done["result"] == "partial"
    assert_closed(done["progress"])


@pytest.mark.parametrize(("policy", "owner"), [("trust_dicom", "P999"), ("trust_folder", "P001")])
def test_held_file_is_released_by_a_retry(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path, policy: str, owner: str
) -> None:
    parent = service_today.run(a_tree_with_a_stray_file(tmp_path / "dicom"))

    answer = service_today.http.post(
        f"/import/{parent['task_id']}/retry", json={"code": "patient_mismatch", "on_patient_mismatch": policy}
    )
    assert answer.status_code == 202, answer.text
    child = service_today.wait(answer.json()["task_id"])

    assert (child["parent_id"], child["result"]) == (parent["task_id"], "success")
    assert child["progress"]["total_files_scanned"] == 1
    assert (owner, "b.jpg") in names(xiehe_today)
    assert len(names(xiehe_today)) == 3
    assert service_today.status(parent["task_id"])["retried_by"] == child["task_id"]
    assert service_today.status(parent["task_id"])["progress"] == parent["progress"]


def test_trust_folder_takes_no_name_from_a_strange_header(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"b.dcm": a_dicom_file("P999")}}})

    service_today.run(source, on_patient_mismatch="trust_folder")

    (patient,) = xiehe_today.state()["patients"]
    assert (patient["patient_id"], patient["name"], patient["birth_date"]) == ("P001", "P001", None)


def test_missing_patient_id_takes_the_folders_name(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(None)}}})

    done = service_today.run(source)

    assert names(xiehe_today) == {("P001", "a.jpg")}
    (row,) = service_today.report(done["task_id"])
    assert "patient_id_missing" in {note["code"] for note in row["warnings"]}


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"gender": "FEMALE", "birth_date": "1999-09-09"}, True),
        ({"gender": "FEMALE"}, False),
        ({"birth_date": "1999-09-09"}, False),
        ({"gender": "UNKNOWN", "birth_date": "1999-09-09"}, False),
        ({"gender": "FEMALE", "birth_date": None}, False),
    ],
)
def test_recycled_number_is_held_where_birth_date_and_sex_both_differ(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path, fields: dict[str, Any], held: bool
) -> None:
    create(xiehe_today, "P001", **fields)
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})

    done = service_today.run(source)

    (row,) = service_today.report(done["task_id"])
    assert row["outcome"] == ("failed" if held else "uploaded")
    if held:
        assert row["code"] == "demographics_mismatch"
    elif "UNKNOWN" not in fields.values() or fields.get("birth_date"):
        assert "demographics_differ" in {note["code"] for note in row["warnings"]}
    assert "1999" not in row["detail"]


def test_id_that_differs_in_case_or_width_is_the_same_patient(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    create(xiehe, "p001")
    create(xiehe, "Ｐ００２")
    source = write_tree(
        tmp_path / "dicom",
        {"2024-01": {"P001": {"a.dcm": a_dicom_file()}, "P002": {"a.dcm": a_dicom_file("P002")}}},
    )

    done = service.run(source)

    assert names(xiehe) == {("p001", "a.jpg"), ("Ｐ００２", "a.jpg")}
    assert done["progress"]["existing_patients_skipped"] == 2
    codes = {note["code"] for row in service.report(done["task_id"]) for note in row["warnings"]}
    assert "patient_id_form_differs" in codes


def test_id_that_differs_in_accents_is_held(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    create(xiehe, "JOSE1")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"JOSÉ1": {"a.dcm": a_dicom_file("JOSÉ1")}}})

    done = service.run(source)

    assert names(xiehe) == set()
    assert done["errors"][0]["code"] == "patient_id_collision"
    assert_closed(done["progress"])


def test_instance_of_another_patient_is_held(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    same = "1.2.3.4.5"
    source = write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {"P001": {"a.dcm": a_dicom_file(uid=same)}},
            "2024-02": {"P002": {"a.dcm": a_dicom_file("P002", uid=same), "b.dcm": a_dicom_file("P002")}},
        },
    )
    service_today.run(source / "2024-01")

    done = service_today.run(source)

    assert names(xiehe_today) == {("P001", "a.jpg"), ("P002", "b.jpg")}
    assert [entry["code"] for entry in done["errors"]] == ["instance_of_other_patient"]


def test_most_files_held_names_the_option(service_today: ServiceProcess, tmp_path: Path) -> None:
    files = {f"{number}.dcm": a_dicom_file("OTHER") for number in range(3)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    done = service_today.run(source)

    assert done["result"] == "failed"
    (warning,) = [note for note in done["warnings"] if note["code"] == "most_files_held"]
    assert "trust_dicom" in warning["message"]
    assert done["progress"]["total_patients_found"] == 0


def test_removed_image_is_not_brought_back_unasked(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(), "b.dcm": a_dicom_file()}}})
    service_today.run(source)
    (image,) = [image for image in xiehe_today.state()["images"] if image["filename"] == "a.jpg"]
    xiehe_today.delete_image(image["id"])

    second = service_today.run(source)

    codes = sorted(row["code"] for row in service_today.report(second["task_id"]))
    assert codes == ["duplicate", "removed_in_xiehe"]
    assert names(xiehe_today) == {("P001", "b.jpg")}

    third = service_today.run(source, reupload_removed=True)

    assert third["progress"]["new_images_uploaded"] == 1
    assert names(xiehe_today) == {("P001", "a.jpg"), ("P001", "b.jpg")}


@pytest.mark.parametrize("odd", ["a_b", "a%b", "a\\b", "x'y", "张三", "a&b=c"])
def test_ids_that_are_hard_to_search_are_found_again(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path, odd: str
) -> None:
    create(xiehe, "aXb")
    source = write_tree(
        tmp_path / "dicom",
        {"2024-01": {odd: {"a.dcm": a_dicom_file(odd)}}, "2024-02": {odd: {"b.dcm": a_dicom_file(odd)}}},
    )

    first, second = service.run(source / "2024-01"), service.run(source)

    assert first["progress"]["new_patients_created"] == 1, first
    assert second["progress"]["existing_patients_skipped"] == 1, second
    assert names(xiehe) == {(odd, "a.jpg"), (odd, "b.jpg")}
