"""The commands: names, arguments and help. Longer ones do their work in the modules beside."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.command_context import CommandContext, command
from cli.commands.doctor_command import examine
from cli.commands.exit_codes import ExitCode
from cli.commands.import_command import ImportRequest, RetryRequest, run_import, run_retry, watch_to_the_end
from cli.commands.report_command import ReportRequest, write_report
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
PathArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PATH", help="根目录、月份目录或患者目录；省略时取 DICOM_SOURCE_PATH · the folder", show_default=False
    ),
]


@command(app, "import")
def import_folder(
    context: CommandContext, request: ImportRequest, path: PathArgument = None, *, watch: WatchOption = True
) -> ExitCode:
    """导入一个目录 · import a folder.

    由正在运行的服务完成（python main.py 启动服务）。Ctrl-C 只是不再查看，任务继续 · done by the running service.
    """
    return run_import(context, path, request, watch=watch)


@command(app, "retry")
def retry(context: CommandContext, task: TaskArgument, request: RetryRequest, *, watch: WatchOption = True) -> ExitCode:
    """重试失败的文件 · try a task's failed files again."""
    return run_retry(context, task, request, watch=watch)


@command(app, "status")
def status(context: CommandContext, task: TaskArgument = LATEST, *, watch: WatchOption = False) -> ExitCode:
    """查看一个任务 · show a task. 不加 --watch 时退出码总是 0 · exit code 0 unless --watch."""
    with context.service() as service:
        task_id = full_task_id(service, task)
        if watch:
            return watch_to_the_end(context, service, task_id)
        now, stats = service.status(task_id), service.stats(task_id)
        context.screen.answer("status", now, lambda: draw_task(now, stats, context.words))
    return ExitCode.ALL_IN


@command(app, "tasks")
def tasks(
    context: CommandContext,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="最多几个 · at most")] = 20,
) -> ExitCode:
    """列出任务，最新在前 · list tasks, newest first."""
    with context.service() as service:
        answer = service.get("/import/tasks", limit=limit)
    context.screen.answer("tasks", answer, lambda: draw_tasks(answer, context.words))
    return ExitCode.ALL_IN


@command(app, "pause")
def pause(context: CommandContext, task: TaskArgument) -> ExitCode:
    """暂停 · begin no further file."""
    return _change(context, task, "pause")


@command(app, "resume")
def resume(context: CommandContext, task: TaskArgument) -> ExitCode:
    """继续 · continue."""
    return _change(context, task, "resume")


@command(app, "cancel")
def cancel(context: CommandContext, task: TaskArgument) -> ExitCode:
    """取消 · end it for good; what was uploaded stays."""
    return _change(context, task, "cancel")


@command(app, "report")
def report(context: CommandContext, request: ReportRequest, task: TaskArgument = LATEST) -> ExitCode:
    """逐个文件的结果 · each file's outcome, to standard output or a file."""
    return write_report(context, task, request)


@command(app, "verify")
def verify(context: CommandContext, task: TaskArgument = LATEST) -> ExitCode:
    """向 XieHe 核对每幅影像 · ask XieHe for each image again. 3: 有缺失或不一致 · some are missing or differ."""
    return verify_task(context, task)


@command(app, "months")
def months(context: CommandContext) -> ExitCode:
    """哪些月份已完成 · which months are done."""
    with context.service() as service:
        answer = service.get("/months")
    context.screen.answer("months", answer, lambda: draw_months(answer, context.words))
    return ExitCode.ALL_IN


@command(app, "doctor")
def doctor(context: CommandContext) -> ExitCode:
    """现在能导入吗？ · pre-flight check: settings, folders, disk, and what the running service says of XieHe."""
    return examine(context)


def _change(context: CommandContext, task: str, operation: str) -> ExitCode:
    with context.service() as service:
        answer = service.post(f"/import/{full_task_id(service, task)}/{operation}")
    context.screen.answer(operation, answer, lambda: f"{answer['task_id']}\n{answer['message']}")
    return ExitCode.ALL_IN
