"""``.env`` looked at as a file: where it is, and names in it that no setting has or that are repeated."""

from __future__ import annotations

import os

from cli.display.translations import Words
from cli.doctor.findings import CheckResult, Finding
from config import ENV_FILE, doubtful_names

_TELLING = ("BACKEND_URL", "API_TOKEN", "BACKEND_USERNAME")
"""Whoever sets one of these in the environment (a container, a unit file) means to go without the file."""


def check_env_file(words: Words) -> Finding:
    """Of the folder that the command runs in; expects that the settings could be read."""
    title, path = words("设置文件", ".env"), os.path.abspath(ENV_FILE)
    if not os.path.isfile(path) and any(name in os.environ for name in _TELLING):
        return Finding(
            "env_file",
            title,
            CheckResult.GO,
            words("没有，设置来自环境变量", "none; the environment holds the settings"),
        )
    if not os.path.isfile(path):
        detail = words(f"没有 {path}，只用环境变量和默认值", f"{path} is missing; environment and defaults hold")
        cure = words("若服务在别的文件夹启动，请在那里运行本命令", "Run this command where the service is started")
        return Finding("env_file", title, CheckResult.WARNING, detail, cure)
    told = [words(chinese, english) for chinese, english in doubtful_names(path)]
    if not told:
        return Finding("env_file", title, CheckResult.GO, path)
    cure = words("请改正拼写，或删去这些行", "Correct or remove these lines")
    return Finding("env_file", title, CheckResult.WARNING, f"{path}: {'；'.join(told)}", cure)
