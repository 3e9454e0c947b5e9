"""``import`` and ``retry``: start a task in the running service and follow it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode, exit_code_of_task
from cli.commands.follow import follow
from cli.commands.task_lookup import full_task_id
from cli.display.task_tables import draw_task
from cli.service_client import Json, ServiceClient
from models import DemographicsMismatchPolicy, PatientMismatchPolicy


@dataclass(frozen=True, slots=True)
class ImportOverrides:
    """Options of a new task. The service's settings fill in what is not given."""

    window_center: Annotated[
        float | None, typer.Option("--window-center", help="窗位，须与窗宽同时给出 · window centre", show_default=False)
    ] = None
    window_width: Annotated[
        float | None, typer.Option("--window-width", help="窗宽，至少为 1 · window width", min=1, show_default=False)
    ] = None
    on_patient_mismatch: Annotated[
        PatientMismatchPolicy | None,
        typer.Option(
            "--on-patient-mismatch",
            help="文件头与目录名的患者ID不同时 · if PatientID and folder differ",
            show_default=False,
        ),
    ] = None
    on_demographics_mismatch: Annotated[
        DemographicsMismatchPolicy | None,
        typer.Option(
            "--on-demographics-mismatch",
            help="出生日期、性别与 XieHe 不符时 · if birth date or sex contradict XieHe",
            show_default=False,
        ),
    ] = None
    reupload_removed: Annotated[
        bool,
        typer.Option("--reupload-removed", help="重新上传 XieHe 中已看不到的影像 · upload again what XieHe has lost"),
    ] = False
    run_now: Annotated[bool, typer.Option("--run-now", help="不等 ACTIVE_HOURS · do not wait for the active hours")] = (
        False
    )

    def __post_init__(self) -> None:
        if (self.window_center is None) != (self.window_width is None):
            raise typer.BadParameter("--window-center 与 --window-width 必须同时给出", param_hint="--window-center")

    def body(self) -> Json:
        """As POST /import and retry take it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "") and value is not False}


@dataclass(frozen=True, slots=True)
class ImportRequest(ImportOverrides):
    """Options of ``import``."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="试运行：不向 XieHe 写入 · write nothing to XieHe")] = False
    description: Annotated[str | None, typer.Option("--description", help="任务说明 · a note", show_default=False)] = (
        None
    )


@dataclass(frozen=True, slots=True)
class RetryRequest(ImportOverrides):
    """Options of ``retry``."""

    code: Annotated[
        str | None, typer.Option("--code", help="只重试这一原因 · only this reason", show_default=False)
    ] = None


def run_import(context: CommandContext, path: str | None, request: ImportRequest, *, watch: bool) -> ExitCode:
    """Starts an import. With ``watch``, follows it to its end."""
    with context.service() as service:
        body = request.body() | _source(path, on_this_machine=service.target.on_this_machine)
        return _start(context, service, "/import", body, watch=watch)


def run_retry(context: CommandContext, task: str, request: RetryRequest, *, watch: bool) -> ExitCode:
    """Starts a retry. With ``watch``, follows it to its end."""
    with context.service() as service:
        path = f"/import/{full_task_id(service, task)}/retry"
        return _start(context, service, path, request.body(), watch=watch)


def _start(context: CommandContext, service: ServiceClient, path: str, body: Json, *, watch: bool) -> ExitCode:
    started = service.post(path, body)
    task_id = started["task_id"]
    if not watch:
        context.screen.answer("started", started, lambda: f"{task_id}\n{started['message']}")
        return ExitCode.ALL_IN
    text = context.words(f"任务 {task_id}（服务 {service.target.url}）", f"task {task_id}")
    context.screen.notice("started", text)
    return watch_to_the_end(context, service, task_id)


def watch_to_the_end(context: CommandContext, service: ServiceClient, task_id: str) -> ExitCode:
    """Follows a task, then shows its summary. Ctrl-C leaves it to the service."""
    try:
        status = follow(service, task_id, context.screen)
    except KeyboardInterrupt:
        watch, cancel = f"python -m cli status {task_id} --watch", f"python -m cli cancel {task_id}"
        text = context.words(
            f"不再查看，任务继续在服务中运行。再看：{watch}；取消：{cancel}",
            f"Detached; the task continues in the service. Watch again: {watch}; cancel: {cancel}",
        )
        context.screen.notice("detached", text)
        return ExitCode.CANCELLED
    stats = service.stats(task_id)
    code = exit_code_of_task(status)
    sums = {name: stats and stats[name] for name in ("by_code", "by_month")}
    summary = {**status, **sums, "exit_code": int(code)}
    context.screen.answer("summary", summary, lambda: draw_task(status, stats, context.words))
    return code


def _source(path: str | None, *, on_this_machine: bool) -> Json:
    """The path as the service takes it. Of a service on another machine, it names a folder there."""
    if path is None:
        return {}
    absolute = os.path.abspath(os.path.expanduser(path)) if on_this_machine else path
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError as error:
        raise typer.BadParameter("不是有效的 UTF-8 文本；请改为导入它的上级目录", param_hint="PATH") from error
    return {"source_path": absolute}
