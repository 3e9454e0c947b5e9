"""``.env.example`` is the list of settings: complete, nothing else, explained, and harmless as it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from api_client import ClientOptions, Credentials
from config import REMOVED_SETTINGS, Settings, doubtful_names, load_settings
from monitoring import logging_setup

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
SETTING_NAMES = [name.upper() for name in Settings.model_fields]
SECRETS = ("API_TOKEN", "BACKEND_PASSWORD", "SERVICE_API_KEY", "WEBHOOK_SECRET")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SETTING_NAMES, *REMOVED_SETTINGS):
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
    named = re.findall(r"默认 ?([^\n]+)\n([A-Z_]+)=", EXAMPLE.read_text("utf-8"))
    assert len(named) == len(SETTING_NAMES)
    for words, name in named:
        assert (values[name] or "空") == words.split("：")[0], name


def test_no_secret_stands_in_it() -> None:
    values = dotenv_values(EXAMPLE)
    assert {values[name] for name in SECRETS} == {""}


def test_there_are_not_more_settings_than_a_hospital_can_read_through() -> None:
    assert len(SETTING_NAMES) <= 48


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("BACKEND_URL=x\nAPI_TOKN=x\ndicom_source_path=x\nGRAFANA_ADMIN=x\n", encoding="utf-8")
    assert doubtful_names(env_file) == [
        ("没有名为 API_TOKN 的设置，是否指 API_TOKEN？", "API_TOKN in .env is no setting; perhaps API_TOKEN is meant"),
        ("没有名为 GRAFANA_ADMIN 的设置", "GRAFANA_ADMIN in .env is no setting"),
    ]


@pytest.mark.parametrize("name", REMOVED_SETTINGS)
def test_a_removed_setting_is_named_with_the_value_that_is_fixed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"{name}=7\n", encoding="utf-8")
    assert load_settings(env_file) == load_settings(None)
    (in_file,) = doubtful_names(env_file)
    monkeypatch.setenv(name.lower(), "7")
    (in_environment,) = doubtful_names(os.devnull)
    value = REMOVED_SETTINGS[name]
    assert in_file == in_environment
    assert in_file == (f"设置 {name} 已取消，固定为 {value}", f"the setting {name} is removed, its value is {value}")


def test_the_values_that_are_fixed_are_those_in_use() -> None:
    options = ClientOptions("http://xiehe", Credentials())
    assert {name: float(value) for name, value in REMOVED_SETTINGS.items()} == {
        "LOG_MAX_MB": logging_setup.LOG_FILE_BYTES / 1024**2,
        "LOG_KEEP": logging_setup.LOG_FILES_KEPT,
        "BACKEND_TIMEOUT_SECONDS": options.read_timeout_s,
        "BACKEND_ATTEMPTS": options.retry.attempts,
        "BACKEND_FIRST_WAIT_SECONDS": options.retry.first_wait_s,
        "BACKEND_MAX_WAIT_SECONDS": options.retry.max_wait_s,
        "BACKEND_CONFIRM_SECONDS": options.retry.lease_total_s,
    }
