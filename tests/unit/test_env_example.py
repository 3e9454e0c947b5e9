"""``.env.example`` is the list of settings: complete, nothing else, explained, and harmless as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from config import Settings, load_settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
SETTING_NAMES = [name.upper() for name in Settings.model_fields]
SECRETS = ("API_TOKEN", "BACKEND_PASSWORD", "SERVICE_API_KEY", "WEBHOOK_SECRET")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTING_NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_every_setting_appears_once_and_nothing_else() -> None:
    names = re.findall(r"^([^#=\s]+)=", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(SETTING_NAMES)


def test_each_setting_has_one_line_in_chinese_above_it_that_tells_its_default() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            assert re.fullmatch(r"# .*[\u4e00-\u9fff].*默认.+", above), line


def test_used_as_it_is_it_changes_no_default() -> None:
    assert load_settings(EXAMPLE) == load_settings(None)


def test_the_default_that_a_comment_names_is_the_one_in_the_file() -> None:
    values = dotenv_values(EXAMPLE)
    told = re.findall(r"默认 ?([^\n]+)\n([A-Z_]+)=", EXAMPLE.read_text("utf-8"))
    assert len(told) == len(SETTING_NAMES)
    for words, name in told:
        assert (values[name] or "空") == words.split("：")[0], name


def test_no_secret_stands_in_it() -> None:
    values = dotenv_values(EXAMPLE)
    assert {values[name] for name in SECRETS} == {""}
