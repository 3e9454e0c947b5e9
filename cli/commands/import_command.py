"""``import`` and ``retry``: start a task in the running service and follow it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode, exit_code_of_task
from cli.commands.follow import follow
from cli.display.task_tables import draw_task
from cli.service_client import Json, ServiceClient
from models import DemographicsMismatchPolicy, PatientMismatchPolicy

WindowCenterOption = Annotated[
    float | None, typer.Option("--window-center", help="窗位，须与窗宽同时给出 · window centre", show_default=False)
]
WindowWidthOption = Annotated[
    float | None, typer.Option("--window-width", help="窗宽，至少为 1 · window width", min=1, show_default=False)
]
PatientMismatchOption = Annotated[
    PatientMismatchPolicy | None,
    typer.Option(
        "--on-patient-mismatch",
        help="文件头与目录名的患者ID不同时 · where PatientID and folder differ",
        show_default=False,
    ),
]
DemographicsOption = Annotated[
    DemographicsMismatchPolicy | None,
    typer.Option(
        "--on-demographics-mismatch",
        help="出生日期、性别与 XieHe 不符时 · where birth date or sex contradict XieHe",
        show_default=False,
    ),
]
ReuploadOption = Annotated[
    bool, typer.Option("--reupload-removed", help="重新上传 XieHe 中已看不到的影像 · upload again what XieHe has lost")
]
RunNowOption = Annotated[bool, typer.Option("--run-now", help="不等 ACTIVE_HOURS · do not wait for the active hours")]


@dataclass(frozen=True, slots=True)
class Steering:
    """Options that import and retry share; None is left to the service."""

    window_center: float | None = None
    window_width: float | None = None
    on_patient_mismatch: PatientMismatchPolicy | None = None
    on_demographics_mismatch: DemographicsMismatchPolicy | None = None
    reupload_removed: bool = False
    run_now: bool = False

    def __post_init__(self) -> None:
        if (self.window_center is None) != (self.window_width is None):
            raise typer.BadParameter("--window-center 与 --window-width 必须同时给出", param_hint="--window-center")

    def body(self) -> Json:
        """As POST /import and retry take it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


def run_import(session: CommandContext, path: str | None, body: Json, *, watch: bool) -> ExitCode:
    """Starts an import. With ``watch``, follows it to its end."""
    with session.service() as service:
        order = body | _source(path, on_this_machine=service.target.on_this_machine)
        return start_and_watch(session, service, lambda: service.post("/import", order), watch=watch)


def start_and_watch(
    session: CommandContext, service: ServiceClient, start: Callable[[], Json], *, watch: bool
) -> ExitCode:
    """Starts a task. With ``watch``, follows it to its end; Ctrl-C leaves it to the service."""
    words = session.words
    started = start()
    task_id = started["task_id"]
    if not watch:
        session.screen.answer("started", started, lambda: f"{task_id}\n{started['message']}")
        return ExitCode.ALL_IN
    session.screen.notice("started", words(f"任务 {task_id}（服务 {service.target.url}）", f"task {task_id}"))
    return watch_to_the_end(session, service, task_id)


def watch_to_the_end(session: CommandContext, service: ServiceClient, task_id: str) -> ExitCode:
    """Follows a task, then shows its summary."""
    words = session.words
    try:
        status = follow(service, task_id, session.screen)
    except KeyboardInterrupt:
        session.screen.notice(
            "detached",
            words(
                f"不再查看，任务继续在服务中运行。再看：python -m cli status {task_id} --watch；"
                f"取消：python -m cli cancel {task_id}",
                f"Detached; the task continues in the service. Watch again: python -m cli status {task_id} --watch; "
                f"cancel: python -m cli cancel {task_id}",
            ),
        )
        return ExitCode.CANCELLED
    return _show_summary(session, service, status)


def _show_summary(session: CommandContext, service: ServiceClient, status: Json) -> ExitCode:
    stats = service.stats(status["task_id"])
    code = exit_code_of_task(status)
    sums = {name: stats and stats[name] for name in ("by_code", "by_month")}
    summary = {**status, **sums, "exit_code": int(code)}
    session.screen.answer("summary", summary, lambda: draw_task(status, stats, session.words))
    return code


def _source(path: str | None, *, on_this_machine: bool) -> Json:
    """The path as the service understands it: it may stand in another folder, or on another machine."""
    if path is None:
        return {}
    absolute = os.path.abspath(os.path.expanduser(path)) if on_this_machine else path
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError as error:
        raise typer.BadParameter("不是有效的 UTF-8 文本；请改为导入它的上级目录", param_hint="PATH") from error
    return {"source_path": absolute}
