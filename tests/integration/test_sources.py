"""GET /sources: choosing what to import without typing paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess


@pytest.fixture
def rooted(xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service with one root, which holds its own output, too."""
    root = write_tree(
        tmp_path / "dicom",
        {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}, "2024-02": {"P 2 王": {"a.dcm": a_dicom_file("P 2 王")}}},
    )
    with ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        dicom_source_path=root,
        output_dir=root / "jpg",
    ) as service:
        yield service


def test_from_the_roots_to_a_patient_and_into_an_import(rooted: ServiceProcess, tmp_path: Path) -> None:
    top = rooted.http.get("/sources").json()
    assert set(top) == {"path", "kind", "parent", "importable", "roots", "folders", "truncated"}
    assert (top["path"], top["kind"], top["roots"]) == (None, "roots", [str(tmp_path / "dicom")])

    root = rooted.http.get("/sources", params={"path": top["folders"][0]["path"]}).json()
    assert [folder["name"] for folder in root["folders"]] == ["2024-02", "2024-01"]
    month = rooted.http.get("/sources", params={"path": root["folders"][0]["path"]}).json()
    assert (month["kind"], month["parent"]) == ("month", root["path"])
    (patient,) = month["folders"]
    assert patient | {"path": ""} == {"name": "P 2 王", "path": "", "kind": "patient", "importable": True}

    assert rooted.run(patient["path"])["progress"]["new_images_uploaded"] == 1


def test_refusals_are_those_of_an_import(rooted: ServiceProcess, tmp_path: Path) -> None:
    for path, status, code in (
        (tmp_path, 403, "source_not_allowed"),
        (tmp_path / "dicom" / "jpg", 403, "source_not_allowed"),
        (tmp_path / "dicom" / "2025-01", 400, "source_not_found"),
        (tmp_path / "dicom" / "2024-01" / "P001" / "a.dcm", 400, "source_not_found"),
        ("a\0b", 422, "invalid_request"),
    ):
        looked = rooted.http.get("/sources", params={"path": str(path)})
        assert (looked.status_code, looked.json()["code"]) == (status, code), path
        ordered = rooted.http.post("/import", json={"source_path": str(path)})
        assert (ordered.status_code, ordered.json()["code"]) == (status, code), path
