"""``doctor``: can an import work now? Each check with what to do; nothing is changed, nothing is locked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from cli.commands.exit_codes import ExitCode
from cli.commands.session import CommandContext
from cli.display.list_tables import draw_findings
from cli.doctor.backend_checks import check_backend, check_clock, check_token
from cli.doctor.env_file import check_env_file
from cli.doctor.findings import CheckResult, Finding
from cli.doctor.host_checks import (
    check_confinement,
    check_decoders_apart,
    check_folder,
    check_history,
    check_hours,
    check_rules_file,
    check_service,
    check_sources,
)
from config import Settings
from errors import ConfigurationError


def examine(session: CommandContext) -> ExitCode:
    """Go or no-go."""
    findings = [*_settings_findings(session), check_decoders_apart(session.words)]
    go = all(finding.verdict is not CheckResult.NO_GO for finding in findings)
    rows = [asdict(finding) for finding in findings]
    code = ExitCode.ALL_IN if go else ExitCode.ERROR
    session.screen.answer(
        "doctor",
        {"go": go, "findings": rows, "exit_code": int(code)},
        lambda: draw_findings(rows, go=go, words=session.words),
    )
    return code


def _settings_findings(session: CommandContext) -> Iterator[Finding]:
    """Without settings, nothing that depends on them can be said."""
    words, title = session.words, session.words("设置", "settings")
    try:
        settings = session.settings
    except ConfigurationError as error:
        cure = words("请按 .env.example 更正 .env 或环境变量", "Correct .env or the environment; see .env.example")
        yield Finding("settings", title, CheckResult.NO_GO, error.detail, cure)
        return
    yield Finding("settings", title, CheckResult.GO, words("可以读取", "readable"))
    yield check_env_file(words)
    yield from _host_findings(session, settings)
    yield check_backend(settings, words)
    yield check_token(settings, words)
    clock = check_clock(settings, words)
    if clock is not None:
        yield clock


def _host_findings(session: CommandContext, settings: Settings) -> Iterator[Finding]:
    words = session.words
    yield from check_sources(settings, words)
    yield check_folder("OUTPUT_DIR", settings.output_dir, words)
    yield check_folder("DATA_DIR", settings.data_dir, words)
    with session.service() as service:
        yield from check_service(settings, service, words)
        yield check_history(settings, service, words)
    yield check_confinement(settings, words)
    yield check_rules_file(settings, words)
    yield check_hours(settings, words)
