"""The command line against a running service: what it says, and the exit codes that scripts go by."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.cli_process import Cli
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess, free_port
from tests.integration.xiehe_facts import names
from tests.waiting import PATIENCE_S

MANY = 40


@pytest.fixture
def cli(service_today: ServiceProcess, tmp_path: Path) -> Cli:
    """An operator beside the running service."""
    return Cli(tmp_path / "operator", {"port": service_today.port})


def a_source(tmp_path: Path, *, broken: bool = False, report: bool = False) -> Path:
    files: dict[str, bytes] = {"1.dcm": a_dicom_file(), "2.dcm": a_dicom_file(shade=7)}
    if broken:
        files["broken.dcm"] = a_dicom_file()[:-100]
    if report:
        files["report.dcm"] = without_picture()
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def without_picture() -> bytes:
    """A structured report."""
    dataset, buffer = pydicom.dcmread(io.BytesIO(a_dicom_file())), io.BytesIO()
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.fixture
def a_long_source(xiehe_today: SandboxProcess, tmp_path: Path) -> Path:
    """Forty files, and a XieHe that holds all but the first few back until the fault is cleared."""
    xiehe_today.hold("create_session", skip=6)
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(MANY)}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def first_line(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """The next JSON line of that event."""
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"ended without {event}")


# --- import


def test_an_import_whose_pictures_all_arrive_ends_with_0(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path))
    assert result.code == 0, result.err
    assert "扫描 2 = 新上传 2 + 已存在 0 + 失败 0  ✓" in result.out
    assert len(names(xiehe_today)) == 2


def test_the_path_is_the_operators_not_the_services(cli: Cli, tmp_path: Path) -> None:
    a_source(tmp_path)
    cli.folder = tmp_path
    result = cli("import", "dicom", "--lang", "en")
    assert result.code == 0, result.err
    assert "scanned 2 = uploaded 2 + already there 0 + failed 0  ✓" in result.out


def test_failed_files_end_with_3_and_with_what_to_do(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path, broken=True))
    assert result.code == 3
    assert "truncated_pixel_data" in result.out
    assert "请从设备重新导出" in result.out
    assert "broken.dcm" in result.out


def test_files_without_a_picture_are_no_failure(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path, report=True), "--json")
    assert result.code == 0
    assert result.lines[-1]["progress"]["no_pixel_files"] == 1


def test_a_source_in_which_nothing_fits_is_an_error(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", write_tree(tmp_path / "empty", {"not a month": {}}))
    assert result.code == 1
    assert "没有进入的文件夹" in result.out


def test_json_is_one_object_per_line_and_ends_with_a_summary(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path, broken=True), "--json")
    assert result.code == 3
    assert result.events == ["notice", "progress", "summary"]
    summary = result.lines[-1]
    assert summary["exit_code"] == 3
    assert summary["status"] == "completed"
    assert {row["code"]: row["files"] for row in summary["by_code"]} == {"uploaded": 2, "truncated_pixel_data": 1}
    seqs = [line["seq"] for line in result.lines if line["event"] == "progress"]
    assert seqs == sorted(set(seqs))


def test_a_dry_run_tells_its_plan_and_writes_nothing(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path), "--dry-run")
    assert result.code == 0, result.err
    assert "试运行" in result.out
    assert "将上传文件" in result.out
    assert names(xiehe_today) == set()


def test_a_refused_source_is_an_error_in_words_and_in_json(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", tmp_path / "missing")
    assert (result.code, result.out) == (1, "")
    assert "source_not_found" in result.err
    result = cli("import", tmp_path / "missing", "--json")
    assert result.code == 1
    assert result.lines[-1] | {"detail": ""} == {
        "event": "error", "code": "source_not_found", "detail": "", "exit_code": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [("import", "--window-center", "40"), ("import", "--unknown"), ("pause",), ("--url", "x")]
)
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert Cli(tmp_path, {"port": 9})(*arguments).code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_leaves_the_task_to_the_service(
    cli: Cli, service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    process = cli.begin("import", a_long_source, "--json")
    task_id = first_line(process, "progress")["task_id"]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    xiehe_today.clear_faults()
    assert json.loads(out.splitlines()[-1])["code"] == "detached"
    assert service_today.wait(task_id)["progress"]["new_images_uploaded"] == MANY


def test_a_cancelled_task_ends_its_watcher_with_130(cli: Cli, xiehe_today: SandboxProcess, a_long_source: Path) -> None:
    watcher = cli.begin("import", a_long_source, "--json")
    first_line(watcher, "progress")
    assert cli("cancel", "latest").code == 0
    xiehe_today.clear_faults()
    out, _ = watcher.communicate(timeout=PATIENCE_S)
    assert watcher.returncode == 130
    assert json.loads(out.splitlines()[-1])["status"] == "cancelled"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_a_bar_and_colours_unless_they_are_unwanted(
    cli: Cli, xiehe_today: SandboxProcess, a_long_source: Path, no_colour: bool
) -> None:
    if no_colour:
        cli.environment["NO_COLOR"] = "1"
    code, shown = in_a_terminal(cli, "import", a_long_source, seen={"剩余": xiehe_today.clear_faults})
    assert code == 0
    assert "━" in shown
    assert "剩余" in shown
    assert f"扫描 {MANY} = 新上传 {MANY} + 已存在 0 + 失败 0  ✓" in shown
    assert bool(re.search(r"\x1b\[(\d+;)*3[0-7]m", shown)) is not no_colour


def in_a_terminal(cli: Cli, *arguments: object, seen: dict[str, Callable[[], None]]) -> tuple[int, str]:
    """Exit code, and all that an 80 by 24 terminal was sent; ``seen`` says what is to be done once a word was shown."""
    import termios  # noqa: PLC0415 - of POSIX only

    master, slave = os.openpty()
    os.set_inheritable(slave, True)
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        cwd=cli.folder,
        env=cli.environment | {"TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    pieces = []
    with open(master, "rb", buffering=0) as screen, suppress(OSError):  # EIO is a pseudo-terminal's end of file
        while piece := screen.read(65_536):
            pieces.append(piece)
            for word in [word for word in seen if word.encode() in b"".join(pieces)]:
                seen.pop(word)()
    return process.wait(PATIENCE_S), b"".join(pieces).decode("utf-8", "replace")


# --- steering and asking


def test_a_task_is_steered_by_the_end_of_its_id(
    cli: Cli, service_today: ServiceProcess, xiehe_today: SandboxProcess, a_long_source: Path
) -> None:
    started = cli("import", a_long_source, "--no-watch", "--json")
    task_id = started.lines[-1]["task_id"]
    end = task_id[-8:]
    assert cli("pause", end).code == 0
    assert service_today.status(task_id)["pause_reason"] == "user"
    refused = cli("pause", end)
    assert refused.code == 1
    assert "resume" in refused.err
    assert "由操作员暂停" in cli("status", end).out
    assert cli("resume", end).code == 0
    assert cli("cancel", end).code == 0
    xiehe_today.clear_faults()
    service_today.wait_for_rest(task_id)
    assert cli("status", end).code == 0
    assert cli("status", end, "--watch").code == 130
    assert cli("status", "nothing-like-that").code == 1


def test_retry_takes_the_failed_files_of_one_reason_with_other_options(
    cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"1.dcm": a_dicom_file("P002")}}})
    assert cli("import", source).code == 3
    result = cli("retry", "latest", "--code", "patient_mismatch", "--on-patient-mismatch", "trust_dicom")
    assert result.code == 0, result.out + result.err
    assert len(names(xiehe_today)) == 1
    listed = cli("tasks", "--json").lines[-1]
    assert (listed["total"], listed["tasks"][0]["parent_id"]) == (2, listed["tasks"][1]["task_id"])
    assert "全部成功" in cli("tasks").out


def test_the_report_is_filtered_and_written_whole(cli: Cli, tmp_path: Path) -> None:
    cli("import", a_source(tmp_path, broken=True))
    failed = cli("report", "--outcome", "failed").out
    rows = list(csv.DictReader(io.StringIO(failed.lstrip("\ufeff"))))
    assert [row["code"] for row in rows] == ["truncated_pixel_data"]
    target = tmp_path / "all.json"
    result = cli("report", "latest", "--format", "json", "--output", target)
    assert (result.code, result.out) == (0, "")
    assert len(json.loads(target.read_text("utf-8"))) == 3


def test_months_tell_what_is_done(cli: Cli, tmp_path: Path) -> None:
    cli("import", a_source(tmp_path))
    result = cli("months")
    assert result.code == 0, result.err
    assert "2024-01" in result.out
    assert "已完成" in result.out


def test_verify_finds_what_xiehe_has_lost(cli: Cli, xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    cli("import", a_source(tmp_path))
    whole = cli("verify")
    assert whole.code == 0, whole.out + whole.err
    xiehe_today.delete_image(xiehe_today.state()["images"][0]["id"])
    result = cli("verify", "latest", "--json")
    assert result.code == 3
    found = result.lines[-1]
    assert (found["event"], found["missing"], [row["result"] for row in found["rows"]]) == (
        "verification", 1, ["missing"],
    )  # fmt: skip
    assert "缺失" in cli("verify").out


# --- who may


def test_the_key_comes_from_a_file_or_the_environment(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    key = "k" * 32
    key_file = tmp_path / "key"
    key_file.write_text(key + "\n", "utf-8")
    settings = {"api_token": xiehe_today.token, "service_api_key": key}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        unknown = Cli(tmp_path / "unknown", {"port": service.port})
        refused = unknown("tasks")
        assert refused.code == 1
        assert "unauthorized" in refused.err
        assert unknown("tasks", "--key-file", key_file).code == 0
        assert unknown("tasks", "--key-file", tmp_path / "missing").code == 1
        assert Cli(tmp_path / "known", {"port": service.port, "service_api_key": key})("tasks").code == 0


# --- without the service


@pytest.mark.parametrize(
    ("language", "advice"), [("zh", "请先启动服务：python main.py"), ("en", "Start the service first: python main.py")]
)
def test_an_import_without_a_service_says_how_to_start_it(tmp_path: Path, language: str, advice: str) -> None:
    operator = Cli(tmp_path / "operator", {"port": free_port()})
    for arguments in (["import", a_source(tmp_path)], ["import", a_source(tmp_path), "--no-watch"], ["tasks"]):
        result = operator(*arguments, "--lang", language)
        assert (result.code, result.out) == (1, "")
        assert advice in result.err
        assert "service_unreachable" in result.err
    assert list(operator.folder.iterdir()) == []


def test_a_service_at_another_port_is_named_by_its_pid(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    data_dir = service_today.folder / "data"
    operator = Cli(tmp_path / "operator", {"port": free_port(), "data_dir": data_dir})
    result = operator("import", a_source(tmp_path))
    assert result.code == 1
    assert f"进程号 {service_today.pid}" in result.err
    assert operator("import", tmp_path / "dicom", "--url", f"http://127.0.0.1:{service_today.port}").code == 0
    assert len(names(xiehe_today)) == 2


def test_a_url_that_does_not_answer_is_an_error(cli: Cli, tmp_path: Path) -> None:
    result = cli("import", a_source(tmp_path), "--url", "http://127.0.0.1:9")
    assert result.code == 1
    assert "--url" in result.err
    assert "service_unreachable" in result.err
    assert not (cli.folder / "data").exists()


def test_another_program_at_the_url_is_recognised(cli: Cli, xiehe_today: SandboxProcess) -> None:
    result = cli("tasks", "--url", xiehe_today.url)
    assert result.code == 1
    assert "not_this_service" in result.err
