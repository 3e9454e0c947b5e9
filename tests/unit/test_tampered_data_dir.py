"""DATA_DIR as nobody should leave it: the service says what is wrong instead of waiting or ending in a traceback."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from errors import HistoryError
from history import History, data_dir_owner
from history.data_dir_lock import owned_data_dir
from history.database import prepare
from history.values import options_of, options_text
from models import ImportOptions
from tests.unit.test_history import a_task

TAMPERED = [
    "",
    "not JSON",
    "[]",
    "null",
    "{}",
    '{"on_patient_mismatch":"hold"}',
    '{"on_patient_mismatch":"whatever","on_demographics_mismatch":"hold"}',
    '{"on_patient_mismatch":"hold","on_demographics_mismatch":"hold","surplus":1}',
    '{"on_patient_mismatch":"hold","on_demographics_mismatch":"hold","window_center":"wide"}',
    '{"on_patient_mismatch":"hold","on_demographics_mismatch":"hold","dry_run":"yes"}',
    '{"on_patient_mismatch":"hold","on_demographics_mismatch":"hold","dry_run":null}',
    '{"on_patient_mismatch":"hold","on_demographics_mismatch":"hold","description":7}',
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["fifo", "link to a device"])
def test_a_lock_file_that_is_no_file_is_named(kind: str, tmp_path: Path) -> None:
    lock = tmp_path / "owner.lock"
    if kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.symlink_to(os.devnull)

    with pytest.raises(HistoryError, match="不是普通文件"), owned_data_dir(str(tmp_path)):
        pass
    with pytest.raises(HistoryError, match="不是普通文件"):
        data_dir_owner(str(tmp_path))


@pytest.mark.parametrize("version", [-1, -(2**31)])
def test_a_negative_version_is_no_version(version: int, tmp_path: Path) -> None:
    path = str(tmp_path / "history.sqlite3")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(HistoryError, match="版本号无效"):
        prepare(path)


@pytest.mark.parametrize("text", TAMPERED)
async def test_a_task_whose_options_were_changed_is_named(text: str, tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task("task-7"))
        with closing(sqlite3.connect(tmp_path / "history.sqlite3")) as connection, connection:
            connection.execute("UPDATE tasks SET options = ?", (text,))

        for reading in (history.get_task("task-7"), history.unfinished_tasks(), history.list_tasks(0, 10)):
            with pytest.raises(HistoryError, match="task-7"):
                await reading


@pytest.mark.parametrize(
    "options",
    [
        ImportOptions(),
        ImportOptions(description="\udce9 影像", window_center=-600.0, window_width=1500.5, dry_run=True),
        ImportOptions(window_center=40, window_width=400),  # whole numbers, as a caller may give them
    ],
)
def test_options_come_back_as_they_were(options: ImportOptions) -> None:
    assert options_of(options_text(options)) == options
