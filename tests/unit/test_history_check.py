"""The check of the history's file: what is damage, what is a fault that may pass, and when it is made again."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from errors import HistoryDamagedError, HistoryError
from history import History, integrity
from history.database import connect_for_reading, first_finding
from history.integrity import DamageLatch, IntegrityCheck
from importing.background import housekeeping
from importing.background.housekeeping import Housekeeping
from importing.background.supervisor import BackOff
from tests.unit.damaged_files import damage, garbage, pages_by_kind, zeros
from tests.unit.test_damaged_history import DATABASE, fill
from tests.waiting import PATIENCE_S


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a sound history."""
    folder = tmp_path_factory.mktemp("sound")
    await fill(folder)
    return folder / DATABASE


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    """A copy in a DATA_DIR of its own."""
    (tmp_path / "data").mkdir()
    return Path(shutil.copy(sound, tmp_path / "data" / DATABASE))


# --- what SQLite's words mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [7, 10, 266, 522, 3082, 6410, 5, 14, 9])
@pytest.mark.parametrize("place", ["Page 4", "Tree 4 page 4", "On tree page 4 cell 0"])
def test_a_page_that_could_not_be_read_is_no_damage(code: int, place: str) -> None:
    """NOMEM, IOERR and its extended codes, BUSY, CANTOPEN, INTERRUPT: https://www.sqlite.org/rescode.html."""
    with pytest.raises(HistoryError) as refused:
        finding_of(f"*** in database main ***\n{place}: unable to get the page. error code={code}")
    assert not isinstance(refused.value, HistoryDamagedError)


@pytest.mark.parametrize("line", ["Tree 7 page 7 cell 0: failed to get page 9", "Freelist: failed to get page 3"])
def test_a_page_of_a_list_that_could_not_be_read_is_no_damage(line: str) -> None:
    with pytest.raises(HistoryError):
        finding_of(f"*** in database main ***\n{line}")


@pytest.mark.parametrize(
    ("verdict", "finding"),
    [
        ("ok", None),
        ("*** in database main ***\nPage 4: btreeInitPage() returns error code 11", "Page 4: btreeInitPage() returns error code 11"),  # noqa: E501
        ("*** in database main ***\nPage 4: unable to get the page. error code=267", "Page 4: unable to get the page. error code=267"),  # noqa: E501
        ("*** in database main ***\nTree 4 page 9: free space corruption\nPage 8: x", "Tree 4 page 9: free space corruption"),  # noqa: E501
        ("row 3 missing from index files_in_groups", "row 3 missing from index files_in_groups"),
        ("*** in database main ***", "*** in database main ***"),
    ],
)  # fmt: skip
def test_the_first_line_that_says_something_is_the_finding(verdict: str, finding: str | None) -> None:
    assert finding_of(verdict) == finding


def finding_of(verdict: str) -> str | None:
    with closing(sqlite3.connect(":memory:")) as connection:
        return first_finding(connection, f"SELECT '{verdict}'")


# --- the check -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="replaces an open file's descriptor through /proc")
async def test_an_io_error_during_the_check_is_not_damage(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    latch = DamageLatch(str(database))
    check = IntegrityCheck(str(database), latch)
    with monkeypatch.context() as patch:
        patch.setattr(integrity, "connect_for_reading", connected_to_a_disk_that_fails)
        with pytest.raises(HistoryError):
            await check.run()
    assert not latch.is_set
    assert check.ended_at is None
    assert "history could not be read: Main freelist: failed to get page" in caplog.text
    await check.run()
    assert not latch.is_set
    assert check.ended_at is not None
    await check.close()


def connected_to_a_disk_that_fails(path: str) -> sqlite3.Connection:
    """From now on every read of the database's file in this process is an I/O error (EBADF)."""
    connection = connect_for_reading(path)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM tasks").fetchone()
    for descriptor in os.listdir("/proc/self/fd"):
        if os.path.realpath(f"/proc/self/fd/{descriptor}") == path:
            unreadable = os.open(os.devnull, os.O_WRONLY)
            os.dup2(unreadable, int(descriptor))
            os.close(unreadable)
    return connection


async def test_damage_that_a_second_look_does_not_find_is_not_latched(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = await asyncio.to_thread(database.read_bytes)
    async with History.open(str(database.parent)) as history:
        damage(database, pages_by_kind(database)["index leaf"][-3:], garbage)
        looks: list[str] = []

        def connected(path: str) -> sqlite3.Connection:
            if looks:
                database.write_bytes(whole)
            looks.append(path)
            return connect_for_reading(path)

        monkeypatch.setattr(integrity, "connect_for_reading", connected)
        with pytest.raises(HistoryError):
            await history.check()
        assert not history.damaged
        assert "a second look did not find" in caplog.text
        await history.check()
        assert not history.damaged


@pytest.mark.parametrize("kind", ["table leaf", "index leaf", "table interior"])
async def test_the_log_names_the_finding(kind: str, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with History.open(str(database.parent)) as history:
        number = pages_by_kind(database)[kind][-1]
        damage(database, [number], zeros)
        await history.check()
        assert history.damaged
    (line,) = [record.getMessage() for record in caplog.records if "not used any more" in record.getMessage()]
    assert "*** in database" not in line
    assert f"page {number}" in line.lower()


# --- when it is made -------------------------------------------------------------------------------------------------


class ScriptedHistory:
    """Checks end as the script says, and then the event is set; the last word is repeated."""

    def __init__(self, *script: bool) -> None:
        self.damaged = False
        self.checks = 0
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self._script = script

    async def check(self) -> None:
        self.checks += 1
        self.begun.set()
        if self.checks >= len(self._script):
            self.ended.set()
        if not self._script[min(self.checks, len(self._script)) - 1]:
            raise HistoryError("读不出")


def a_housekeeping(history: ScriptedHistory) -> Housekeeping:
    nothing: Any = None
    tools: Any = SimpleNamespace(history=history, looks=None)
    return Housekeeping(nothing, tools, nothing, nothing)


async def test_a_check_without_a_verdict_is_made_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "CHECK_AGAIN", BackOff(0.001, 0.002))
    history = ScriptedHistory(False, False, True)
    job = asyncio.create_task(a_housekeeping(history).check_history())
    await asyncio.wait_for(history.ended.wait(), PATIENCE_S)
    job.cancel()
    assert history.checks == 3


def test_the_pause_before_the_next_check_is_minutes() -> None:
    pauses = [housekeeping.CHECK_AGAIN.after(failures) for failures in (1, 2, 3, 20)]
    assert pauses == [60.0, 120.0, 240.0, 3600.0]


async def test_damage_met_in_use_is_checked_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_FOR_DAMAGE_EVERY_S", 0.001)
    history = ScriptedHistory(True, True)
    job = asyncio.create_task(a_housekeeping(history).check_history())
    await asyncio.wait_for(history.begun.wait(), PATIENCE_S)
    history.damaged = True
    await asyncio.wait_for(history.ended.wait(), PATIENCE_S)
    job.cancel()
