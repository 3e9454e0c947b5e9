"""Fixtures of more than one unit test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_processor import read_file
from models import ReadRequest, RenderOptions
from tests.unit import image_files
from tests.unit.films import Film, Render


@pytest.fixture
def render_film(tmp_path: Path) -> Render:
    """Writes a data set to a file and renders it as PNG."""

    def run(ds: Dataset, syntax: str = image_files.EXPLICIT, **options: Any) -> Film:
        path = tmp_path / "film.dcm"
        path.write_bytes(image_files.to_bytes(ds, syntax))
        render = RenderOptions(output_format="png", **options)
        return Film(read_file(ReadRequest(str(path), named_dicom=True, output_prefix=f"{path}-out", render=render)))

    return run
