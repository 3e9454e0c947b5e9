"""A full disk pauses the task, and what was on its way goes on when there is space again.

The disk is a real one, a small tmpfs in a mount namespace of the service's own, where the machine lets us make one (as
root, or in a user namespace). Elsewhere ENOSPC is injected at the border, by a ``sitecustomize`` of the test's own that
the interpreter loads before the service: there is no branch for it in the service.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import REPOSITORY, ColdService, ServiceProcess
from tests.integration.warm_start import Started
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, names
from tests.waiting import until

FILES = 30
FEW = 6
DISK_BYTES = 24 * 1024 * 1024
SMALL_DISK = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'

INJECTION = """
import builtins, errno, os, shutil, sqlite3
_FULL, _DISK = os.environ.get("TEST_DISK_FULL"), os.environ.get("TEST_DISK")
if _FULL is None:  # a render process does not inherit the environment
    _here = os.path.dirname(os.path.abspath(__file__))
    _FULL, _DISK = os.path.join(_here, "full"), os.path.join(_here, "disk")

def _refuse(path):
    if os.path.exists(_FULL) and str(os.fspath(path)).startswith(_DISK):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

_open, _os_open, _replace, _usage, _connect = builtins.open, os.open, os.replace, shutil.disk_usage, sqlite3.connect

def open(file, mode="r", *rest, **named):
    if not isinstance(file, int) and set(mode) & set("wax+"):
        _refuse(file)
    return _open(file, mode, *rest, **named)

def os_open(path, flags, *rest, **named):
    if flags & (os.O_WRONLY | os.O_RDWR) and isinstance(path, (str, bytes, os.PathLike)):
        _refuse(os.fsdecode(path))
    return _os_open(path, flags, *rest, **named)

def replace(source, target, **named):
    _refuse(target)
    return _replace(source, target, **named)

def disk_usage(path):
    usage = _usage(path)
    return usage._replace(free=0) if os.path.exists(_FULL) else usage

class Connection(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql.startswith("COMMIT") and os.path.exists(_FULL):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error
        return super().execute(sql, *rest)

builtins.open, os.open, os.replace, shutil.disk_usage = open, os_open, replace, disk_usage
sqlite3.connect = lambda *args, **named: _connect(*args, **{"factory": Connection, **named})
"""


@cache
def small_disks_can_be_made() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "sh", "-c", SMALL_DISK, "/mnt", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


class ServiceOnSmallDisk(ServiceProcess):
    """OUTPUT_DIR and DATA_DIR lie on a tmpfs that only the service's mount namespace has."""

    def __init__(self, folder: Path, backend_url: str, **settings: object) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir(parents=True)
        super().__init__(folder, backend_url, output_dir=self.disk / "out", data_dir=self.disk / "data", **settings)

    def launch(self) -> Started:
        service = [sys.executable, str(REPOSITORY / "main.py")]
        command = ["unshare", "-Urm", "sh", "-c", SMALL_DISK, str(self.disk), *service]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process

    def seen_from_outside(self, path: str | Path) -> Path:
        """A path of the service's namespace, for us."""
        return Path(f"/proc/{self.pid}/root{path}")

    def fill(self) -> None:
        filler = self.seen_from_outside(self.disk / "filler")
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        self.seen_from_outside(self.disk / "filler").unlink()


class ServiceWithInjection(ColdService):
    """Every write below ``disk`` fails while a marker lies beside it."""

    def __init__(self, folder: Path, backend_url: str, **settings: object) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(INJECTION)
        injected = {"pythonpath": folder, "test_disk": self.disk, "test_disk_full": folder / "full"}
        super().__init__(
            folder, backend_url, output_dir=self.disk / "out", data_dir=self.disk / "data", **injected, **settings
        )

    def seen_from_outside(self, path: str | Path) -> Path:
        return Path(path)

    def fill(self) -> None:
        (self.folder / "full").touch()

    def make_room(self) -> None:
        (self.folder / "full").unlink()


Disk = ServiceOnSmallDisk | ServiceWithInjection


@pytest.fixture(params=["tmpfs", "injected"])
def service_on_a_disk(request: pytest.FixtureRequest, xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[Disk]:
    """The injection stands in for the tmpfs where none can be made, so that no machine goes without both tests."""
    real = request.param == "tmpfs" and small_disks_can_be_made()
    kind = ServiceOnSmallDisk if real else ServiceWithInjection
    with kind(tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, max_workers=2) as process:
        yield process


def a_source(xiehe: SandboxProcess, root: Path) -> Path:
    xiehe.hold("create_session", skip=FEW)
    files = {f"{number:02d}.dcm": a_dicom_file(shade=number, size=256) for number in range(FILES)}
    return write_tree(root, {"2024-01": {"P001": files}})


def uploaded(service: ServiceProcess, task_id: str, at_least: int) -> bool:
    return int(service.status(task_id)["progress"]["new_images_uploaded"]) >= at_least


def assert_nothing_lost(service: Disk, xiehe: SandboxProcess, done: dict[str, Any]) -> None:
    assert (done["status"], done["result"]) == ("completed", "success"), done
    assert_closed(done["progress"])
    assert done["progress"]["new_images_uploaded"] == FILES
    assert len(names(xiehe)) == FILES
    rows = service.report(done["task_id"])
    assert len({row["source_path"] for row in rows}) == len(rows) == FILES
    for row in rows:
        row["jpg_path"] = str(service.seen_from_outside(row["jpg_path"]))
    assert_bytes_are_ours(xiehe, rows)


def test_full_disk_pauses_and_room_lets_it_go_on(
    service_on_a_disk: Disk, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    """Twice in one task, since what watches over pauses must itself live through a full disk."""
    service = service_on_a_disk
    task_id = service.start_import(a_source(xiehe_today, tmp_path / "dicom"))
    for times in (1, 2):
        until(partial(uploaded, service, task_id, times))
        xiehe_today.until_held("create_session")
        service.fill()
        xiehe_today.clear_faults()
        paused = service.wait(task_id, "paused")
        assert paused["pause_reason"] == "disk_full", paused
        assert paused["progress"]["failed_files"] == 0, paused
        xiehe_today.clear_requests()
        if times == 1:
            xiehe_today.hold("create_session", skip=FEW)
        service.make_room()
        service.wait(task_id, "running", "completed")

    assert_nothing_lost(service, xiehe_today, service.wait(task_id))


def test_disk_that_is_full_when_asked_for_answers_and_recovers(
    service_on_a_disk: Disk, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    service = service_on_a_disk
    source = a_source(xiehe_today, tmp_path / "dicom")
    service.fill()

    refused = service.http.post("/import", json={"source_path": str(source)})

    assert refused.status_code == 503, refused.text
    assert refused.json()["code"] == "disk_full"
    assert service.http.get("/health").status_code == 200
    service.make_room()
    xiehe_today.clear_faults()
    assert_nothing_lost(service, xiehe_today, service.run(source))
