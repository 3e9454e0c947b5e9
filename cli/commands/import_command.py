"""``import`` and ``retry``: through the running service, or through one that is started for the purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from cli.commands.exit_codes import ExitCode, exit_code_of_task
from cli.commands.follow import follow
from cli.commands.session import CommandContext
from cli.commands.unfinished_task import is_what_is_ordered, words_for_another
from cli.display.task_tables import draw_task
from cli.display.translations import Words
from cli.service.child_service import own_service
from cli.service.client import Json, ServiceClient
from errors import OwnServiceError, ServiceRefusedError, ServiceUnreachableError
from history import data_dir_owner
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
    """Starts an import and, unless told otherwise, stays with it to its end."""
    with session.service() as service:
        if service.is_there():
            order = body | _source(path, on_this_machine=service.target.on_this_machine)
            return start_and_watch(session, service, lambda: service.post("/import", order), watch=watch)
    _require_free_data_dir(session)
    if not watch:
        raise typer.BadParameter(
            "没有服务在运行，只能由本命令自己完成导入，不能中途离开：请去掉 --no-watch，或先启动服务（python main.py）",
            param_hint="--no-watch",
        )
    return _import_by_own_service(session, body | _source(path, on_this_machine=True))


def start_and_watch(
    session: CommandContext, service: ServiceClient, start: Callable[[], Json], *, watch: bool
) -> ExitCode:
    """By a service that runs on without us: Ctrl-C leaves the task to it."""
    words = session.words
    started = start()
    task_id = started["task_id"]
    if not watch:
        session.screen.answer("started", started, lambda: f"{task_id}\n{started['message']}")
        return ExitCode.ALL_IN
    session.screen.notice("started", words(f"任务 {task_id}（服务 {service.target.url}）", f"task {task_id}"))
    return watch_to_the_end(session, service, task_id)


def watch_to_the_end(session: CommandContext, service: ServiceClient, task_id: str) -> ExitCode:
    """Follows a task of a service that is not ours to stop."""
    words = session.words
    try:
        status = follow(service, task_id, session.screen)
    except KeyboardInterrupt:
        session.screen.notice(
            "detached",
            words(
                f"不再查看，任务继续在服务中运行。再看：python -m cli status {task_id} --watch；"
                f"取消：python -m cli cancel {task_id}",
                f"Detached; the task goes on in the service. Watch again: python -m cli status {task_id} --watch; "
                f"cancel: python -m cli cancel {task_id}",
            ),
        )
        return ExitCode.CANCELLED
    return tell_end(session, service, status)


def tell_end(session: CommandContext, service: ServiceClient, status: Json, *, own: bool = False) -> ExitCode:
    """The final table, and what it means for a script; a service of our ``own`` is gone when a retry is typed."""
    stats = service.stats(status["task_id"])
    code = exit_code_of_task(status)
    sums = {name: stats and stats[name] for name in ("by_code", "by_month")}
    summary = {**status, **sums, "exit_code": int(code)}
    last = [_retry_words(session.words, status)] if own and code is ExitCode.INCOMPLETE else []
    session.screen.answer("summary", summary, lambda: Group(draw_task(status, stats, session.words), *last))
    return code


def _retry_words(words: Words, status: Json) -> Text:
    retry = f"python -m cli retry {status['task_id']}"
    return Text(
        words(
            f"要重试失败的文件，请先启动服务：python main.py（临时服务已关闭），再运行 {retry}",
            f"To retry failed files start the service first: python main.py (the temporary one is gone); then {retry}",
        ),
        style="yellow",
    )


def _import_by_own_service(session: CommandContext, body: Json) -> ExitCode:
    words, screen = session.words, session.screen
    screen.notice("own_service", words("没有服务在运行，先启动一个，导入结束后关闭…", "No service runs: starting one…"))
    with own_service() as own:
        screen.notice("own_service_ready", words(f"服务就绪，日志 {own.log}", f"service is ready, log {own.log}"))
        task_id = _begin_or_go_on(session, own.client, body)
        try:
            status = follow(own.client, task_id, screen, own.require_alive)
        except KeyboardInterrupt:
            text = words(
                "正在取消，处理中的文件会先完成；再按一次 Ctrl-C 立即停止…", "Cancelling; Ctrl-C again stops now…"
            )
            screen.notice("cancelling", text)
            _cancel(own.client, task_id)
            status = follow(own.client, task_id, screen, own.require_alive)
        except ServiceUnreachableError:
            own.require_alive()
            raise
        return tell_end(session, own.client, status, own=True)


def _begin_or_go_on(session: CommandContext, service: ServiceClient, body: Json) -> str:
    """Starts the task; or, where an earlier run of this very order was cut off, goes on with that one's.

    Raises:
        ServiceRefusedError: another unfinished task is in the way; it stays as it is.
    """
    words = session.words
    try:
        return str(service.post("/import", body)["task_id"])
    except ServiceRefusedError as error:
        if error.problem != "source_busy" or error.task_id is None:
            raise
        unfinished = error.task_id
        status = service.status(unfinished)
        if not is_what_is_ordered(status, body, session.settings):
            detail = words_for_another(status, session.settings, words)
            raise ServiceRefusedError(detail, error.problem, unfinished) from error
    session.screen.notice(
        "going_on",
        words(
            f"上次的同一导入（任务 {unfinished}）没有做完，接着做（--run-now 以当时的为准）",
            f"The same import was cut off before: going on with task {unfinished} (and with its --run-now)",
        ),
    )
    if status["status"] == "interrupted" or status["pause_reason"] == "user":
        service.post(f"/import/{unfinished}/resume")
    return unfinished


def _cancel(service: ServiceClient, task_id: str) -> None:
    try:
        service.post(f"/import/{task_id}/cancel")
    except ServiceRefusedError as error:
        if error.problem != "task_transition_illegal":  # it has ended meanwhile
            raise


def _require_free_data_dir(session: CommandContext) -> None:
    """Raises ServiceUnreachableError where we may not start a service, OwnServiceError where another owns DATA_DIR."""
    target = session.target
    if target.chosen:
        raise ServiceUnreachableError(
            f"{target.url} 没有应答。请确认该服务已启动；要由本命令自己完成导入，请去掉 --url（和 DICOM_IMPORT_URL）"
        )
    owner = data_dir_owner(session.settings.data_dir)
    if owner is not None:
        raise OwnServiceError(
            f"{target.url} 没有应答，但数据文件夹 {session.settings.data_dir} 正由另一个进程使用{owner}："
            "它可能在别的端口上（用 --url 给出它的地址），正在启动，或是另一个 import 命令"
        )


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
