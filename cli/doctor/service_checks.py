"""The doctor's checks of the service: its readiness; if it does not run, whether it could start."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from cli.display.translations import Words
from cli.doctor.findings import CheckResult, Finding
from cli.service_client import ServiceClient
from config import XIEHE_MODEL_PORT, Settings
from errors import HistoryError, ServiceRefusedError, ServiceUnreachableError
from history import data_dir_owner, examine_history

_HISTORY_WITHIN_S = 60.0


def check_service(settings: Settings, service: ServiceClient, words: Words) -> Iterator[Finding]:
    """What ``/health/ready`` says; without a service, what keeps it from starting. Only a service asks XieHe."""
    url = service.target.url
    if service.is_there():
        yield Finding("service", CheckResult.GO, words(f"正在运行：{url}", f"running at {url}"))
        yield from _readiness(service, words)
        return
    if service.target.chosen:
        cure = words("请启动该服务，或检查地址", "Start that service, or check the address")
        yield Finding("service", CheckResult.NO_GO, words(f"{url} 没有应答", f"{url} does not answer"), cure)
    else:
        yield from _start_obstacles(settings, url, words)
    cure = words("请启动服务（python main.py），再运行本命令", "Start it (python main.py), then run this command again")
    not_asked = words("没有询问：由运行中的服务检查", "not asked: the running service checks it")
    yield Finding("backend", CheckResult.WARNING, not_asked, cure)


def _readiness(service: ServiceClient, words: Words) -> Iterator[Finding]:
    try:
        checks = service.readiness()["checks"]
    except (ServiceRefusedError, ServiceUnreachableError) as error:
        yield Finding("service", CheckResult.NO_GO, error.detail)
        return
    for check in checks:
        verdict = CheckResult.GO if check["ok"] else CheckResult.NO_GO
        if check["name"] == "xiehe":
            cure = words("请检查 BACKEND_URL、令牌、网络和防火墙", "Check BACKEND_URL, token, network and firewall")
            yield Finding("backend", verdict, check["detail"], "" if check["ok"] else cure)
        else:
            yield Finding(check["name"], verdict, check["detail"])


def _start_obstacles(settings: Settings, url: str, words: Words) -> Iterator[Finding]:
    """DATA_DIR in use, port taken, history damaged."""
    try:
        owner = data_dir_owner(settings.data_dir)
    except HistoryError as error:
        yield Finding("data_dir_owner", CheckResult.NO_GO, error.detail)
        return
    if owner is not None:
        used = words(f"正由另一个进程使用{owner}", f"is used by process {owner.pid}")
        cure = words(
            f"但 {url} 没有应答：请用 --url 给出它的地址", f"Yet {url} does not answer: name its address with --url"
        )
        yield Finding("data_dir_owner", CheckResult.NO_GO, f"{settings.data_dir} {used}", cure)
        return
    yield _port(settings, words)
    yield _history(settings, words)


def _port(settings: Settings, words: Words) -> Finding:
    port = settings.port
    try:
        socket.create_server((settings.host, port)).close()
    except OSError as error:
        detail = words(
            f"没有运行；端口 {port} 不可用（{error.strerror}）", f"not running; port {port}: {error.strerror}"
        )
        cure = words(
            "另一个程序占用了它：请停止占用者，或改用另一个 PORT", "Another program has it: stop that, or change PORT"
        )
        if port == XIEHE_MODEL_PORT:
            cure += words("（XieHe 的 AP 模型服务也用 8001）", " (XieHe's AP model service uses 8001, too)")
        return Finding("service", CheckResult.NO_GO, detail, cure)
    return Finding("service", CheckResult.GO, words(f"没有运行，端口 {port} 空闲", f"not running, port {port} is free"))


def _history(settings: Settings, words: Words) -> Finding:
    try:
        complete = examine_history(settings.data_dir, _HISTORY_WITHIN_S)
    except HistoryError as error:
        return Finding("history", CheckResult.NO_GO, error.detail)
    if complete:
        return Finding("history", CheckResult.GO, words("没有发现损坏", "no damage found"))
    detail = words(
        f"很大，{_HISTORY_WITHIN_S:.0f} 秒内没有查完，服务启动后会接着查",
        f"large: not read to its end within {_HISTORY_WITHIN_S:.0f} s; the service does it after its start",
    )
    return Finding("history", CheckResult.GO, detail)
