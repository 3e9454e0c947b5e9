"""Files made to hurt: each gets the outcome that is right for it, quickly, and leaves nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_processor import read_file
from models import ReadRequest, RenderOptions
from tests.unit.hostile_files import IGNORED, OK, HostileFile, hostile_files

MAX_CPU_SECONDS = 5.0
"""Of this process, so that others may want the machine meanwhile."""


@pytest.mark.parametrize("hostile", list(hostile_files()), ids=lambda hostile: hostile.name)
def test_hostile_file_gets_its_outcome(hostile: HostileFile, tmp_path: Path) -> None:
    path, out = tmp_path / "a.dcm", tmp_path / "out"
    out.mkdir()
    path.write_bytes(hostile.content)
    started = time.process_time()
    reply = read_file(ReadRequest(str(path), True, str(out / "a"), RenderOptions()))
    assert time.process_time() - started < MAX_CPU_SECONDS
    got = IGNORED if reply.ignored else reply.failure.code if reply.failure else OK
    assert got in hostile.expected
    if got == OK:
        assert np.asarray(Image.open(reply.images[0].path)).size
    else:
        assert list(out.iterdir()) == []
        assert reply.images == ()


def test_nothing_of_the_patient_is_said_of_a_hostile_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for hostile in hostile_files():
        path = tmp_path / "a.dcm"
        path.write_bytes(hostile.content)
        reply = read_file(ReadRequest(str(path), True, str(tmp_path / "a"), RenderOptions()))
        assert "Test" not in (reply.failure.detail if reply.failure else "")
    printed = capfd.readouterr()
    assert "Test" not in printed.out + printed.err
