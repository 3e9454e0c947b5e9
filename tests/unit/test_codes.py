"""docs/codes.md, in both languages, has every emitted code of warnings, ignored files and skipped folders."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom.rendering.image_making import _MESSAGES
from domain.outcome_codes import IGNORED_WORDS
from history import IgnoredRow
from models import IgnoredFile
from tests.unit.test_readme import code, rows
from web.api import serializers
from web.api.schemas import SkippedReportRow

ROOT = Path(__file__).parents[2]
PAGES = ("docs/codes.md", "docs/codes.zh-CN.md")
ELSEWHERE = {"tests", "sandbox", "benchmarks", "demo"}
WARNING_CALLS = {"FileWarning": (0, 2), "_warn": (0, 2)}
IGNORED_CALLS = {"IgnoredFile": (1, 2), "_Content": (0, 1)}
"""Call → position of the code among its arguments, and their number."""
REASONS = {"refusal", "_unreadable_link", "_not_a_file", "junk_reason"}
"""Functions that return the reason of an ignored file."""
PASSED_ON = {"code", "str(code)", "reason", "refusal", "error.reason", "progress.reply.ignored"}
"""Arguments that hold a code which another place emits."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in ELSEWHERE and not parts[0].startswith("."):
            yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def emitted(calls: dict[str, tuple[int, int]]) -> set[str]:
    """Codes that calls of these names emit."""
    found: set[str] = set()
    for module, tree in modules():
        for node in ast.walk(tree):
            position, number = calls.get(_name(node.func), (0, -1)) if isinstance(node, ast.Call) else (0, -1)
            if isinstance(node, ast.Call) and len(node.args) == number:
                found |= _codes(module, node.args[position])
    return found


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _codes(module: str, argument: ast.expr) -> set[str]:
    """The code that is written there or has its name there; a code of elsewhere has to be known."""
    text = ast.unparse(argument)
    if text in PASSED_ON:
        return set()
    if isinstance(argument, ast.Constant):
        return {str(argument.value)}
    value: object = importlib.import_module(module)
    for part in text.split("."):
        value = getattr(value, part)
    return {str(value)}


def returned_reasons() -> set[str]:
    """The texts in the return statements of REASONS."""
    functions = (
        node
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in REASONS
    )
    returns = (
        node for function in functions for node in ast.walk(function) if isinstance(node, ast.Return) and node.value
    )
    texts = (node.value for each in returns for node in ast.walk(each) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and re.fullmatch("[a-z_]+", text)}


WARNINGS = emitted(WARNING_CALLS) | set(map(str, _MESSAGES))
IGNORED = emitted(IGNORED_CALLS) | returned_reasons()


def test_the_codes_are_found_in_the_source() -> None:
    assert {"constant_picture", "overlay_not_drawn", "patient_id_form_differs", "removed_in_xiehe"} <= WARNINGS
    assert {"extra_pictures_ignored", "upload_not_listed", "most_files_held", "bit_depth_mismatch"} <= WARNINGS
    assert {"junk", "special_file", "not_dicom", "for_processing", "symlink_duplicate", "vanished"} <= IGNORED


@pytest.mark.parametrize("page", PAGES)
def test_every_warning_code_is_explained_with_something_to_do(page: str) -> None:
    documented = {code(name): (meaning, advice) for name, meaning, advice in rows(page, "warnings")}
    assert set(documented) == WARNINGS
    assert all(meaning and advice for meaning, advice in documented.values())


@pytest.mark.parametrize("page", PAGES)
def test_every_ignored_and_skipped_code_is_explained_with_something_to_do(page: str) -> None:
    documented = {code(name): (meaning, advice) for name, meaning, advice in rows(page, "ignored")}
    assert set(documented) == IGNORED | {SkippedReportRow.model_fields["code"].default}
    assert all(meaning and advice for meaning, advice in documented.values())


def test_both_pages_have_the_same_codes_in_the_same_order() -> None:
    for table in ("warnings", "ignored"):
        english, chinese = ([code(row[0]) for row in rows(page, table)] for page in PAGES)
        assert english == chinese


def test_the_chinese_page_gives_the_very_words_that_operators_are_shown() -> None:
    documented = {code(name): words for name, *words in rows("docs/codes.zh-CN.md", "ignored")}
    assert set(IGNORED_WORDS) == IGNORED
    for reason, words in IGNORED_WORDS.items():
        assert documented[reason] == [words.detail, words.hint]


def test_an_ignored_row_says_what_the_file_is_and_what_to_do() -> None:
    row = IgnoredRow(1, IgnoredFile("/d/x.lnk", "broken_symlink"))
    assert serializers.ignored_values(row) == (
        "/d/x.lnk",
        "ignored",
        "broken_symlink",
        "链接的目标不存在，或链接成环",
        "请修复或删除这个链接。",
    )


def test_a_reason_of_another_version_is_shown_as_it_is() -> None:
    row = IgnoredRow(1, IgnoredFile("/d/x", "of_the_future"))
    assert serializers.ignored_values(row)[2:] == ("of_the_future", "已忽略（of_the_future）", "")
