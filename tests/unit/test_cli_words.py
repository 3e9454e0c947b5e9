"""What the command line says, and how its end reads for a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cli.commands.command_context import command_first
from cli.commands.exit_codes import ExitCode, exit_code_of_task, exit_code_of_verification
from cli.commands.import_command import ImportRequest, RetryRequest
from cli.commands.task_lookup import chosen
from cli.display.translations import (
    MONTH_WORDS,
    PAUSE_WORDS,
    RESULT_WORDS,
    STATUS_WORDS,
    Language,
    Words,
    amount,
    plain,
    span,
)
from cli.service_client import Target
from errors import TaskNameError
from models import PauseReason, TaskResult, TaskStatus

DICTIONARIES = Path(__file__).parents[2] / "static" / "js" / "i18n"
TASKS = ["dicom-import-20260102-101010-aaaa1111", "dicom-import-20260101-090909-bbbb2222"]


@pytest.mark.parametrize(
    ("status", "result", "failed", "no_pixel", "code"),
    [
        ("completed", "success", 0, 0, ExitCode.ALL_IN),
        ("completed", "success", 2, 2, ExitCode.ALL_IN),
        ("completed", "partial", 3, 2, ExitCode.INCOMPLETE),
        ("completed", "failed", 3, 0, ExitCode.INCOMPLETE),
        ("completed", "partial", 0, 0, ExitCode.INCOMPLETE),  # a folder was left out
        ("completed", "failed", 0, 0, ExitCode.ERROR),  # nothing in the source fits
        ("failed", "failed", 0, 0, ExitCode.ERROR),
        ("cancelled", None, 3, 0, ExitCode.CANCELLED),
    ],
)
def test_a_task_ends_with_the_exit_code_that_a_script_expects(
    status: str, result: str | None, failed: int, no_pixel: int, code: ExitCode
) -> None:
    progress = {"failed_files": failed, "no_pixel_files": no_pixel}
    assert exit_code_of_task({"status": status, "result": result, "progress": progress}) is code


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"status": "completed", "missing": 0, "differs": 0}, ExitCode.ALL_IN),
        ({"status": "completed", "missing": 1, "differs": 0}, ExitCode.INCOMPLETE),
        ({"status": "completed", "missing": 0, "differs": 1}, ExitCode.INCOMPLETE),
        ({"status": "failed", "missing": 0, "differs": 0}, ExitCode.ERROR),
    ],
)
def test_a_verification_that_could_not_ask_is_an_error_and_not_a_loss(state: dict[str, Any], code: ExitCode) -> None:
    assert exit_code_of_verification(state) is code


@pytest.mark.parametrize(
    ("given", "meant"),
    [("latest", TASKS[0]), (TASKS[1], TASKS[1]), ("bbbb2222", TASKS[1]), ("dicom-import-20260102", TASKS[0])],
)
def test_a_task_may_be_named_by_a_beginning_or_an_end(given: str, meant: str) -> None:
    assert chosen(given, TASKS) == meant


@pytest.mark.parametrize(
    ("given", "refusal"), [("dicom-import", "2 个任务"), ("nothing", "没有编号为"), ("", "2 个任务")]
)
def test_an_unclear_task_is_refused_in_words(given: str, refusal: str) -> None:
    with pytest.raises(TaskNameError, match=refusal):
        chosen(given, TASKS)


def test_latest_of_none_says_so() -> None:
    with pytest.raises(TaskNameError, match="还没有任何任务"):
        chosen("latest", [])


def test_every_state_has_words_in_both_languages() -> None:
    for members, table in ((TaskStatus, STATUS_WORDS), (TaskResult, RESULT_WORDS), (PauseReason, PAUSE_WORDS)):
        assert {member.value for member in members} == set(table)
    assert Words(Language.EN).of(STATUS_WORDS, "paused") == "paused"
    assert Words(Language.ZH).of(STATUS_WORDS, "paused") == "已暂停"
    assert Words(Language.ZH).of(STATUS_WORDS, "of tomorrow") == "of tomorrow"


@pytest.mark.parametrize(("language", "file"), [(Language.ZH, "zh_codes.js"), (Language.EN, "en_codes.js")])
def test_states_are_called_as_in_the_dashboard(language: Language, file: str) -> None:
    text = (DICTIONARIES / file).read_text("utf-8")
    states, months = (
        dict(re.findall(r'(\w+): "([^"]+)"', text[text.index(f"  {name}: {{") :].partition("}")[0]))
        for name in ("status", "month_state")
    )
    results = {"success": states["success"], "partial": states["partial"], "failed": states["result_failed"]}
    words = Words(language)
    for table, called in ((STATUS_WORDS, states), (RESULT_WORDS, results), (MONTH_WORDS, months)):
        assert {name: words.of(table, name) for name in table} == {name: called[name].lower() for name in table}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--lang", "en", "--json", "doctor"], ["doctor", "--lang", "en", "--json"]),
        (["--lang=en", "import", "/d"], ["import", "--lang=en", "/d"]),
        (["status", "latest", "--json"], ["status", "latest", "--json"]),
        (["--lang", "en"], ["--lang", "en"]),
        (["--help"], ["--help"]),
    ],
)
def test_shared_options_may_stand_before_the_command(typed: list[str], meant: list[str]) -> None:
    assert command_first(typed) == meant


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "a\rb", "\x9b31m", "gpj.\u202eexe", "two\nlines"])
def test_names_of_files_cannot_steer_the_terminal(text: str) -> None:
    assert plain(text).isprintable()


def test_chinese_names_stay_as_they_are() -> None:
    assert plain("/数据/2024年4月/é.dcm") == "/数据/2024年4月/é.dcm"


def test_amounts_and_spans_are_short() -> None:
    assert [amount(0), amount(999), amount(1_500), amount(2_000_000_000)] == ["0 B", "999 B", "1.5 kB", "2.0 GB"]
    assert [span(None), span(9), span(61), span(3_723)] == ["", "0:09", "1:01", "1:02:03"]


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8001", True),
        ("http://localhost:8001", True),
        ("http://[::1]:8001", True),
        ("http://192.168.1.9:8001", False),
        ("http://scanner.hospital:8001", False),
    ],
)
def test_a_path_means_the_same_only_on_this_machine(url: str, here: bool) -> None:
    assert Target(url, None).on_this_machine is here


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Target("http://127.0.0.1:8001", "secret"))


def test_what_is_given_is_sent_and_the_rest_is_left_to_the_service() -> None:
    assert ImportRequest().body() == {}
    request = ImportRequest(window_center=0.0, window_width=400.0, dry_run=True, description="")
    assert request.body() == {"window_center": 0.0, "window_width": 400.0, "dry_run": True}
    assert RetryRequest(code="patient_mismatch", run_now=True).body() == {"code": "patient_mismatch", "run_now": True}
