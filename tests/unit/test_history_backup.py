"""The documented backup of a history in use, and the documented way back."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from errors import HistoryError
from history import History
from history.database import damaged
from history.values import unreadable_row
from tests.unit.test_history import a_task, an_outcome

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = 300


def documented_backup(page: str) -> list[str]:
    """The words of the page's command line, without its umask."""
    (line,) = re.findall(r"^umask 077; (python -c .*)$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("page", ["operations.md", "operations.zh-CN.md"])
async def test_the_documented_backup_of_a_history_in_use_can_be_restored(page: str, tmp_path: Path) -> None:
    data, safe, restored = tmp_path / "data", tmp_path / "safe.sqlite3", tmp_path / "restored"
    async with History.open(str(data)) as history:
        await history.add_task(a_task())
        await history.record_outcomes("t1", [an_outcome(f"/srv/{number}") for number in range(FILES)])
        wal = data / "history.sqlite3-wal"
        assert (await asyncio.to_thread(wal.stat)).st_size, "nothing is in the log: the test shows nothing"
        order = [sys.executable, *documented_backup(page)[1:3], str(data / "history.sqlite3"), str(safe)]
        await asyncio.to_thread(subprocess.run, order, check=True, capture_output=True)
        await history.record_outcomes("t1", [an_outcome("/srv/later")])
    restored.mkdir()
    shutil.copy(safe, restored / "history.sqlite3")
    async with History.open(str(restored)) as history:
        await history.check()
        assert not history.damaged
        assert (await history.counts("t1")).total_files_scanned == FILES


@pytest.mark.parametrize("error", [damaged("/data/history.sqlite3"), unreadable_row()])
def test_the_way_out_of_damage_moves_all_three_files_away_before_it_restores(error: HistoryError) -> None:
    words = error.detail
    places = [
        words.index(each) for each in ("停止服务", "复制整个数据文件夹", "移走", "-wal", "-shm", "从备份恢复", "启动")
    ]
    assert places == sorted(places)
    for page in ("operations.md", "operations.zh-CN.md"):
        text = (DOCS / page).read_text("utf-8")
        assert all(f"history.sqlite3{end}`" in text for end in ("", "-wal", "-shm"))
