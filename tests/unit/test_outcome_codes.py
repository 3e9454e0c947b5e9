"""What the service can send has words in both languages, and "holds no image" and "held" mean the same everywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from cli.display.translations import MONTH_WORDS, PAUSE_WORDS, RESULT_WORDS, STATUS_WORDS
from domain.outcome_codes import HELD_CODES, NO_PIXEL_DATA, OUTCOME_HINTS
from errors import FileError, HeldFileError
from models import OutcomeKind, PauseReason, TaskResult, TaskStatus, VerifyResult, WindowSource
from web.api.schemas import MonthEntry

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "static" / "js"
_TOKEN = re.compile(r'"?(?P<key>[\w-]+)"?:\s*(?:(?P<open>\{)|"(?:[^"\\]|\\.)*")|(?P<close>\})')


def dictionary(language: str) -> set[str]:
    """Dotted keys of the dashboard's words."""
    return {key for part in ("", "_task", "_codes") for key in _keys(SCRIPTS / "i18n" / f"{language}{part}.js")}


def _keys(file: Path) -> Iterator[str]:
    path: list[str] = []
    text = file.read_text("utf-8")
    for token in _TOKEN.finditer(text, text.index("= {") + 3):
        if token["close"]:
            path = path[:-1]
        elif token["open"]:
            path.append(token["key"])
        else:
            yield ".".join([*path, token["key"]])


def names_of_checks() -> set[str]:
    """Of the checks in /health/ready."""
    tree = ast.parse((ROOT / "importing" / "readiness.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    names = [call.args[0] for call in calls if ast.unparse(call.func) == "ReadinessCheck"]
    return {str(name.value) for name in names if isinstance(name, ast.Constant)}


def keys_that_can_be_asked_for() -> set[str]:
    """Of each member of the closed sets that the service sends."""

    def each(pattern: str, members: Iterable[str]) -> set[str]:
        return {pattern.format(member) for member in members}

    results = {"status.result_failed" if result == "failed" else f"status.{result}" for result in TaskResult}
    return results.union(
        each("codes.{}", OUTCOME_HINTS),
        each("status.{}", TaskStatus),
        each("pause.{}.what", PauseReason),
        each("pause.{}.todo", PauseReason),
        each("month_state.{}", get_args(MonthEntry.model_fields["state"].annotation)),
        each("files.s_{}", OutcomeKind),
        each("files.w_{}", WindowSource),
        each("verify.{}", VerifyResult),
        each("checks.{}", names_of_checks()),
        each("checks.todo.{}", names_of_checks()),
    )


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_dashboard_has_words_for_all_that_the_service_can_send(language: str) -> None:
    wanted = keys_that_can_be_asked_for()
    if language == "en":  # in Chinese, the page shows the hints of the service
        wanted |= {f"hints.{code}" for code in OUTCOME_HINTS}
    assert len(names_of_checks()) == 6
    missing = sorted(wanted - dictionary(language))
    assert not missing, f"static/js/i18n/{language}*.js lacks these keys: {', '.join(missing)}"


def test_the_dashboard_has_no_words_for_codes_that_are_gone() -> None:
    for language in ("zh", "en"):
        known = {key.partition(".")[2] for key in dictionary(language) if key.startswith(("codes.", "hints."))}
        assert known <= set(OUTCOME_HINTS)


def test_both_dictionaries_have_the_same_keys() -> None:
    english = {key for key in dictionary("en") if not key.startswith("hints.")}
    assert english == dictionary("zh")


def test_the_command_line_has_words_for_all_that_the_service_can_send() -> None:
    states = get_args(MonthEntry.model_fields["state"].annotation)
    sets = ((TaskStatus, STATUS_WORDS), (TaskResult, RESULT_WORDS), (PauseReason, PAUSE_WORDS), (states, MONTH_WORDS))
    for members, words in sets:
        assert set(words) == {str(member) for member in members}
        assert all(chinese and english for chinese, english in words.values())


def test_held_codes_are_those_of_the_errors_that_hold_a_file() -> None:
    assert {error.code for error in _below(HeldFileError)} == HELD_CODES
    assert set(OUTCOME_HINTS) > HELD_CODES


def _below(error: type[FileError]) -> Iterator[type[FileError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def test_javascript_means_the_same_codes() -> None:
    sets = {name: codes for file in SCRIPTS.rglob("*.js") for name, codes in _sets_in(file)}
    assert sets["HELD"] == HELD_CODES
    assert sets["NO_SECOND_TRY"] == {NO_PIXEL_DATA}
    assert {NO_PIXEL_DATA} < sets["NEVER_RENDERED"] < set(OUTCOME_HINTS) - HELD_CODES


def _sets_in(file: Path) -> Iterator[tuple[str, set[str]]]:
    for name, body in re.findall(r"const (\w+) = new Set\(\[(.*?)\]\)", file.read_text("utf-8"), re.DOTALL):
        yield name, set(re.findall(r'"(\w+)"', body))


def test_no_other_place_names_these_codes() -> None:
    """A place that compares them by name would have to be compared with the definition here."""
    allowed = {"errors.py", "views/task_outcomes.js", "views/task_pictures.js"}
    files = [path for folder in (ROOT, SCRIPTS) for path in _sources(folder)]
    quoted = re.compile("|".join(rf"""["']{code}["']""" for code in (NO_PIXEL_DATA, *HELD_CODES)))
    found = {name for path in files if quoted.search(path.read_text("utf-8")) for name in [_short(path)]}
    assert found == allowed | {"domain/outcome_codes.py"}


def _sources(folder: Path) -> Iterator[Path]:
    if folder == SCRIPTS:
        yield from (path for path in folder.rglob("*.js") if "i18n" not in path.parts)
        return
    other = {"tests", "demo", "sandbox", "benchmarks"}
    for path in folder.rglob("*.py"):
        first = path.relative_to(folder).parts[0]
        if first not in other and not first.startswith("."):
            yield path


def _short(path: Path) -> str:
    return path.relative_to(SCRIPTS if path.is_relative_to(SCRIPTS) else ROOT).as_posix()


def test_alerts_leave_out_the_same_code() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "deploy" / "prometheus").glob("*.yaml"))
    left_out = re.findall(r'code!="([^"]+)"', text)
    assert left_out
    assert set(left_out) == {NO_PIXEL_DATA}
