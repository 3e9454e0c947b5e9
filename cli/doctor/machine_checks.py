"""The doctor's checks that need no service: ``.env``, folders, disks, token, hours. None changes anything."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from api_client import token_expiry
from cli.display.translations import Words, amount
from cli.doctor.findings import CheckResult, Finding
from config import ENV_FILE, Settings, doubtful_names, parse_active_hours
from errors import ConfigurationError, SourceError
from importing.background.active_hours import ActiveHours
from importing.background.pause_monitor import ENOUGH_FREE_BYTES, has_room
from importing.settings_mapping import check_exam_rules, confinement_state, credentials_of, tree_rules
from source import month_folders, resolve_source

_BACKEND_NAMES = ("BACKEND_URL", "API_TOKEN", "BACKEND_USERNAME")
"""A container or a unit file that sets one of these does without ``.env``."""
_TOKEN_DAYS_ENOUGH = 7
_DAY_S = 86_400


def check_machine(settings: Settings, words: Words) -> Iterator[Finding]:
    """All checks of this machine, for settings that could be read."""
    yield _env_file(words)
    if not settings.dicom_source_path:
        detail = words(
            "未设置 DICOM_SOURCE_PATH：本机任何目录都可导入", "DICOM_SOURCE_PATH is empty: any folder may be imported"
        )
        cure = words("建议设置为存放 DICOM 的根目录", "Set it to the root of the DICOM tree")
        yield Finding("source", CheckResult.WARNING, detail, cure)
    for root in settings.dicom_source_path:
        yield _source(root, settings, words)
    yield _folder("output_dir", settings.output_dir, words)
    yield _folder("data_dir", settings.data_dir, words)
    yield _token(settings, words)
    yield _confinement(settings, words)
    yield _exam_rules(settings, words)
    yield _hours(settings, words)


def _env_file(words: Words) -> Finding:
    """``.env`` of the working folder, and names in it or in the environment that are probably not meant so."""
    path = os.path.abspath(ENV_FILE)
    is_there = os.path.isfile(path)
    if doubtful := doubtful_names():
        detail = words("；", "; ").join(words(*pair) for pair in doubtful)
        cure = words("请改正拼写，或删去这些行", "Correct or remove these lines")
        return Finding("env_file", CheckResult.WARNING, f"{path}: {detail}" if is_there else detail, cure)
    if is_there:
        return Finding("env_file", CheckResult.GO, path)
    if any(name in os.environ for name in _BACKEND_NAMES):
        detail = words("没有，设置来自环境变量", "none; the environment holds the settings")
        return Finding("env_file", CheckResult.GO, detail)
    detail = words(f"没有 {path}，只用环境变量和默认值", f"{path} is missing; environment and defaults hold")
    cure = words("若服务在别的文件夹启动，请在那里运行本命令", "Run this command where the service is started")
    return Finding("env_file", CheckResult.WARNING, detail, cure)


def _source(root: str, settings: Settings, words: Words) -> Finding:
    """Whether a root can be read, and which months it holds."""
    rules = tree_rules(settings)
    try:
        months = sorted(folder.month for folder in month_folders(resolve_source(root, rules), rules))
    except SourceError as error:
        cure = words("请检查共享、路径和权限", "Check share, path, permissions")
        return Finding("source", CheckResult.NO_GO, error.detail, cure)
    if not months:
        cure = words("请检查路径与 MONTH_FOLDER_FORMAT", "Check the path and MONTH_FOLDER_FORMAT")
        return Finding("source", CheckResult.WARNING, words(f"{root}：没有月份目录", f"{root}: no month folders"), cure)
    found = months[0] if len(months) == 1 else f"{months[0]} … {months[-1]}"
    detail = words(f"{root}：{len(months)} 个月份（{found}）", f"{root}: {len(months)} month(s) ({found})")
    return Finding("source", CheckResult.GO, detail)


def _folder(name: str, folder: str, words: Words) -> Finding:
    """Whether OUTPUT_DIR or DATA_DIR can be written (or made), and has space."""
    place = folder
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    try:
        free = amount(shutil.disk_usage(place).free)
    except OSError as error:
        return Finding(name, CheckResult.NO_GO, f"{folder}（{error.strerror}）", words("请检查路径", "Check the path"))
    detail = words(f"{folder}，可用空间 {free}", f"{folder}, {free} free")
    if os.path.isdir(place) and has_room(place):
        return Finding(name, CheckResult.GO, detail)
    enough = amount(ENOUGH_FREE_BYTES)
    cure = words(f"请检查写权限，并留出至少 {enough}", f"Check write permission; leave at least {enough}")
    return Finding(name, CheckResult.NO_GO, detail, cure)


def _token(settings: Settings, words: Words) -> Finding:
    """What there is to log in with, and how long the token is valid. The service knows whether XieHe accepts it."""
    credentials = credentials_of(settings)
    token, can_log_in = credentials.api_token, credentials.can_log_in
    if token is None and can_log_in:
        return Finding("token", CheckResult.GO, words("没有令牌，用账号登录", "none; the account logs in"))
    if token is None:
        cure = words("请设置 API_TOKEN，或 BACKEND_USERNAME 与 BACKEND_PASSWORD", "Set API_TOKEN, or the account")
        return Finding("token", CheckResult.NO_GO, words("既没有令牌也没有账号", "neither token nor account"), cure)
    account = words("；失效后用账号自动登录", "; the account logs in afterwards") if can_log_in else ""
    expiry = token_expiry(token)
    if expiry is None:
        return Finding("token", CheckResult.GO, words("已设置，看不出有效期", "set; tells no expiry") + account)
    days = (expiry - time.time()) / _DAY_S
    expired = words("已过期", "expired")
    detail = expired if days <= 0 else words(f"还有 {days:.1f} 天过期", f"expires in {days:.1f} days")
    if days > 0 and (can_log_in or days >= _TOKEN_DAYS_ENOUGH):
        return Finding("token", CheckResult.GO, detail + account)
    verdict = CheckResult.WARNING if can_log_in or days > 0 else CheckResult.NO_GO
    return Finding("token", verdict, detail + account, words("请更换 API_TOKEN", "Replace API_TOKEN"))


def _confinement(settings: Settings, words: Words) -> Finding:
    """What a hostile file can reach that takes over its render process."""
    state = confinement_state(settings)
    detail = words(state.words, state.english)
    if state.sound:
        return Finding("confinement", CheckResult.GO, detail)
    cure = words("见 docs/security.zh-CN.md", "See docs/security.md")
    return Finding("confinement", CheckResult.WARNING, detail, cure)


def _exam_rules(settings: Settings, words: Words) -> Finding:
    try:
        check_exam_rules(settings.exam_rules_file)
    except ConfigurationError as error:
        cure = words("请更正 EXAM_RULES_FILE", "Correct EXAM_RULES_FILE")
        return Finding("exam_rules", CheckResult.NO_GO, error.detail, cure)
    return Finding("exam_rules", CheckResult.GO, settings.exam_rules_file or words("内置规则", "built-in table"))


def _hours(settings: Settings, words: Words) -> Finding:
    """The time zone, and whether ACTIVE_HOURS let an import run now."""
    now = datetime.now(ZoneInfo(settings.timezone) if settings.timezone else None).astimezone()
    shown = f"{now:%Y-%m-%d %H:%M %z} {settings.timezone or ''}".rstrip()
    if settings.active_hours is None:
        return Finding("time", CheckResult.GO, words(f"{shown}，全天可导入", f"{shown}, at any hour"))
    hours = ActiveHours.of(parse_active_hours(settings.active_hours), settings.timezone)
    if hours.contains(now):
        return Finding("time", CheckResult.GO, words(f"{shown}，在时段 {hours} 之内", f"{shown}, within {hours}"))
    detail = words(f"{shown}，不在时段 {hours} 之内：任务会等待", f"{shown}, outside {hours}: tasks wait")
    cure = words("要立即导入，用 --run-now", "Use --run-now to import now")
    return Finding("time", CheckResult.WARNING, detail, cure)
