"""The service on a history that is damaged in the middle: it says so everywhere, and no file is lost."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.cli_process import Cli
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, names
from tests.unit.damaged_files import PAGE, damage, zeros_in_the_middle
from tests.unit.test_damaged_history import altered, fill
from tests.waiting import until

FILES = 24


def rows_in_the_middle(path: Path) -> list[int]:
    """Two leaves of the index from which a page of files is read."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'files_in_groups'").fetchone()
    content = path.read_bytes()
    page = content[(root - 1) * PAGE : root * PAGE]
    cells = int.from_bytes(page[3:5], "big")
    places = [int.from_bytes(page[12 + 2 * at : 14 + 2 * at], "big") for at in range(cells)]
    return [int.from_bytes(page[place : place + 4], "big") for place in places][:2]


def test_a_service_on_a_damaged_history_says_so_and_answers_nothing_of_it(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    with ServiceProcess(tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token) as service:
        service.stop()
        database = service.folder / "data" / "history.sqlite3"
        database.unlink()
        asyncio.run(fill(database.parent))
        ended = "status = 'completed', completed_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
        altered(database, f"UPDATE tasks SET {ended}")
        damage(database, rows_in_the_middle(database), zeros_in_the_middle)
        service.start()
        until(lambda: "dicom_import_history_damaged 1.0" in service.http.get("/metrics").text)

        ready = service.http.get("/health/ready")
        checks = {check["name"]: check for check in ready.json()["checks"]}
        assert ready.status_code == 503
        assert not checks["history"]["ok"]
        assert "先复制整个数据文件夹留底" in checks["history"]["detail"]
        assert checks["background"]["ok"]
        for path in ("files", "report", "report?format=csv", "report?format=json", "status", "stats"):
            answer = service.http.get(f"/import/t1/{path}")
            assert (answer.status_code, answer.json()["code"]) == (503, "history_unusable"), path
        for path in ("/import/tasks", "/months"):
            assert service.http.get(path).json()["code"] == "history_unusable"
        source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"1.dcm": a_dicom_file()}}})
        assert service.http.post("/import", json={"source_path": str(source)}).json()["code"] == "history_unusable"
        said = Cli(tmp_path / "operator", {"port": service.port})("report", "t1")
        assert said.code == 1
        assert "历史数据库已损坏" in said.err
        assert service.http.get("/health").status_code == 200
        assert service.log.read_text().count("history is damaged and not used any more") == 1
        assert service.stop() == 0


@pytest.fixture
def render_processes() -> int:
    """Two files are under way."""
    return 2


def test_an_import_whose_history_is_damaged_ends_with_its_reason_and_loses_no_file(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    files = {f"{number:02d}.dcm": a_dicom_file(shade=9 * number) for number in range(FILES)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    wanted = {("P001", f"{number:02d}.jpg") for number in range(FILES)}
    database = service_today.folder / "data" / "history.sqlite3"
    xiehe_today.hold("complete_session", skip=6)
    task_id = service_today.start_import(source)
    xiehe_today.until_held("complete_session", 2)
    service_today.kill()
    shutil.copytree(database.parent, tmp_path / "backup")
    ruin(database)
    xiehe_today.clear_faults()
    xiehe_today.until_idle()
    service_today.start()
    refused = service_today.wait(task_id)

    assert refused["status"] == "failed"
    assert "历史数据库已损坏" in refused["result_detail"]
    cli = Cli(tmp_path / "operator", {"port": service_today.port})
    shown = cli("status", task_id)
    assert shown.code == 0, shown.err
    assert "历史数据库已损坏" in shown.out
    assert cli("status", task_id, "--json").lines[-1]["status"] == "failed"
    assert cli("status", task_id, "--watch").code == 1
    assert "历史数据库已损坏" in cli("status", task_id[:-1]).err
    assert names(xiehe_today) < wanted

    service_today.stop()
    shutil.rmtree(database.parent)
    shutil.copytree(tmp_path / "backup", database.parent)
    service_today.start()
    done = service_today.wait(task_id)
    assert (done["status"], done["result"]) == ("completed", "success"), done
    assert names(xiehe_today) == wanted
    assert_closed(done["progress"])
    assert len(service_today.report(task_id)) == FILES


def ruin(database: Path) -> None:
    """Zeros over the root of a tree to which each file's outcome is written."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'latest_outcomes'").fetchone()
    damage(database, [root], lambda page: bytes(len(page)))
