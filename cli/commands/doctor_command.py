"""``doctor``: pre-flight check of settings, this machine and the service. Nothing is changed, nothing is locked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode
from cli.display.list_tables import draw_findings
from cli.doctor.findings import TITLES, CheckResult, Finding
from cli.doctor.machine_checks import check_machine
from cli.doctor.service_checks import check_service
from errors import ConfigurationError


def examine(context: CommandContext) -> ExitCode:
    """Shows all findings. ERROR if one of them keeps an import from working."""
    words, findings = context.words, list(_findings(context))
    go = all(finding.verdict is not CheckResult.NO_GO for finding in findings)
    code = ExitCode.ALL_IN if go else ExitCode.ERROR
    rows = [{**asdict(each), "title": words(*TITLES.get(each.name, (each.name, each.name)))} for each in findings]
    answer = {"go": go, "findings": rows, "exit_code": int(code)}
    context.screen.answer("doctor", answer, lambda: draw_findings(rows, go=go, words=words))
    return code


def _findings(context: CommandContext) -> Iterator[Finding]:
    """Stops after settings that cannot be read: all other checks depend on them."""
    words = context.words
    try:
        settings = context.settings
    except ConfigurationError as error:
        cure = words("请按 .env.example 更正 .env 或环境变量", "Correct .env or the environment; see .env.example")
        yield Finding("settings", CheckResult.NO_GO, error.detail, cure)
        return
    yield Finding("settings", CheckResult.GO, words("可以读取", "readable"))
    yield from check_machine(settings, words)
    with context.service() as service:
        yield from check_service(settings, service, words)
