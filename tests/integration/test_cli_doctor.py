"""``doctor``: go or no-go, each with what to do, and nothing is disturbed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from render import landlock_abi
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.cli_process import Cli
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess, free_port
from tests.unit.damaged_files import damage, pages_by_kind, zeros
from tests.unit.test_damaged_history import fill
from tests.waiting import until

Finding = dict[str, str]


@pytest.fixture
def cli(xiehe_today: SandboxProcess, tmp_path: Path) -> Cli:
    """A host on which everything is as it should be, and no service runs."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"1.dcm": a_dicom_file()}}, "2024-02": {}})
    settings = {
        "backend_url": xiehe_today.url,
        "api_token": xiehe_today.token,
        "port": free_port(),
        "dicom_source_path": source,
        "output_dir": tmp_path / "output",
        "data_dir": tmp_path / "data",
    }
    host = Cli(tmp_path / "operator", settings)
    (host.folder / ".env").write_text("LOG_LEVEL=INFO\n", "utf-8")
    return host


def findings(cli: Cli) -> tuple[int, dict[str, Finding]]:
    """Exit code, and the findings by name."""
    result = cli("doctor", "--json")
    answer: dict[str, Any] = result.lines[-1]
    assert answer["go"] is (result.code == 0)
    return result.code, {finding["name"]: finding for finding in answer["findings"]}


def a_token(expires_in_s: float) -> str:
    claims = json.dumps({"exp": time.time() + expires_in_s}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(
    ("language", "advice"), [("zh", "请启动服务（python main.py）"), ("en", "Start it (python main.py)")]
)
def test_a_host_on_which_the_service_can_start_gets_a_go_without_asking_xiehe(
    cli: Cli, tmp_path: Path, language: str, advice: str
) -> None:
    result = cli("doctor", "--lang", language)
    assert result.code == 0, result.out
    assert "2024-01 … 2024-02" in result.out
    assert advice in result.out
    assert "✗" not in result.out
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "output").exists()
    _, found = findings(cli)
    assert {name for name, finding in found.items() if finding["verdict"] == "warning"} <= {"backend", "confinement"}


@pytest.fixture
def service(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """The service of that host."""
    with ServiceProcess(
        tmp_path / "s", xiehe_today.url, api_token=xiehe_today.token, data_dir=cli.environment["DATA_DIR"]
    ) as process:
        cli.environment["PORT"] = str(process.port)
        yield process


def test_a_service_that_is_ready_gets_a_go(cli: Cli, service: ServiceProcess) -> None:
    result = cli("doctor")
    assert result.code == 0, result.out
    assert "可以导入。" in result.out
    assert "接口版本 C4" in result.out
    assert "✗" not in result.out


def test_each_check_of_the_readiness_is_a_finding_with_a_title(cli: Cli, service: ServiceProcess) -> None:
    names = {check["name"] for check in service.http.get("/health/ready").json()["checks"]} - {"xiehe"} | {"backend"}
    code, found = findings(cli)
    assert (code, names - set(found)) == (0, set())
    assert all(finding["title"] != name for name, finding in found.items())


def test_it_asks_beside_a_running_service_without_disturbing_it(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    data_dir = cli.environment["DATA_DIR"]
    with ServiceProcess(tmp_path / "s", xiehe_today.url, api_token=xiehe_today.token, data_dir=data_dir) as service:
        cli.environment["PORT"] = str(service.port)
        code, found = findings(cli)
        assert code == 0
        assert "正在运行" in found["service"]["detail"]
        cli.environment["PORT"] = str(free_port())
        code, found = findings(cli)
        assert code == 1
        assert str(service.pid) in found["data_dir_owner"]["detail"]
        assert service.http.get("/health/ready").status_code == 200


def test_a_damaged_history_is_a_no_go_where_no_service_runs(cli: Cli, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    asyncio.run(fill(data_dir))
    code, found = findings(cli)
    assert (code, found["history"]["verdict"]) == (0, "go")
    assert sorted(each.name for each in data_dir.iterdir()) == ["history.sqlite3", "owner.lock"]
    database = data_dir / "history.sqlite3"
    whole = database.read_bytes()
    for numbers in (pages_by_kind(database)["index leaf"][-1:], [1]):
        database.write_bytes(whole)
        damage(database, numbers, zeros)
        code, found = findings(cli)
        assert (code, found["history"]["verdict"]) == (1, "no_go")
        assert "先复制整个数据文件夹留底" in found["history"]["detail"]
        assert "history.sqlite3-wal" in found["history"]["detail"]
        assert sorted(each.name for each in data_dir.iterdir()) == ["history.sqlite3", "owner.lock"]


def details(service: ServiceProcess) -> list[str]:
    """What each check of the readiness says."""
    return [check["detail"] for check in service.http.get("/health/ready").json()["checks"]]


def test_a_history_that_a_killed_service_left_is_read_with_its_log(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    """What is in ``-wal`` only belongs to it: without it, an older state would be read, or a torn one."""
    with ServiceProcess(
        tmp_path / "s", xiehe_today.url, api_token=xiehe_today.token, data_dir=tmp_path / "data"
    ) as service:
        until(lambda: any(re.search(r"历史库可用；上次完整检查 20\d\d-", each) for each in details(service)))
        service.wait(service.start_import(tmp_path / "dicom"))
        service.kill()
    assert (tmp_path / "data" / "history.sqlite3-wal").stat().st_size
    code, found = findings(cli)
    assert (code, found["history"]["verdict"]) == (0, "go"), found["history"]


def test_a_running_service_says_that_its_history_is_damaged(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    asyncio.run(fill(data_dir))
    damage(data_dir / "history.sqlite3", pages_by_kind(data_dir / "history.sqlite3")["index leaf"][-1:], zeros)
    with ServiceProcess(tmp_path / "s", xiehe_today.url, api_token=xiehe_today.token, data_dir=data_dir) as service:
        until(lambda: service.http.get("/health/ready").status_code == 503)
        cli.environment["PORT"] = str(service.port)
        code, found = findings(cli)
    assert (code, found["history"]["verdict"]) == (1, "no_go")
    assert "历史数据库已损坏" in found["history"]["detail"]


@pytest.mark.parametrize("roots", ["", "source"])
def test_it_says_what_render_processes_may_reach(cli: Cli, tmp_path: Path, roots: str) -> None:
    cli.environment["DICOM_SOURCE_PATH"] = roots and cli.environment.get("DICOM_SOURCE_PATH", str(tmp_path))
    code, found = findings(cli)
    assert code == 0
    expected = "没有 Landlock" if not landlock_abi() else "只能读取源目录" if roots else "只限制写入"
    assert expected in found["confinement"]["detail"]


def test_without_xiehe_it_is_a_no_go_that_says_what_to_check(
    cli: Cli, service: ServiceProcess, xiehe_today: SandboxProcess
) -> None:
    xiehe_today.stop()
    code, found = findings(cli)
    assert code == 1
    assert found["backend"]["verdict"] == "no_go"
    assert "BACKEND_URL" in found["backend"]["cure"]


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("DICOM_SOURCE_PATH", "/nowhere/at/all", "source"),
        ("EXAM_RULES_FILE", "/nowhere/rules.toml", "exam_rules"),
        ("API_TOKEN", "", "token"),
        ("UPLOAD_CONCURRENCY", "many", "settings"),
    ],
)
def test_what_would_stop_an_import_is_a_no_go(cli: Cli, setting: str, value: str, name: str) -> None:
    cli.environment[setting] = value
    code, found = findings(cli)
    assert code == 1
    assert found[name]["verdict"] == "no_go"


def test_an_expired_token_is_a_no_go_unless_the_account_can_log_in(cli: Cli, xiehe_today: SandboxProcess) -> None:
    cli.environment["API_TOKEN"] = a_token(-3600)
    code, found = findings(cli)
    assert code == 1
    assert found["token"]["verdict"] == "no_go"
    cli.environment |= {"BACKEND_USERNAME": xiehe_today.user, "BACKEND_PASSWORD": xiehe_today.password}
    code, found = findings(cli)
    assert code == 0, found
    assert found["token"]["verdict"] == "warning"


def test_a_folder_that_cannot_be_made_is_a_no_go(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli.environment["OUTPUT_DIR"] = str(tmp_path / "file" / "output")
    code, found = findings(cli)
    assert code == 1
    assert found["output_dir"]["verdict"] == "no_go"


def test_a_wrong_setting_is_named_and_its_value_is_not_shown(cli: Cli) -> None:
    cli.environment["UPLOAD_CONCURRENCY"] = "secret-by-mistake"
    code, found = findings(cli)
    assert code == 1
    assert "UPLOAD_CONCURRENCY" in found["settings"]["detail"]
    assert "secret-by-mistake" not in json.dumps(found)


def test_a_line_of_the_env_file_that_cannot_be_parsed_is_named(cli: Cli) -> None:
    (cli.folder / ".env").write_text('LOG_LEVEL=INFO\nDICOM_SOURCE_PATH="/secret\n', "utf-8")
    code, found = findings(cli)
    assert code == 1
    assert "第 2 行（DICOM_SOURCE_PATH）" in found["settings"]["detail"]
    assert "secret" not in json.dumps(found)


def test_a_setting_on_two_lines_is_a_warning(cli: Cli) -> None:
    (cli.folder / ".env").write_text("LOG_LEVEL=INFO\n\nLOG_LEVEL=DEBUG\n", "utf-8")
    _, found = findings(cli)
    assert found["env_file"]["verdict"] == "warning"
    assert "LOG_LEVEL 写在第 1, 3 行" in found["env_file"]["detail"]


def test_a_taken_port_is_a_no_go(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", int(cli.environment["PORT"]))):
        code, found = findings(cli)
    assert code == 1
    assert cli.environment["PORT"] in found["service"]["detail"]


def test_a_removed_setting_in_the_environment_is_a_warning(cli: Cli) -> None:
    cli.environment["BACKEND_ATTEMPTS"] = "7"
    (cli.folder / ".env").unlink()
    code, found = findings(cli)
    assert (code, found["env_file"]["verdict"]) == (0, "warning")
    assert "BACKEND_ATTEMPTS 已取消，固定为 5" in found["env_file"]["detail"]


def test_a_service_that_asks_for_another_key_is_a_no_go(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    with ServiceProcess(
        tmp_path / "s", xiehe_today.url, api_token=xiehe_today.token, service_api_key="k" * 32
    ) as other:
        cli.environment["PORT"] = str(other.port)
        code, found = findings(cli)
    assert (code, found["service"]["verdict"]) == (1, "no_go")


def test_what_needs_a_look_is_a_warning(cli: Cli) -> None:
    (cli.folder / ".env").write_text("API_TOKN=x\nACTIVE_HOURS=\n", "utf-8")
    hour = time.localtime().tm_hour
    cli.environment["ACTIVE_HOURS"] = f"{(hour + 6) % 24:02}:00-{(hour + 8) % 24:02}:00"
    code, found = findings(cli)
    assert code == 0
    assert {name for name, finding in found.items() if finding["verdict"] == "warning"} == {
        "env_file", "time", "backend",
    }  # fmt: skip
    assert "API_TOKEN" in found["env_file"]["detail"]


def test_days_are_counted_until_the_token_expires(cli: Cli) -> None:
    cli.environment["API_TOKEN"] = a_token(2.5 * 86_400)
    _, found = findings(cli)
    assert found["token"]["verdict"] == "warning"
    assert "2.5 天" in found["token"]["detail"]
    assert cli.environment["API_TOKEN"] not in json.dumps(found)
