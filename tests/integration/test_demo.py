"""``python -m demo`` as a newcomer runs it: right or loudly wrong, and nothing left running."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from demo.checks import all_checks
from demo.importing import COUNTERS, Imported
from demo.people import PEOPLE
from demo.sample_tree import Expected, SampleTree
from tests.integration.service_process import REPOSITORY
from tests.waiting import PATIENCE_S


class Demo:
    """The demonstration under way; what it prints is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n{self.printed}")

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        self.printed += self.process.stdout.read()
        return self.process.wait(PATIENCE_S)

    @property
    def urls(self) -> set[str]:
        return set(re.findall(r"http://127\.0\.0\.1:\d+", self.printed))


@contextmanager
def started_demo(folder: Path, *options: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--folder", str(folder), *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    too_late = threading.Timer(PATIENCE_S, process.terminate)
    too_late.start()
    try:
        yield Demo(process)
    finally:
        too_late.cancel()
        process.terminate()
        process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", trust_env=False)
    except httpx.ConnectError:
        return False
    return True


def test_demo_imports_everything_keeps_both_processes_up_and_stops_them_on_ctrl_c(tmp_path: Path) -> None:
    with started_demo(tmp_path / "run", "--keep-running") as demo:
        demo.read_until("curl -X POST")
        assert len(demo.urls) == 2
        assert all(answers(url) for url in demo.urls)
        assert demo.interrupt() == 0, demo.printed
    assert "✗" not in demo.printed
    assert "/dashboard\n" in demo.printed
    assert "两个进程均已停止" in demo.printed.splitlines()[-1]
    assert "100.0%" in demo.printed
    assert not any(answers(url) for url in demo.urls)


def test_demo_interrupted_half_way_stops_both_processes(tmp_path: Path) -> None:
    with started_demo(tmp_path / "run") as demo:
        demo.read_until("first import")
        assert demo.interrupt() == 130, demo.printed
    assert len(demo.urls) == 2
    assert not any(answers(url) for url in demo.urls)


def test_demo_does_not_clear_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    precious = tmp_path / "precious.dcm"
    precious.write_bytes(b"x")
    with started_demo(tmp_path) as demo:
        assert demo.process.wait(PATIENCE_S) == 1
    assert precious.read_bytes() == b"x"


def one_import(**counts: int) -> Imported:
    row = {"source_path": "/tree/2024-01/P001/a.dcm", "outcome": "uploaded", "code": "uploaded"}
    progress = dict.fromkeys(COUNTERS, 0) | {"total_files_scanned": 1, "total_patients_found": 1} | counts
    return Imported({"progress": progress, "skipped_folders": [{"path": "/tree/odd"}]}, [row], 1.0)


@pytest.mark.parametrize(
    ("wrong", "said_by"),
    [
        ({}, set()),
        ({"patient_id": "P002"}, {"恰好一份", "检查类型", "逐字节"}),
        ({"filename": "b.jpg"}, {"恰好一份", "检查类型"}),
        ({"sha256": "0"}, {"逐字节"}),
        ({"description": None}, {"检查类型"}),
    ],
)
def test_what_xiehe_has_wrong_is_noticed(tmp_path: Path, wrong: dict[str, str | None], said_by: set[str]) -> None:
    picture = tmp_path / "2024-01" / "P001" / "a.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"jpg")
    person = PEOPLE["P001"]
    file = Expected("/tree/2024-01/P001/a.dcm", "uploaded", "uploaded", "P001", ("a.jpg",), "正位X光片")
    tree = SampleTree(Path("/tree"), (file,), 0, Path("/tree/odd"))
    image = {"patient_id": "P001", "filename": "a.jpg", "has_content": True, "description": "正位X光片"}
    image["sha256"] = hashlib.sha256(b"jpg").hexdigest()
    row = {"patient_id": "P001", "name": person.shown_name, "gender": "男", "birth_date": person.birth_date.isoformat()}
    state = {"patients": [row], "images": [image | wrong], "orphans": []}
    first = one_import(new_images_uploaded=1, new_patients_created=1, frames_uploaded=1)
    second = one_import(duplicate_images_skipped=1, existing_patients_skipped=1)
    found = [check.name for check in all_checks(tree, first, second, state, tmp_path) if check.differences]
    assert len(found) == len(said_by), found
    assert all(any(words in name for name in found) for words in said_by)
