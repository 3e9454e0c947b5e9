"""What a person should know of a picture stands in the report: one film for each warning, through the whole service."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.dicom_files import write_tree
from tests.integration.conftest import LEASE_SECONDS
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed
from tests.unit.films import dot, film, lut, plane
from tests.unit.image_files import to_bytes

WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}


def _films() -> Mapping[str, Dataset]:
    """A film for each warning, named by it; ``sound`` has none, ``unfit`` and ``bare`` have no usable window."""
    return {
        "sound": film(**WINDOW),
        "bare": film(),
        "for_processing": film(PresentationIntentType="FOR PROCESSING", **WINDOW),
        "burned_in_annotation": film(BurnedInAnnotation="YES", **WINDOW),
        "shutter_not_applied": film(ShutterShape="RECTANGULAR", **WINDOW),
        "overlay_not_drawn": plane(film(**WINDOW), dot(9, 9, (64, 256))),
        "window_does_not_fit": film(WindowCenter=-600, WindowWidth=300),
        "lut_data_mismatch": film(VOILUTSequence=lut(list(range(4000)), 16, count=4096), **WINDOW),
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A month with the films of one patient."""
    files = {}
    for number, (name, ds) in enumerate(_films().items()):
        ds.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.77.{number}"
        files[f"{name}.dcm"] = to_bytes(ds)
    return write_tree(tmp_path / "source", {"2024-01": {"P001": files}})


def _rows(service: ServiceProcess, task_id: str, **query: Any) -> dict[str, dict[str, Any]]:
    return {Path(row["source_path"]).stem: row for row in service.report(task_id, **query)}


def _xiehe(folder: Path) -> SandboxProcess:
    return SandboxProcess(4, folder / "xiehe", lease_seconds=LEASE_SECONDS)


def test_each_warning_stands_in_the_report(tmp_path: Path, source: Path) -> None:
    with _xiehe(tmp_path) as xiehe, ServiceProcess(tmp_path / "s", xiehe.url, api_token=xiehe.token) as service:
        body = service.run(source)
        rows = _rows(service, body["task_id"])

    assert body["result"] == "success"
    codes = {name: [warning["code"] for warning in row["warnings"]] for name, row in rows.items()}
    assert codes == {name: [] if name in ("sound", "bare") else [name] for name in _films()}
    sources = {name: row["window_source"] for name, row in rows.items()}
    unwindowed = ("bare", "window_does_not_fit")
    assert sources == {name: "percentile" if name in unwindowed else "file" for name in _films()}


@pytest.mark.parametrize("dry_run", [False, True])
def test_raw_detector_data_are_listed_as_ignored_where_they_are_not_wanted(
    tmp_path: Path, source: Path, dry_run: bool
) -> None:
    settings = {"skip_for_processing": True}
    with (
        _xiehe(tmp_path) as xiehe,
        ServiceProcess(tmp_path / "s", xiehe.url, api_token=xiehe.token, **settings) as service,
    ):
        body = service.run(source, dry_run=dry_run)
        rows = _rows(service, body["task_id"], include="ignored")

    assert_closed(body["progress"])
    assert (rows["for_processing"]["outcome"], rows["for_processing"]["code"]) == ("ignored", "for_processing")
    assert {row["outcome"] for name, row in rows.items() if name != "for_processing"} == {
        "would_upload" if dry_run else "uploaded"
    }
    assert body["progress"]["ignored_files"] == 1
    assert body["progress"]["total_files_scanned"] == len(_films()) - 1


def test_side_marker_is_in_the_stored_picture_where_it_is_wanted(tmp_path: Path, source: Path) -> None:
    settings = {"draw_overlays": True, "output_format": "png"}
    with (
        _xiehe(tmp_path) as xiehe,
        ServiceProcess(tmp_path / "s", xiehe.url, api_token=xiehe.token, **settings) as service,
    ):
        task_id = service.run(source)["task_id"]
        row = _rows(service, task_id)["overlay_not_drawn"]
        stored = service.http.get(f"/import/{task_id}/files/{row['number']}/picture").content

    assert row["warnings"] == []
    assert np.asarray(Image.open(io.BytesIO(stored)))[9, 9] == 255
