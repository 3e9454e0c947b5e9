"""GET /import/{id}/files: what a dashboard pages through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.service_process import ServiceProcess


@pytest.fixture
def task_id(service_today: ServiceProcess, tmp_path: Path) -> str:
    """An ended task: three pictures in two months, one broken file in the second."""
    source = write_tree(
        tmp_path / "dicom",
        {
            "2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1), "b.dcm": a_dicom_file(shade=2)}},
            "2024-02": {"P002": {"c.dcm": a_dicom_file("P002"), "cut.dcm": a_dicom_file("P002")[:700]}},
        },
    )
    return str(service_today.run(source)["task_id"])


def page(service: ServiceProcess, task_id: str, **query: object) -> dict[str, Any]:
    answer = service.http.get(f"/import/{task_id}/files", params={k: str(v) for k, v in query.items()})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return sorted(Path(row["source_path"]).name for row in found["files"])


def test_files_are_filtered_by_outcome_code_and_month(service_today: ServiceProcess, task_id: str) -> None:
    everything = page(service_today, task_id)
    assert (everything["total"], everything["next_after"]) == (4, None)
    assert [row["number"] for row in everything["files"]] == [1, 2, 3, 4]
    assert names(page(service_today, task_id, outcome="uploaded")) == ["a.dcm", "b.dcm", "c.dcm"]
    assert names(page(service_today, task_id, month="2024-02")) == ["c.dcm", "cut.dcm"]
    assert names(page(service_today, task_id, outcome="uploaded", month="2024-02")) == ["c.dcm"]
    (failed,) = page(service_today, task_id, outcome="failed")["files"]
    assert names(page(service_today, task_id, code=failed["code"])) == ["cut.dcm"]
    assert page(service_today, task_id, month="2024-03") == {"total": 0, "files": [], "next_after": None}


def test_pages_go_on_where_the_last_one_ended(service_today: ServiceProcess, task_id: str) -> None:
    first = page(service_today, task_id, limit=3)
    second = page(service_today, task_id, limit=3, after=first["next_after"])
    assert (first["total"], second["total"]) == (4, 4)
    assert [row["number"] for row in first["files"] + second["files"]] == [1, 2, 3, 4]
    assert second["next_after"] is None


def test_rows_are_those_of_the_report(service_today: ServiceProcess, task_id: str) -> None:
    report = service_today.report(task_id)
    assert page(service_today, task_id)["files"] == report
    for row in report:
        alone = service_today.http.get(f"/import/{task_id}/files/{row['number']}")
        assert alone.json() == row


def test_what_is_not_there_is_not_found(service_today: ServiceProcess, task_id: str) -> None:
    missing = service_today.http.get(f"/import/{task_id}/files/99")
    assert (missing.status_code, missing.json()["code"]) == (404, "file_not_found")
    for path in ("/import/nobody/files", "/import/nobody/files/1"):
        unknown = service_today.http.get(path)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "task_not_found")
    for query in ("limit=0", "limit=501", "after=-1", "month=January", "outcome=lost"):
        refused = service_today.http.get(f"/import/{task_id}/files?{query}")
        assert refused.status_code == 422, query
