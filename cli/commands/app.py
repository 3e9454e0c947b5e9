"""The commands' names, arguments and help; what they do stands in the modules beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.command_context import CommandContext, command
from cli.commands.doctor_command import examine
from cli.commands.exit_codes import ExitCode
from cli.commands.import_command import (
    DemographicsOption,
    PatientMismatchOption,
    ReuploadOption,
    RunNowOption,
    Steering,
    WindowCenterOption,
    WindowWidthOption,
    run_import,
    start_and_watch,
    watch_to_the_end,
)
from cli.commands.report_command import ExtraRows, ReportForm, ReportOrder, write_report
from cli.commands.task_lookup import LATEST, full_task_id
from cli.commands.verify_command import verify_task
from cli.display.list_tables import draw_months, draw_tasks
from cli.display.task_tables import draw_task

app = typer.Typer(
    name="cli",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "DICOM 批量导入 · batch import of DICOM files into XieHe\n\n"
        "退出码 exit codes: 0 全部导入 all in, 1 出错 error, 2 用法 usage, 3 有文件失败 some files failed, "
        "130 取消 cancelled"
    ),
)
TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="任务编号，可只写开头或结尾，latest 为最新 · id, or its beginning or end")
]
WatchOption = Annotated[bool, typer.Option("--watch/--no-watch", help="一直看到任务结束 · stay until it has ended")]
CodeFilter = Annotated[
    list[str] | None, typer.Option("--code", help="只要这些代码，可重复 · only these codes", show_default=False)
]


@command(app, "import")
def import_folder(  # noqa: PLR0913 - one option of the service each
    session: CommandContext,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="根目录、月份目录或患者目录；省略时取 DICOM_SOURCE_PATH · the folder",
            show_default=False,
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="试运行：不向 XieHe 写入 · write nothing to XieHe")
    ] = False,
    watch: WatchOption = True,
    description: Annotated[
        str | None, typer.Option("--description", help="任务说明 · a note", show_default=False)
    ] = None,
    window_center: WindowCenterOption = None,
    window_width: WindowWidthOption = None,
    on_patient_mismatch: PatientMismatchOption = None,
    on_demographics_mismatch: DemographicsOption = None,
    reupload_removed: ReuploadOption = False,
    run_now: RunNowOption = False,
) -> ExitCode:
    """导入一个目录 · import a folder.

    由正在运行的服务完成（python main.py 启动服务）。Ctrl-C 只是不再查看，任务继续 · done by the running service.
    """
    steering = Steering(
        window_center, window_width, on_patient_mismatch, on_demographics_mismatch, reupload_removed, run_now
    )
    body = (
        steering.body() | ({"description": description} if description else {}) | ({"dry_run": True} if dry_run else {})
    )
    return run_import(session, path, body, watch=watch)


@command(app, "retry")
def retry(  # noqa: PLR0913 - one option of the service each
    session: CommandContext,
    task: TaskArgument,
    *,
    code: Annotated[
        str | None, typer.Option("--code", help="只重试这一原因 · only this reason", show_default=False)
    ] = None,
    watch: WatchOption = True,
    window_center: WindowCenterOption = None,
    window_width: WindowWidthOption = None,
    on_patient_mismatch: PatientMismatchOption = None,
    on_demographics_mismatch: DemographicsOption = None,
    reupload_removed: ReuploadOption = False,
    run_now: RunNowOption = False,
) -> ExitCode:
    """重试失败的文件 · try a task's failed files again."""
    steering = Steering(
        window_center, window_width, on_patient_mismatch, on_demographics_mismatch, reupload_removed, run_now
    )
    body = steering.body() | ({"code": code} if code else {})
    with session.service() as service:
        path = f"/import/{full_task_id(service, task)}/retry"
        return start_and_watch(session, service, lambda: service.post(path, body), watch=watch)


@command(app, "status")
def status(session: CommandContext, task: TaskArgument = LATEST, *, watch: WatchOption = False) -> ExitCode:
    """查看一个任务 · show a task. 不加 --watch 时退出码总是 0 · exit code 0 unless --watch."""
    with session.service() as service:
        task_id = full_task_id(service, task)
        if watch:
            return watch_to_the_end(session, service, task_id)
        now, stats = service.status(task_id), service.stats(task_id)
        session.screen.answer("status", now, lambda: draw_task(now, stats, session.words))
    return ExitCode.ALL_IN


@command(app, "tasks")
def tasks(
    session: CommandContext,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="最多几个 · at most")] = 20,
) -> ExitCode:
    """列出任务，最新在前 · list tasks, newest first."""
    with session.service() as service:
        answer = service.get("/import/tasks", limit=limit)
    session.screen.answer("tasks", answer, lambda: draw_tasks(answer, session.words))
    return ExitCode.ALL_IN


@command(app, "pause")
def pause(session: CommandContext, task: TaskArgument) -> ExitCode:
    """暂停 · begin no further file."""
    return _steer(session, task, "pause")


@command(app, "resume")
def resume(session: CommandContext, task: TaskArgument) -> ExitCode:
    """继续 · go on."""
    return _steer(session, task, "resume")


@command(app, "cancel")
def cancel(session: CommandContext, task: TaskArgument) -> ExitCode:
    """取消 · end it for good; what was uploaded stays."""
    return _steer(session, task, "cancel")


@command(app, "report")
def report(  # noqa: PLR0913 - one option of the report each
    session: CommandContext,
    task: TaskArgument = LATEST,
    *,
    form: Annotated[ReportForm, typer.Option("--format", help="格式 · form")] = ReportForm.CSV,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="写入文件 · to a file", show_default=False)
    ] = None,
    include: Annotated[
        list[ExtraRows] | None,
        typer.Option(
            "--include",
            help="加上被忽略的文件或没有进入的文件夹，可重复 · ignored files or folders left out, too",
            show_default=False,
        ),
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", help="只要这些结果，可重复 · only these outcomes", show_default=False),
    ] = None,
    code: CodeFilter = None,
) -> ExitCode:
    """逐个文件的结果 · each file's outcome, to standard output or a file."""
    order = ReportOrder(form, output, tuple(include or ()), tuple(outcome or ()), tuple(code or ()))
    return write_report(session, task, order)


@command(app, "verify")
def verify(session: CommandContext, task: TaskArgument = LATEST) -> ExitCode:
    """向 XieHe 核对每幅影像 · ask XieHe for each image again. 3: 有缺失或不一致 · some are missing or differ."""
    return verify_task(session, task)


@command(app, "months")
def months(session: CommandContext) -> ExitCode:
    """哪些月份已完成 · which months are done."""
    with session.service() as service:
        answer = service.get("/months")
    session.screen.answer("months", answer, lambda: draw_months(answer, session.words))
    return ExitCode.ALL_IN


@command(app, "doctor")
def doctor(session: CommandContext) -> ExitCode:
    """现在能导入吗？ · go or no-go: settings, folders, disk, decoders, XieHe, token."""
    return examine(session)


def _steer(session: CommandContext, task: str, operation: str) -> ExitCode:
    with session.service() as service:
        answer = service.post(f"/import/{full_task_id(service, task)}/{operation}")
    session.screen.answer(operation, answer, lambda: f"{answer['task_id']}\n{answer['message']}")
    return ExitCode.ALL_IN
