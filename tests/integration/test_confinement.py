"""What a warm render process may reach. Needs Linux with Landlock; that the tests ran is itself a test there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models import ReadReply, ReadRequest
from render import Confinement, ConfinementState, PoolOptions, landlock_abi
from render.pool import RenderPool
from tests.integration.service_process import ServiceProcess
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")

needs_landlock = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
SCOPES_SINCE = 6


@dataclass(frozen=True)
class Folders:
    root: Path
    source: Path
    partial: Path
    data: Path

    def confinement(self, *sources: Path) -> Confinement:
        hidden = (str(self.root / ".env"), str(self.data))
        return Confinement(tuple(map(str, sources or (self.source,))), str(self.partial), hidden)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path, tmp_path / "source", tmp_path / "output" / ".partial", tmp_path / "data")
    for folder in (made.source, made.partial, made.data):
        folder.mkdir(parents=True)
    for file in (made.source / "a.dcm", made.data / "history.db", tmp_path / ".env"):
        file.write_text("content", encoding="utf-8")
    yield made


def a_pool(confinement: Confinement | None) -> AbstractAsyncContextManager[RenderPool]:
    return RenderPool.open(PoolOptions(1, PATIENCE_S, 256, "render_jobs:behave", confinement=confinement))


async def tried(pool: RenderPool, deed: str, *words: object) -> str | None:
    """``ok``, or the name of the error."""
    path = " ".join(["try", deed, *map(str, words)])
    reply: ReadReply = await pool.run(ReadRequest(path, named_dicom=True, output_prefix="/nonexistent/x"))
    return reply.content_sha256


def test_the_kernel_of_the_checks_has_landlock() -> None:
    """Without it nothing below is tested; then this says so in the one place where it must not be overlooked."""
    if os.environ.get("CI"):
        assert landlock_abi() >= 1


@needs_landlock
async def test_a_process_reads_sources_writes_new_images_and_reaches_nothing_else(folders: Folders) -> None:
    async with a_pool(folders.confinement()) as pool:
        assert "Landlock" in pool.check().detail
        assert await tried(pool, "read", folders.source / "a.dcm") == "ok"
        assert await tried(pool, "write", folders.partial / "x-0001.jpg") == "ok"
        assert await tried(pool, "read", folders.partial / "x-0001.jpg") == "ok"
        assert await tried(pool, "remove", folders.partial / "x-0001.jpg") == "ok"
        for hidden in (
            folders.root / ".env",
            folders.data / "history.db",
            Path("/etc/passwd"),
            Path("/proc/1/environ"),
        ):
            assert await tried(pool, "read", hidden) == "EACCES", hidden
        outside = (folders.source / "a.dcm", folders.source / "new", folders.data / "history.db", folders.root / "new")
        for place in outside:
            assert await tried(pool, "write", place) == "EACCES", place
        assert await tried(pool, "remove", folders.source / "a.dcm") == "EACCES"
        assert await tried(pool, "link", folders.root / ".env", folders.partial / "x-0001.jpg") == "EACCES"
        assert await tried(pool, "pipe", folders.partial / "x-0001.jpg") == "EACCES"
        assert await tried(pool, "run", sys.executable) == "EACCES"
        if landlock_abi() >= SCOPES_SINCE:
            assert await tried(pool, "signal", os.getpid()) == "EPERM"


async def test_a_process_has_no_new_privileges_and_no_core_dumps(folders: Folders) -> None:
    async with a_pool(None) as pool:
        assert "NoNewPrivs:\t1" in str(await tried(pool, "status"))
        assert "Landlock" not in pool.check().detail
        assert await tried(pool, "read", folders.root / ".env") == "ok"


@needs_landlock
async def test_a_linked_root_is_the_folder_that_it_leads_to(folders: Folders) -> None:
    linked = folders.root / "linked"
    linked.symlink_to(folders.source)
    async with a_pool(folders.confinement(linked)) as pool:
        assert await tried(pool, "read", linked / "a.dcm") == "ok"
        assert await tried(pool, "read", folders.source / "a.dcm") == "ok"
        assert await tried(pool, "read", folders.root / ".env") == "EACCES"


@needs_landlock
@pytest.mark.parametrize("where", [".", "data"])
async def test_a_secret_inside_a_readable_folder_is_told(folders: Folders, where: str) -> None:
    async with a_pool(folders.confinement(folders.root / where)) as pool:
        assert ConfinementState.EXPOSED.words in pool.check().detail
        assert await tried(pool, "write", folders.data / "history.db") == "EACCES"


async def test_a_kernel_without_landlock_is_told(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process cannot be confined; it works, and the state says so."""
    module = folders.root / "sitecustomize.py"
    module.write_text("import render.confinement as c\nc._CREATE_RULESET = 9999\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folders.root))
    async with a_pool(folders.confinement()) as pool:
        assert ConfinementState.UNSUPPORTED.words in pool.check().detail
        assert await tried(pool, "read", folders.source / "a.dcm") == "ok"


@needs_landlock
@pytest.mark.parametrize("jobs_before", [0, 1, 2])
async def test_a_source_that_came_after_the_process_costs_no_file(folders: Folders, jobs_before: int) -> None:
    """As a share that is mounted again: the process's right is to the folder that was there before."""
    async with RenderPool.open(PoolOptions(1, PATIENCE_S, 2048, confinement=folders.confinement())) as pool:
        request = ReadRequest(str(folders.source / "a.dcm"), named_dicom=True, output_prefix=str(folders.partial / "x"))
        for _ in range(jobs_before):
            await pool.run(request)
        folders.source.rename(folders.root / "before")
        folders.source.mkdir()
        (folders.source / "a.dcm").write_text("content", encoding="utf-8")
        reply = await pool.run(request)
    assert reply.failure is not None
    assert reply.failure.code == "not_dicom"


# --- the service -----------------------------------------------------------------------------------------------------

PRIVATE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
from web.server.private_memory import keep_memory_private
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
libc.prctl(4, 1, 0, 0, 0)
def seen():
    child = os.fork()
    if child == 0:
        libc.prctl(4, 1, 0, 0, 0)
        try:
            for name in ("environ", "mem"):
                os.close(os.open(f"/proc/{os.getppid()}/{name}", os.O_RDONLY))
        except PermissionError:
            os._exit(13)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
before = seen()
keep_memory_private()
import resource
print(before, seen(), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_no_process_of_the_account_reads_the_services_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PRIVATE], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "13", "0", "0"], done.stderr


def test_the_service_keeps_its_memory_private_and_says_what_its_processes_may(tmp_path: Path) -> None:
    source = tmp_path / "dicom"
    source.mkdir()
    with ServiceProcess(tmp_path / "service", "http://127.0.0.1:9", dicom_source_path=source) as service:
        limits = Path(f"/proc/{service.pid}/limits").read_text(encoding="utf-8")
        checks = {check["name"]: check for check in service.http.get("/health/ready").json()["checks"]}
    (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    state = ConfinementState.CONFINED if landlock_abi() else ConfinementState.UNSUPPORTED
    assert state.words in checks["decoders"]["detail"]
