"""``verify``: has XieHe really got what the task says?"""

from __future__ import annotations

import json
import time

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode, exit_code_of_verification
from cli.commands.report_command import ReportForm, complete
from cli.commands.task_lookup import full_task_id
from cli.display.list_tables import draw_verification
from cli.display.progress_view import verify_view
from cli.service_client import Json, ServiceClient
from errors import ServiceRefusedError

_LOOK_EVERY_S = 0.5


def verify_task(session: CommandContext, task: str) -> ExitCode:
    """Starts a verification, or joins the one that runs, and tells what it found."""
    with session.service() as service:
        path = f"/import/{full_task_id(service, task)}/verify"
        _begin(service, path)
        state = _follow(session, service, path)
        code = exit_code_of_verification(state)
        bad = _bad_rows(service, path) if code is ExitCode.INCOMPLETE else []
        answer = {**state, "rows": bad, "exit_code": int(code)}
        session.screen.answer("verification", answer, lambda: draw_verification(state, bad, session.words))
    return code


def _begin(service: ServiceClient, path: str) -> None:
    try:
        service.post(path)
    except ServiceRefusedError as error:
        if error.problem != "verify_running":
            raise


def _follow(session: CommandContext, service: ServiceClient, path: str) -> Json:
    with session.screen.watching(verify_view(session.words)) as show:
        while (state := service.get(path))["status"] == "running":
            show(state)
            time.sleep(_LOOK_EVERY_S)
    return state


def _bad_rows(service: ServiceClient, path: str) -> list[Json]:
    rows: list[Json] = []
    for result in ("missing", "differs"):
        with service.stream(f"{path}/report", {"format": "ndjson", "result": result}) as pieces:
            whole = b"".join(complete(pieces, ReportForm.NDJSON))
            rows += [json.loads(line) for line in whole.splitlines() if line.strip()]
    return rows
