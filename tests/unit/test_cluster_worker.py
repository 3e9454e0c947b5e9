"""What a Dask worker must see of the shared storage before it gets jobs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from render import PoolOptions
from render.cluster.protocol import HostSetup
from render.cluster.worker import _problem_here


@pytest.fixture
def setup(tmp_path: Path) -> HostSetup:
    """That of a worker that sees everything."""
    for folder in ("partial", "dicom/2024-01"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "partial" / "probe-1").write_text("1")
    (tmp_path / "rules.toml").write_bytes(b"rules")
    rules = (str(tmp_path / "rules.toml"), hashlib.sha256(b"rules").hexdigest())
    probe = str(tmp_path / "partial" / "probe-1")
    return HostSetup("owner", "1", probe, PoolOptions(1, 1.0, 256), (str(tmp_path / "dicom"),), (rules,))


def test_a_worker_that_sees_everything_has_no_problem_and_leaves_no_file(setup: HostSetup) -> None:
    assert _problem_here(setup) == ""
    assert os.listdir(os.path.dirname(setup.probe)) == ["probe-1"]


def test_a_folder_of_the_same_name_elsewhere_is_not_the_shared_one(setup: HostSetup) -> None:
    assert "不是同一个共享目录" in _problem_here(replace(setup, token="2"))
    assert "看不到 OUTPUT_DIR" in _problem_here(replace(setup, probe=f"{setup.probe}0"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_worker_of_another_account_cannot_write(setup: HostSetup) -> None:
    os.chmod(os.path.dirname(setup.probe), 0o500)
    assert "不能写入 OUTPUT_DIR" in _problem_here(setup)


def test_an_empty_mount_point_is_no_source(setup: HostSetup) -> None:
    os.rmdir(os.path.join(setup.roots[0], "2024-01"))
    assert setup.roots[0] in _problem_here(setup)


def test_exam_rules_have_to_be_the_same(setup: HostSetup) -> None:
    Path(setup.files[0][0]).write_bytes(b"other rules")
    assert "与本服务的内容不同" in _problem_here(setup)
    os.unlink(setup.files[0][0])
    assert "与本服务的内容不同" in _problem_here(setup)
