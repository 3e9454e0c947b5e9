"""The command line where no service runs: it starts one for itself, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from history import data_dir_owner
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.cli_process import Cli
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import FAST_RETRIES, ServiceProcess, free_port
from tests.integration.test_cli import MANY, a_source, first_line
from tests.integration.xiehe_facts import images, names
from tests.waiting import PATIENCE_S, until


@pytest.fixture
def cli(xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[Cli]:
    """An operator with settings and no service; the logs of services of their own lie in ``logs``."""
    (tmp_path / "logs").mkdir()
    settings = {
        "backend_url": xiehe_today.url,
        "api_token": xiehe_today.token,
        "port": free_port(),
        "output_dir": tmp_path / "output",
        "data_dir": tmp_path / "data",
        "max_workers": 1,
        "TMPDIR": tmp_path / "logs",
        **FAST_RETRIES,
    }
    yield Cli(tmp_path / "operator", settings)
    wait_until_free(tmp_path / "data")


@pytest.fixture
def a_long_source(xiehe_today: SandboxProcess, tmp_path: Path) -> Path:
    """Forty files, and a XieHe that holds all but the first few back until it is told to go on."""
    xiehe_today.hold("create_session", skip=6)
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(MANY)}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def wait_until_free(data_dir: Path) -> None:
    """Returns when no process owns DATA_DIR."""
    until(lambda: data_dir_owner(str(data_dir)) is None)


def as_service(cli: Cli, folder: Path, xiehe: SandboxProcess) -> ServiceProcess:
    """A service with the operator's DATA_DIR, to see what became of tasks."""
    return ServiceProcess(folder, xiehe.url, api_token=xiehe.token, data_dir=cli.environment["DATA_DIR"])


def test_it_starts_a_service_for_the_import_and_ends_it(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    said = cli("import", a_source(tmp_path, broken=True))
    assert said.code == 3, said.err
    assert "先启动一个" in said.err
    assert "扫描 3 = 新上传 2 + 已存在 0 + 失败 1  ✓" in said.out
    assert data_dir_owner(cli.environment["DATA_DIR"]) is None
    assert len(names(xiehe_today)) == 2
    assert "请先启动服务：python main.py" in said.out.splitlines()[-1]
    assert "请先启动服务：python main.py" in cli("tasks").err

    again = cli("import", tmp_path / "dicom", "--json")
    assert again.lines[-1]["progress"]["duplicate_images_skipped"] == 2


def test_a_data_dir_of_another_service_is_told_with_its_pid(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    with as_service(cli, tmp_path / "service", xiehe_today) as other:
        said = cli("import", a_source(tmp_path))
        assert said.code == 1
        assert f"进程号 {other.pid}" in said.err
        assert "--url" in said.err
        assert f"进程号 {other.pid}" in cli("tasks").err
        assert cli("import", tmp_path / "dicom", "--url", f"http://127.0.0.1:{other.port}").code == 0


def test_it_cannot_leave_a_service_of_its_own(cli: Cli, tmp_path: Path) -> None:
    said = cli("import", a_source(tmp_path), "--no-watch")
    assert said.code == 2
    assert "--no-watch" in said.err


def test_a_service_that_cannot_start_is_told_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    cli.environment["EXAM_RULES_FILE"] = str(tmp_path / "missing.toml")
    said = cli("import", a_source(tmp_path))
    assert said.code == 1
    assert "own_service_failed" in said.err
    assert "missing.toml" in said.err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_cancels_the_task_and_ends_with_130(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path, a_long_source: Path
) -> None:
    process = cli.begin("import", a_long_source, "--json")
    task_id = first_line(process, "progress")["task_id"]
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    next(line for line in process.stdout if '"cancelled"' in line)
    xiehe_today.clear_faults()
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    summary = json.loads(out.splitlines()[-1])
    assert summary["status"] == "cancelled"
    assert summary["completed_at"] is not None
    assert data_dir_owner(cli.environment["DATA_DIR"]) is None
    with as_service(cli, tmp_path / "service", xiehe_today) as service:
        assert service.status(task_id)["status"] == "cancelled"


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_service_does_not_outlive_its_command_and_the_next_one_goes_on(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path, a_long_source: Path, ending: str
) -> None:
    process = cli.begin("import", a_long_source, "--json")
    task_id = first_line(process, "progress")["task_id"]
    process.send_signal(getattr(signal, ending))
    process.communicate(timeout=PATIENCE_S)
    wait_until_free(tmp_path / "data")
    xiehe_today.clear_faults()

    said = cli("import", a_long_source, "--json")
    assert said.code == 0, said.err
    assert "going_on" in [line.get("code") for line in said.lines]
    assert (said.lines[-1]["task_id"], said.lines[-1]["progress"]["new_images_uploaded"]) == (task_id, MANY)
    assert len(xiehe_today.state()["images"]) == MANY


def cut_off(cli: Cli, *order: object) -> str:
    """Kills the command in the middle of its import; the id of the task that stays unfinished."""
    process = cli.begin("import", *order, "--json")
    task_id: str = first_line(process, "progress")["task_id"]
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    wait_until_free(Path(cli.environment["DATA_DIR"]))
    return task_id


def test_a_dry_run_that_was_cut_off_is_not_taken_for_the_import(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = a_source(tmp_path)
    xiehe_today.hold("search_patients")
    task_id = cut_off(cli, source, "--dry-run")
    xiehe_today.clear_faults()

    said = cli("import", source, "--json")
    assert (said.code, said.lines[-1]["code"]) == (1, "source_busy")
    for way_out in (f"python -m cli import {source} --dry-run", f"python -m cli cancel {task_id}"):
        assert way_out in said.lines[-1]["detail"]
    assert f"Task {task_id} (dry run" in cli("import", source, "--json", "--lang", "en").lines[-1]["detail"]

    again = cli("import", source, "--dry-run", "--json")
    assert (again.code, again.lines[-1]["task_id"]) == (0, task_id)
    assert xiehe_today.state()["images"] == []
    assert cli("import", source, "--json").lines[-1]["progress"]["new_images_uploaded"] == 2


def test_a_dry_run_does_not_go_on_with_an_import(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path, a_long_source: Path
) -> None:
    cut_off(cli, a_long_source)
    xiehe_today.clear_faults()
    before = images(xiehe_today)

    other = write_tree(tmp_path / "other", {"2024-02": {"P002": {"1.dcm": a_dicom_file("P002")}}})
    assert cli("import", a_long_source, "--dry-run").code == 1
    assert cli("import", other, "--dry-run").code == 0
    assert images(xiehe_today) == before


@pytest.mark.parametrize("options", [(), ("--reupload-removed",)], ids=["the-whole-root", "with-another-option"])
def test_only_the_very_import_that_was_cut_off_is_gone_on_with(
    cli: Cli, xiehe_today: SandboxProcess, a_long_source: Path, options: tuple[str, ...]
) -> None:
    month = a_long_source / "2024-01"
    write_tree(a_long_source, {"2024-02": {"P002": {"1.dcm": a_dicom_file("P002")}}})
    task_id = cut_off(cli, month)
    xiehe_today.clear_faults()
    before = images(xiehe_today)

    said = cli("import", month if options else a_long_source, *options, "--json")
    assert (said.code, said.lines[-1]["code"]) == (1, "source_busy")
    assert task_id in said.lines[-1]["detail"]
    assert images(xiehe_today) == before

    assert cli("import", f"{month}/", "--json").lines[-1]["task_id"] == task_id
    assert cli("import", a_long_source, "--json").lines[-1]["progress"]["new_images_uploaded"] == 1


def test_an_import_leaves_other_unfinished_imports_and_the_schedule_alone(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path, a_long_source: Path
) -> None:
    task_id = cut_off(cli, a_long_source)
    xiehe_today.clear_faults()
    before = len(images(xiehe_today))
    cli.folder.joinpath(".env").write_text(f"IMPORT_SCHEDULE=never heeded\nIMPORT_SCHEDULE_PATH={a_long_source}\n")

    other = write_tree(tmp_path / "other", {"2024-02": {"P002": {"1.dcm": a_dicom_file("P002")}}})
    assert cli("import", other).code == 0
    assert len(images(xiehe_today)) == before + 1
    with as_service(cli, tmp_path / "service", xiehe_today) as service:
        assert service.wait(task_id, "completed")["progress"]["new_images_uploaded"] == MANY


def test_a_service_that_dies_is_told_and_not_waited_for(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    xiehe_today.hold("create_session")
    process = cli.begin("import", a_source(tmp_path), "--json")
    first_line(process, "progress")
    owner = data_dir_owner(cli.environment["DATA_DIR"])
    assert owner is not None
    assert owner.pid is not None
    kill(owner.pid)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert json.loads(out.splitlines()[-1])["code"] == "own_service_failed"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_relative_folders_and_env_files_mean_the_operators_folder(cli: Cli, tmp_path: Path) -> None:
    for name in ("OUTPUT_DIR", "DATA_DIR", "API_TOKEN"):
        cli.folder.joinpath(".env").open("a").write(f"{name}={cli.environment.pop(name)}\n")
    write_tree(cli.folder / "here", {"2024-01": {"P001": {"1.dcm": a_dicom_file()}}})
    assert cli("import", "here").code == 0
    assert (tmp_path / "output" / "2024-01" / "P001" / "1.jpg").is_file()
