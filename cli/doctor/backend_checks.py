"""The doctor's checks of XieHe: does it answer, does it take our token and for how long, do the clocks agree."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime

import httpx

from api_client import BackendHealth, XieHeClient, token_expiry
from cli.display.translations import Words
from cli.doctor.findings import CheckResult, Finding
from config import Settings
from importing.settings_mapping import client_options, credentials_of
from importing.telemetry import NullTelemetry

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 15.0
_TOKEN_DAYS_ENOUGH = 7
_SKEW_HARMLESS_S = 60
_DAY_S = 86_400


def check_backend(settings: Settings, words: Words) -> Finding:
    """Reachable, and of a contract that we speak; the token is used for it."""
    title, health = "XieHe", asyncio.run(_health(settings))
    where = settings.backend_url
    if health.ready:
        detail = words(f"{where} 可用，接口版本 {health.contract}", f"{where} is usable, contract {health.contract}")
        return Finding("backend", title, CheckResult.GO, detail)
    cure = (
        words("请检查 BACKEND_URL、网络和防火墙", "Check BACKEND_URL, network and firewall")
        if not health.reachable
        else ""
    )
    return Finding("backend", title, CheckResult.NO_GO, f"{where}: {health.detail}", cure)


async def _health(settings: Settings) -> BackendHealth:
    options = replace(
        client_options(settings, NullTelemetry()),
        connect_timeout_s=_CONNECT_WITHIN_S,
        read_timeout_s=min(_ANSWER_WITHIN_S, settings.backend_timeout_seconds),
    )
    async with XieHeClient.open(options) as client:
        return await client.check()


def check_token(settings: Settings, words: Words, now_s: float | None = None) -> Finding:
    """What there is to log in with, and how long the token holds; whether XieHe takes it, the backend check says."""
    title, credentials = words("令牌", "token"), credentials_of(settings)
    account = words("；失效后用账号自动登录", "; the account logs in afterwards") if credentials.can_log_in else ""
    if credentials.api_token is None:
        if credentials.can_log_in:
            return Finding("token", title, CheckResult.GO, words("没有令牌，用账号登录", "none; the account logs in"))
        cure = words("请设置 API_TOKEN，或 BACKEND_USERNAME 与 BACKEND_PASSWORD", "Set API_TOKEN, or the account")
        return Finding(
            "token", title, CheckResult.NO_GO, words("既没有令牌也没有账号", "neither token nor account"), cure
        )
    expiry = token_expiry(credentials.api_token)
    if expiry is None:
        return Finding("token", title, CheckResult.GO, words("已设置，看不出有效期", "set; tells no expiry") + account)
    days = (expiry - (time.time() if now_s is None else now_s)) / _DAY_S
    cure = words("请更换 API_TOKEN", "Replace API_TOKEN")
    if days <= 0:
        verdict = CheckResult.WARNING if credentials.can_log_in else CheckResult.NO_GO
        return Finding("token", title, verdict, words("已过期", "expired") + account, cure)
    detail = words(f"还有 {days:.1f} 天过期", f"expires in {days:.1f} days") + account
    worrying = days < _TOKEN_DAYS_ENOUGH and not credentials.can_log_in
    return Finding(
        "token", title, CheckResult.WARNING if worrying else CheckResult.GO, detail, cure if worrying else ""
    )


def check_clock(settings: Settings, words: Words) -> Finding | None:
    """This machine's clock against XieHe's ``Date``; None where XieHe does not tell."""
    try:
        answer = httpx.head(settings.backend_url, trust_env=False, timeout=_CONNECT_WITHIN_S)
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    skew_s = round(time.time() - theirs)
    title = words("时钟", "clock")
    detail = words(f"与 XieHe 相差 {abs(skew_s)} 秒", f"{abs(skew_s)} s apart from XieHe's")
    if abs(skew_s) <= _SKEW_HARMLESS_S:
        return Finding("clock", title, CheckResult.GO, detail)
    cure = words(
        "请为两台机器启用时间同步（NTP），否则令牌可能被误判过期", "Let NTP set both clocks, or tokens may be refused"
    )
    return Finding("clock", title, CheckResult.WARNING, detail, cure)
