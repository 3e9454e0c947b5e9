"""The history's file: who owns it, who may read it, and what is said when it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from errors import DataDirInUseError, DiskFullError, HistoryError
from history import History
from history.database import connect, prepare
from history.integrity import DamageLatch
from history.writer import GroupCommitWriter
from models import FileOutcome, ImportOptions, OutcomeKind, TaskRecord, TaskStatus
from tests.waiting import PATIENCE_S

NOON = datetime(2024, 5, 6, 12, 0, 0, tzinfo=UTC)
TASK = TaskRecord("t1", "/srv/dicom", ImportOptions(), TaskStatus.RUNNING, NOON)
ROOT = Path(__file__).parents[2]

OWNER = """
import asyncio, sys
from history import History

async def main():
    async with History.open(sys.argv[1]):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

RECORDER = """
import asyncio, sys
from tests.unit.test_history_faults import TASK, an_outcome
from history import History

async def main():
    async with History.open(sys.argv[1]) as history:
        await history.add_task(TASK)
        lanes = iter(range(10**9))
        async def lane():
            for n in lanes:
                await history.record_outcome("t1", an_outcome(n))
                print(n, flush=True)
        await asyncio.gather(*(lane() for _ in range(32)))

asyncio.run(main())
"""


def an_outcome(number: int) -> FileOutcome:
    return FileOutcome(
        source_path=f"/srv/dicom/2024-01/P1/{number}.dcm",
        month="2024-01",
        kind=OutcomeKind.UPLOADED,
        code="uploaded",
        detail="x" * 200,
        finished_at=NOON,
    )


async def record(writer: GroupCommitWriter, number: int) -> bool:
    return await writer.run(lambda tx: tx.record_outcome("t1", an_outcome(number), (), None))


@contextmanager
def another_process(program: str, data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- one owner -----------------------------------------------------------------------------------------------------


async def test_a_second_owner_is_refused_with_the_pid_and_start_of_the_first(tmp_path: Path) -> None:
    with another_process(OWNER, tmp_path) as owner:
        assert line_of(owner) == "open"
        with pytest.raises(DataDirInUseError) as refused:
            async with History.open(str(tmp_path)):
                pass
        assert str(owner.pid) in refused.value.detail
        assert f"{datetime.now(UTC):%Y-}" in refused.value.detail


async def test_the_lock_frees_itself_when_its_owner_is_killed(tmp_path: Path) -> None:
    with another_process(OWNER, tmp_path) as owner:
        assert line_of(owner) == "open"
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        async with History.open(str(tmp_path)) as history:
            assert await history.list_tasks(0, 10) == (0, [])


async def test_a_second_opening_in_one_process_is_refused_too(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)):
        with pytest.raises(DataDirInUseError):
            async with History.open(str(tmp_path)):
                pass
    async with History.open(str(tmp_path)):
        pass


async def test_every_outcome_that_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with another_process(RECORDER, tmp_path) as recorder:
        acknowledged = {int(line_of(recorder)) for _ in range(300)}
        recorder.kill()
        assert recorder.stdout is not None
        acknowledged |= {int(line) for line in recorder.stdout.read().split("\n")[:-1]}
        recorder.wait()
    async with History.open(str(tmp_path)) as history:
        rows = await history.report_lines("t1", 0, 1_000_000)
        kept = {int(Path(str(path)).stem) for _, path, *_ in rows}
        assert acknowledged <= kept
        assert len(rows) == len(kept) == (await history.counts("t1")).total_files_scanned


# --- who may read it -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
async def test_folder_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    usual = os.umask(0)
    try:
        async with History.open(str(data_dir)) as history:
            await history.add_task(TASK)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}
    finally:
        os.umask(usual)
    assert {"owner.lock", "history.sqlite3", "history.sqlite3-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


# --- what is said when it fails ------------------------------------------------------------------------------------


async def opening_fails(data_dir: Path) -> HistoryError:
    with pytest.raises(HistoryError) as failed:
        async with History.open(str(data_dir)):
            pass
    assert isinstance(failed.value, HistoryError)
    return failed.value


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite3"
    database.write_bytes(b"this is not a database, but long enough to look into" * 100)
    failed = await opening_fails(tmp_path)
    assert str(database) in failed.detail
    assert "损坏" in failed.detail


async def test_a_damaged_database_is_named_at_start(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(TASK)
    database = tmp_path / "history.sqlite3"
    first_page, rest = database.read_bytes()[:4096], database.read_bytes()[4096:]
    database.write_bytes(first_page + b"\xa5" * len(rest))
    assert "损坏" in (await opening_fails(tmp_path)).detail
    database.unlink()
    async with History.open(str(tmp_path)) as history:
        assert await history.unfinished_tasks() == []


async def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)):
        pass
    with closing(sqlite3.connect(tmp_path / "history.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 999")
    assert "999" in (await opening_fails(tmp_path)).detail


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in (await opening_fails(tmp_path / "file" / "data")).detail


async def test_a_database_that_another_program_locks_is_told_and_works_again_later(tmp_path: Path) -> None:
    path = str(tmp_path / "history.sqlite3")
    prepare(path)
    writer_connection = connect(path)
    writer_connection.execute("PRAGMA busy_timeout = 10")
    writer = GroupCommitWriter(writer_connection, path, DamageLatch(path))
    with closing(connect(path)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="锁定"):
            await writer.run(lambda tx: tx.add_task(TASK))
        intruder.execute("ROLLBACK")
    await writer.run(lambda tx: tx.add_task(TASK))
    await writer.close()


async def test_a_full_disk_loses_nothing_that_was_acknowledged_and_recovers(tmp_path: Path) -> None:
    """SQLite's own page limit stands in for the disk: it fails with the same code."""
    path = str(tmp_path / "history.sqlite3")
    prepare(path)
    connection = connect(path)
    writer = GroupCommitWriter(connection, path, DamageLatch(path))
    await writer.run(lambda tx: tx.add_task(TASK))
    connection.execute("PRAGMA max_page_count = 60")
    written = 0
    with pytest.raises(DiskFullError, match=r"history\.sqlite3"):
        while written < 10_000:
            await record(writer, written)
            written += 1
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await record(writer, written)
    await writer.close()
    async with History.open(str(tmp_path)) as history:
        assert (await history.counts("t1")).total_files_scanned == written + 1
        assert len(await history.report_lines("t1", 0, 100_000)) == written + 1


# --- the writer ----------------------------------------------------------------------------------------------------


async def test_what_waits_is_written_before_closing_and_nothing_after(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(TASK)
        waiting = [asyncio.create_task(history.record_outcome("t1", an_outcome(n))) for n in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [True] * 50
    with pytest.raises(HistoryError):
        await history.record_outcome("t1", an_outcome(99))


async def test_a_cancelled_wait_leaves_the_write_and_the_writer_alone(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(TASK)
        impatient = asyncio.create_task(history.record_outcome("t1", an_outcome(1)))
        await asyncio.sleep(0)
        impatient.cancel()
        await history.record_outcome("t1", an_outcome(2))
        assert impatient.cancelled()
        assert (await history.counts("t1")).total_files_scanned == 2


async def test_outcomes_that_arrive_together_share_commits(tmp_path: Path) -> None:
    """Each commit writes its pages to the WAL once more, so shared commits show in the WAL's size."""
    async with History.open(str(tmp_path)) as history:
        await history.add_task(TASK)
        wal = tmp_path / "history.sqlite3-wal"
        before = wal.stat().st_size
        await asyncio.gather(*(history.record_outcome("t1", an_outcome(n)) for n in range(500)))
        together = wal.stat().st_size - before
        assert together < 500 * 4096


async def test_an_own_defect_in_one_write_is_raised_and_rolled_back(tmp_path: Path) -> None:
    path = str(tmp_path / "history.sqlite3")
    prepare(path)
    writer = GroupCommitWriter(connect(path), path, DamageLatch(path))
    await writer.run(lambda tx: tx.add_task(TASK))

    def defect(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await writer.run(defect)
    assert await record(writer, 1)
    await writer.close()


async def test_the_event_loop_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    path = str(tmp_path / "history.sqlite3")
    prepare(path)
    writer = GroupCommitWriter(connect(path), path, DamageLatch(path))
    released = threading.Event()
    slow = asyncio.create_task(writer.run(lambda tx: released.wait(timeout=PATIENCE_S)))
    queued = asyncio.create_task(writer.run(lambda tx: tx.add_task(TASK)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not slow.done()
    assert not queued.done()
    released.set()
    assert await slow
    await queued
    await writer.close()
