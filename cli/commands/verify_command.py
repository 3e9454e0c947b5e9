"""``verify``: compares XieHe's images with what the task uploaded."""

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

_POLL_S = 0.5


def verify_task(context: CommandContext, task: str) -> ExitCode:
    """Starts a verification, or joins the running one, and shows what it found."""
    with context.service() as service:
        path = f"/import/{full_task_id(service, task)}/verify"
        try:
            service.post(path)
        except ServiceRefusedError as error:
            if error.problem != "verify_running":
                raise
        with context.screen.watching(verify_view(context.words)) as show:
            while (state := service.get(path))["status"] == "running":
                show(state)
                time.sleep(_POLL_S)
        code = exit_code_of_verification(state)
        bad = _bad_rows(service, path) if code is ExitCode.INCOMPLETE else []
    answer = {**state, "rows": bad, "exit_code": int(code)}
    context.screen.answer("verification", answer, lambda: draw_verification(state, bad, context.words))
    return code


def _bad_rows(service: ServiceClient, path: str) -> list[Json]:
    rows: list[Json] = []
    for result in ("missing", "differs"):
        with service.stream(f"{path}/report", {"format": "ndjson", "result": result}) as pieces:
            lines = b"".join(complete(pieces, ReportForm.NDJSON)).splitlines()
        rows += [json.loads(line) for line in lines if line.strip()]
    return rows
