"""The doctor's checks of this machine: folders, disks, decoders, hours, the port. None changes anything."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cli.display.translations import Words, amount
from cli.doctor.findings import CheckResult, Finding
from cli.service.client import ServiceClient
from config import XIEHE_MODEL_PORT, Settings, parse_active_hours
from errors import ConfigurationError, HistoryError, ServiceRefusedError, ServiceUnreachableError, SourceError
from history import data_dir_owner, examine_history
from importing.background.active_hours import ActiveHours
from importing.background.pause_monitor import ENOUGH_FREE_BYTES, has_room
from importing.settings_mapping import check_exam_rules, confinement_state, tree_rules
from source import TreeRules, months_in, resolve_source

_REPOSITORY = Path(__file__).resolve().parents[2]
_DECODERS_WITHIN_S = 60.0
_HISTORY_WITHIN_S = 60.0


def check_sources(settings: Settings, words: Words) -> list[Finding]:
    """Each root: is it there, may it be read, what months does it hold."""
    title, rules = words("源目录", "source"), tree_rules(settings)
    if not settings.dicom_source_path:
        detail = words(
            "未设置 DICOM_SOURCE_PATH：本机任何目录都可导入", "DICOM_SOURCE_PATH is empty: any folder may be imported"
        )
        cure = words("建议设置为存放 DICOM 的根目录", "Set it to the root of the DICOM tree")
        return [Finding("source", title, CheckResult.WARNING, detail, cure)]
    return [_root(root, rules, title, words) for root in settings.dicom_source_path]


def _root(root: str, rules: TreeRules, title: str, words: Words) -> Finding:
    try:
        months = sorted(months_in(resolve_source(root, rules), rules))
    except SourceError as error:
        return Finding(
            "source",
            title,
            CheckResult.NO_GO,
            error.detail,
            words("请检查共享、路径和权限", "Check share, path, permissions"),
        )
    if not months:
        cure = words("请检查路径与 MONTH_FOLDER_FORMAT", "Check the path and MONTH_FOLDER_FORMAT")
        return Finding(
            "source", title, CheckResult.WARNING, words(f"{root}：没有月份目录", f"{root}: no month folders"), cure
        )
    found = months[0] if len(months) == 1 else f"{months[0]} … {months[-1]}"
    detail = words(f"{root}：{len(months)} 个月份（{found}）", f"{root}: {len(months)} month(s) ({found})")
    return Finding("source", title, CheckResult.GO, detail)


def check_folder(name: str, folder: str, words: Words) -> Finding:
    """OUTPUT_DIR or DATA_DIR: can it be written (or made), and is there space."""
    place = _nearest_existing(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(
            name.lower(),
            name,
            CheckResult.NO_GO,
            f"{folder}（{error.strerror}）",
            words("请检查路径", "Check the path"),
        )
    detail = words(f"{folder}，可用空间 {amount(free)}", f"{folder}, {amount(free)} free")
    if os.path.isdir(place) and has_room((place,)):
        return Finding(name.lower(), name, CheckResult.GO, detail)
    cure = words(
        f"请检查写权限，并留出至少 {amount(ENOUGH_FREE_BYTES)}",
        f"Check write permission; leave at least {amount(ENOUGH_FREE_BYTES)}",
    )
    return Finding(name.lower(), name, CheckResult.NO_GO, detail, cure)


def _nearest_existing(folder: str) -> str:
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def check_service(settings: Settings, service: ServiceClient, words: Words) -> list[Finding]:
    """Is the service running; if not, could it be started: port and DATA_DIR."""
    title, url = words("本服务", "service"), service.target.url
    try:
        owner = data_dir_owner(settings.data_dir)
    except HistoryError as error:
        return [Finding("data_dir_owner", "DATA_DIR", CheckResult.NO_GO, error.detail)]
    if service.is_there():
        return [Finding("service", title, CheckResult.GO, words(f"正在运行：{url}", f"running at {url}"))]
    findings = []
    if owner is not None:
        detail = words(
            f"{settings.data_dir} 正由另一个进程使用{owner}", f"{settings.data_dir} is used by another process{owner}"
        )
        cure = words(
            f"但 {url} 没有应答：请用 --url 给出它的地址", f"Yet {url} does not answer: name its address with --url"
        )
        findings.append(Finding("data_dir_owner", "DATA_DIR", CheckResult.NO_GO, detail, cure))
    elif not service.target.chosen:
        findings.append(_port(settings, title, words))
    else:
        cure = words("请启动该服务，或检查地址", "Start that service, or check the address")
        findings.append(
            Finding("service", title, CheckResult.NO_GO, words(f"{url} 没有应答", f"{url} does not answer"), cure)
        )
    return findings


def check_history(settings: Settings, service: ServiceClient, words: Words) -> Finding:
    """Whether the history is damaged: by what a running service says of its own, else by reading that of DATA_DIR."""
    title = words("历史库", "history")
    try:
        if service.is_there():
            return _history_in_use(service, title)
        if data_dir_owner(settings.data_dir) is not None:
            detail = words("正由另一个进程使用，没有检查", "another process uses it: not checked")
            return Finding("history", title, CheckResult.WARNING, detail)
        whole = examine_history(settings.data_dir, _HISTORY_WITHIN_S)
    except HistoryError as error:
        return Finding("history", title, CheckResult.NO_GO, error.detail)
    except (ServiceUnreachableError, ServiceRefusedError) as error:
        return Finding("history", title, CheckResult.WARNING, error.detail)
    if not whole:
        detail = words(
            f"很大，{_HISTORY_WITHIN_S:.0f} 秒内没有查完，服务启动后会接着查",
            f"large: not read to its end within {_HISTORY_WITHIN_S:.0f} s; the service will do it after its start",
        )
        return Finding("history", title, CheckResult.GO, detail)
    return Finding("history", title, CheckResult.GO, words("没有发现损坏", "no damage found"))


def _history_in_use(service: ServiceClient, title: str) -> Finding:
    checks = {check["name"]: check for check in service.readiness()["checks"]}
    verdict = CheckResult.GO if checks["history"]["ok"] else CheckResult.NO_GO
    return Finding("history", title, verdict, checks["history"]["detail"])


def _port(settings: Settings, title: str, words: Words) -> Finding:
    try:
        socket.create_server((settings.host, settings.port)).close()
    except OSError as error:
        detail = words(
            f"没有运行；端口 {settings.port} 不可用（{error.strerror}）",
            f"not running; port {settings.port}: {error.strerror}",
        )
        cure = words(
            "另一个程序占用了它：请停止占用者，或改用另一个 PORT", "Another program has it: stop that, or change PORT"
        )
        if settings.port == XIEHE_MODEL_PORT:
            cure += words("（XieHe 的 AP 模型服务也用 8001）", " (XieHe's AP model service uses 8001, too)")
        return Finding("service", title, CheckResult.NO_GO, detail, cure)
    detail = words(
        f"没有运行，端口 {settings.port} 空闲；导入前请启动：python main.py",
        f"not running, port {settings.port} is free; start it before an import: python main.py",
    )
    return Finding("service", title, CheckResult.GO, detail)


def check_decoders_apart(words: Words) -> Finding:
    """In a process of its own, as the service does it."""
    title = words("解码器", "decoders")
    cure = words("请按 requirements.txt 重新安装依赖", "Install the packages of requirements.txt again")
    paths = os.pathsep.join([str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        probe = subprocess.run(
            [sys.executable, "-m", "cli.doctor.decoder_probe"],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            timeout=_DECODERS_WITHIN_S,
            check=False,
        )
        answer = json.loads(probe.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        detail = words("自检没有完成（解码器崩溃或缺失）", "the self-test did not finish (crashed or missing)")
        return Finding("decoders", title, CheckResult.NO_GO, detail, cure)
    if "problem" in answer:
        return Finding("decoders", title, CheckResult.NO_GO, answer["problem"][0], cure)
    names = "、".join(answer["decoders"])
    return Finding("decoders", title, CheckResult.GO, words(f"{len(answer['decoders'])} 个均正常：{names}", names))


def check_confinement(settings: Settings, words: Words) -> Finding:
    """Whether a hostile file that takes over its render process can reach more than the sources."""
    name, title = "confinement", words("渲染进程隔离", "render processes")
    state = confinement_state(settings)
    detail = words(state.words, state.english)
    if state.sound:
        return Finding(name, title, CheckResult.GO, detail)
    return Finding(name, title, CheckResult.WARNING, detail, words("见 docs/security.zh-CN.md", "See docs/security.md"))


def check_rules_file(settings: Settings, words: Words) -> Finding:
    """EXAM_RULES_FILE, or the built-in table."""
    title = words("体位规则", "exam rules")
    try:
        check_exam_rules(settings.exam_rules_file)
    except ConfigurationError as error:
        return Finding(
            "exam_rules",
            title,
            CheckResult.NO_GO,
            error.detail,
            words("请更正 EXAM_RULES_FILE", "Correct EXAM_RULES_FILE"),
        )
    return Finding("exam_rules", title, CheckResult.GO, settings.exam_rules_file or words("内置规则", "built-in table"))


def check_hours(settings: Settings, words: Words) -> Finding:
    """The time zone, and whether an import would run now."""
    title = words("时间", "time")
    now = datetime.now(ZoneInfo(settings.timezone) if settings.timezone else None).astimezone()
    shown = f"{now:%Y-%m-%d %H:%M %z} {settings.timezone or ''}".rstrip()
    if settings.active_hours is None:
        return Finding("time", title, CheckResult.GO, words(f"{shown}，全天可导入", f"{shown}, at any hour"))
    hours = ActiveHours.of(parse_active_hours(settings.active_hours), settings.timezone)
    if hours.contains(now):
        return Finding(
            "time", title, CheckResult.GO, words(f"{shown}，在时段 {hours} 之内", f"{shown}, within {hours}")
        )
    detail = words(f"{shown}，不在时段 {hours} 之内：任务会等待", f"{shown}, outside {hours}: tasks wait")
    return Finding(
        "time", title, CheckResult.WARNING, detail, words("要立即导入，用 --run-now", "Use --run-now to import now")
    )
