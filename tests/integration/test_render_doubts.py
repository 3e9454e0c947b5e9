"""Faults of the machine that a render process reports, perhaps wrongly: when they are retried, and when they count."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from errors import DiskFullError, OutOfDescriptorsError, OutputUnusableError
from models import ReadReply, ReadRequest, RenderOptions
from render import ConfinementState, PoolOptions
from render.pool import RenderPool
from render.protocol import WorkerSetup
from render.worker_process import RenderProcess
from tests.dicom_files import a_dicom_file
from tests.integration.test_render_pool import a_request
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="OUTPUT_DIR is a POSIX folder")


def a_pool(workers: int) -> AbstractAsyncContextManager[RenderPool]:
    return RenderPool.open(PoolOptions(workers, PATIENCE_S, 256, "render_jobs:behave", check=None))


@pytest.fixture
def confined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool treats its processes as confined on every kernel; this process may read every file."""
    monkeypatch.setattr("os.access", lambda *_: True)
    get_ready = RenderProcess._get_ready

    async def get_confined(process: RenderProcess, setup: WorkerSetup) -> str:
        reason = await get_ready(process, setup)
        process.confinement = ConfinementState.CONFINED
        return reason

    monkeypatch.setattr(RenderProcess, "_get_ready", get_confined)


# --- processes that know the machine as it was -----------------------------------------------------------------------


@pytest.mark.usefixtures("confined")
@pytest.mark.parametrize("fault", ["unreadable_file", "configuration_error", "output_unusable", "disk_full"])
@pytest.mark.parametrize(("workers", "at_once"), [(2, 1), (3, 2), (2, 40)])
async def test_what_only_old_processes_cannot_do_costs_no_file(
    tmp_path: Path, fault: str, workers: int, at_once: int
) -> None:
    """A share is mounted again, or EXAM_RULES_FILE saved anew: every process that is there is closed to it."""
    mark, met, turns = tmp_path / "mark", tmp_path / "met", asyncio.Semaphore(at_once)
    met.mkdir()

    async def read(pool: RenderPool, number: int) -> ReadReply:
        async with turns:
            return await pool.run(a_request("stale", mark, fault, prefix=str(tmp_path / f"{number}")))

    async with a_pool(workers) as pool:
        await asyncio.gather(*(pool.run(a_request("meet", met, workers, mark)) for _ in range(workers)))
        mark.touch()
        async with asyncio.timeout(PATIENCE_S):
            replies = await asyncio.gather(*(read(pool, number) for number in range(40)), return_exceptions=True)
    assert {reply.ignored if isinstance(reply, ReadReply) else repr(reply) for reply in replies} == {"not_dicom"}


# --- faults that do not show from the service ------------------------------------------------------------------------

FAULTS = {
    "disk_full": DiskFullError,
    "output_unusable": OutputUnusableError,
    "out_of_descriptors": OutOfDescriptorsError,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_two_processes_meet_counts_once_a_file(tmp_path: Path, fault: str) -> None:
    """Space, or a descriptor, may be there again when the service looks; but no file holds a task for ever."""
    log = tmp_path / "log"
    async with a_pool(1) as pool:
        request = a_request("fault", fault, log, prefix=str(tmp_path / "x"))
        with pytest.raises(FAULTS[fault]):
            await pool.run(request)
        assert len(set(log.read_text(encoding="utf-8").split())) == 2
        failed = await pool.run(request)
        assert failed.failure is not None
        assert failed.failure.code == "render_crashed"
        with pytest.raises(FAULTS[fault]):  # a person asks for it anew
            await pool.run(request)
        assert (await pool.run(a_request("nothing"))).failure is None


async def test_no_descriptor_in_the_service_either_counts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    async with a_pool(1) as pool:
        monkeypatch.setattr("render.pool.are_left", lambda _: False)
        with pytest.raises(OutOfDescriptorsError):
            await pool.run(a_request("fault", "out_of_descriptors", log))
    assert len(log.read_text(encoding="utf-8").split()) == 1


async def test_pictures_made_before_the_disk_was_full_are_there_while_the_service_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else there would be space again; they are gone afterwards."""
    seen: list[list[str]] = []

    def look(request: ReadRequest) -> bool:
        seen.append(sorted(os.listdir(tmp_path)))
        return False

    monkeypatch.setattr("render.pool._takes_an_image", look)
    async with RenderPool.open(
        PoolOptions(1, PATIENCE_S, 2048, "tests.integration.render_jobs:read_on_small_disk", check=None)
    ) as pool:
        path = tmp_path / "in" / "a.dcm"
        path.parent.mkdir()
        path.write_bytes(a_dicom_file(frames=3))
        with pytest.raises(DiskFullError):
            await pool.run(
                ReadRequest(str(path), named_dicom=True, output_prefix=str(tmp_path / "x"), render=RenderOptions())
            )
    assert seen == [["in", "x-0001.jpg"]]
    assert os.listdir(tmp_path) == ["in"]
