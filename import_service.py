"""The coordinator: opens the rooms, runs tasks, lets operators steer them, answers what they ask."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from api_client import XieHeClient
from config import Settings, load_settings, parse_active_hours
from errors import (
    ConfigurationError,
    DiskFullError,
    HistoryError,
    ImportServiceError,
    SourceNotAllowedError,
    SourceNotFoundError,
)
from history import History
from importing.active_hours import ActiveHours
from importing.instance_ledger import InstanceLedger
from importing.intent_settling import settle_intents
from importing.patient_desk import DeskRoom
from importing.pause_watch import PauseWatch, WatchOptions
from importing.run_context import ImportTools, RunContext
from importing.service_settings import (
    check_exam_rules,
    client_options,
    credentials_of,
    partial_dir,
    pool_options,
    render_options,
    tree_rules,
)
from importing.task_run import TaskRun, resolve_present
from importing.task_verdict import judge
from importing.upload_confirmation import confirm_uploads
from models import (
    Counts,
    FileOutcome,
    IgnoredFile,
    IgnoredRow,
    ImportOptions,
    OutcomeKind,
    PauseReason,
    ReportRow,
    ScanEvent,
    TaskBreakdown,
    TaskRecord,
    TaskStatus,
)
from outcome_codes import NO_PIXEL_DATA
from render_pool import RenderExecutor, RenderPool
from source_tree import ResolvedSource, has_month_folder, overlaps, resolve_source, revisit
from task_registry import LiveTask, Operation, Progress, TaskRegistry, TaskStart, TaskStopped, check_operation

_log = logging.getLogger(__name__)

ENDED_KEPT_LIVE = 100
"""Ended tasks answered from memory; older ones are answered from the history."""
PRUNE_EVERY_S = 6 * 3600.0
STOP_WITHIN_S = 5.0
"""Files under way may end within this time when the service stops; what is later is settled at the next start."""
CANCEL_WITHIN_S = 10.0
"""The same for a cancelled task."""
RETRY_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as it stands now, alive or remembered."""

    record: TaskRecord
    counts: Counts
    failures: tuple[FileOutcome, ...]
    progress: Progress
    pause_detail: str | None = None
    seq: int = 0


class ImportService:
    """One per process; made by :func:`open_import_service`."""

    def __init__(self, settings: Settings, tools: ImportTools, registry: TaskRegistry) -> None:
        self._settings = settings
        self._tools = tools
        self._registry = registry
        self._history = tools.history
        self._rules = tree_rules(settings)
        self._runners: dict[str, asyncio.Task[None]] = {}
        hours = settings.active_hours and ActiveHours.of(parse_active_hours(settings.active_hours), settings.timezone)
        self._watch = PauseWatch(
            registry,
            tools.client,
            WatchOptions(
                settings.backend_probe_seconds,
                (settings.output_dir, settings.data_dir),
                self._rules,
                hours or None,
            ),
            self._refresh_credentials,
        )

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def tools(self) -> ImportTools:
        """The open rooms."""
        return self._tools

    @property
    def registry(self) -> TaskRegistry:
        """The live tasks."""
        return self._registry

    # --- starting --------------------------------------------------------------------------------------------------

    async def start(self, source_path: str | None, options: ImportOptions) -> TaskView:
        """Begins a new import.

        Raises:
            SourceNotFoundError, SourceNotAllowedError: the source cannot be imported.
            TaskOverlapError: it is being imported.
            ServiceStoppingError: the service is shutting down.
            HistoryError: the task cannot be written down.
        """
        path = source_path if source_path is not None else self._only_root()
        source = await asyncio.to_thread(resolve_source, path, self._rules)
        task = self._registry.create(source.path, source.real_path, options)
        return await self._begin(task, source)

    async def retry(self, task_id: str, options: ImportOptions) -> TaskView:
        """Begins a child task for the failed files of an ended one.

        Raises:
            TaskNotFoundError, TaskTransitionError: no such task, or it has not ended.
            TaskOverlapError: its source is being imported, perhaps by an earlier retry.
        """
        parent = (await self.view(task_id)).record
        check_operation(task_id, parent.status, Operation.RETRY)
        source = await asyncio.to_thread(resolve_source, parent.source_path, self._rules)
        task = self._registry.create(source.path, source.real_path, options, parent_id=task_id)
        view = await self._begin(task, source)
        await self._mark_retried(parent, task.task_id)
        return view

    async def options_of(self, task_id: str) -> ImportOptions:
        """What a task was asked to do. Raises TaskNotFoundError."""
        return (await self.view(task_id)).record.options

    def _only_root(self) -> str:
        roots = self._settings.dicom_source_path
        if len(roots) != 1:
            what = "没有设置 DICOM_SOURCE_PATH" if not roots else "DICOM_SOURCE_PATH 中有多个根目录"
            raise SourceNotFoundError(f"请在请求中给出 source_path：{what}")
        return roots[0]

    async def _begin(self, task: LiveTask, source: ResolvedSource) -> TaskView:
        self._watch.keep_hours(task)
        try:
            await self._history.add_task(task.record)
        except BaseException:
            task.cancel()
            task.settle()
            self._registry.discard(task.task_id)
            raise
        view = _view_of(task)
        self._launch(task, source)
        return view

    async def _mark_retried(self, parent: TaskRecord, child_id: str) -> None:
        for task in self._registry.live():
            if task.task_id == parent.task_id:
                task.set_retried_by(child_id)
                parent = task.record
        await self._history.save_task(replace(parent, retried_by=child_id))

    # --- steering --------------------------------------------------------------------------------------------------

    async def pause(self, task_id: str) -> TaskView:
        """Begin no further file. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.PAUSE)
        task.pause()
        return await self._steered(task)

    async def resume(self, task_id: str) -> TaskView:
        """Go on; with the token that ``.env`` holds now. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.RESUME)
        self._refresh_credentials()
        task.resume()
        self._watch.keep_hours(task)
        if task_id not in self._runners:
            self._launch(task, None)
        return await self._steered(task)

    async def cancel(self, task_id: str) -> TaskView:
        """End it for good. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.CANCEL)
        task.cancel()
        runner = self._runners.get(task_id)
        if runner is None:
            task.settle()
        else:
            asyncio.get_running_loop().call_later(CANCEL_WITHIN_S, runner.cancel)
        return await self._steered(task)

    async def _steerable(self, task_id: str, operation: Operation) -> LiveTask:
        """The live task; one that only the history knows has ended, and says what is legal then."""
        for task in self._registry.live():
            if task.task_id == task_id:
                return task
        record = await self._history.get_task(task_id)
        check_operation(task_id, record.status, operation)
        return self._registry.get(task_id)

    async def _steered(self, task: LiveTask) -> TaskView:
        await self._history.save_task(task.record)
        return _view_of(task)

    def _refresh_credentials(self) -> None:
        """Takes up a token that was changed in ``.env`` meanwhile; a broken file changes nothing."""
        try:
            self._tools.client.update_credentials(credentials_of(load_settings()))
        except (ConfigurationError, OSError, UnicodeError) as error:
            _log.warning("settings could not be read again: %s", type(error).__name__)

    # --- asking ----------------------------------------------------------------------------------------------------

    async def view(self, task_id: str) -> TaskView:
        """A task as it stands. Raises TaskNotFoundError."""
        for task in self._registry.live():
            if task.task_id == task_id:
                return _view_of(task)
        record = await self._history.get_task(task_id)
        counts = await self._history.counts(task_id)
        rows = await self._history.newest_failures(task_id)
        return _remembered(record, counts, tuple(row.outcome for row in rows))

    async def tasks(self, offset: int, limit: int) -> tuple[int, list[TaskView]]:
        """How many tasks there are, and a page of them, newest first, without their failures."""
        total, records = await self._history.list_tasks(offset, limit)
        live = {task.task_id: task for task in self._registry.live()}
        counts = await self._history.counts_of([record.task_id for record in records if record.task_id not in live])
        views = [
            _view_of(live[record.task_id])
            if record.task_id in live
            else _remembered(record, counts.get(record.task_id, Counts()), ())
            for record in records
        ]
        return total, views

    async def breakdown(self, task_id: str) -> TaskBreakdown:
        """By month, code and stage. Raises TaskNotFoundError."""
        await self.view(task_id)
        return await self._history.breakdown(task_id)

    async def report(self, task_id: str, page: int = 500) -> AsyncIterator[ReportRow]:
        """Every scanned file of a task, as far as it stands."""
        after = 0
        while rows := await self._history.report_rows(task_id, after, page):
            for row in rows:
                yield row
            after = rows[-1].number

    async def ignored(self, task_id: str, page: int = 500) -> AsyncIterator[IgnoredRow]:
        """Every ignored file of a task."""
        after = 0
        while rows := await self._history.ignored_rows(task_id, after, page):
            for row in rows:
                yield row
            after = rows[-1].number

    # --- running ---------------------------------------------------------------------------------------------------

    def _launch(self, task: LiveTask, source: ResolvedSource | None) -> None:
        runner = asyncio.create_task(self._run(task, source), name=task.task_id)
        self._runners[task.task_id] = runner
        runner.add_done_callback(lambda _: self._runners.pop(task.task_id, None))

    async def _run(self, task: LiveTask, source: ResolvedSource | None) -> None:
        """The top of a task: whatever happens, the task and the history say so."""
        try:
            await self._work(task, source)
        except (TaskStopped, asyncio.CancelledError):
            task.settle(detail="已取消；已上传的影像保留在 XieHe 中")
        except Exception as error:  # noqa: BLE001 - the top of a task: a defect ends this task alone
            _log.error("task %s failed: %s", task.task_id, _where(error))
            task.fail(_words_for(error))
        await asyncio.shield(self._write_down(task.record))
        self._forget_old()

    async def _write_down(self, record: TaskRecord) -> bool:
        """False where the history cannot take it now; the next change, or the next start, makes up for it."""
        try:
            await self._history.save_task(record)
        except (DiskFullError, HistoryError) as error:
            _log.error("state of %s not written: %s", record.task_id, error.code)
            return False
        return True

    async def _work(self, task: LiveTask, source: ResolvedSource | None) -> None:
        context = self._context_of(task)
        await task.gate()
        if source is None:
            path = task.record.source_path
            source = await context.steadily(lambda: asyncio.to_thread(resolve_present, path, self._rules))
        run = TaskRun(context, source, self._rules, self._files_at_once())
        await task.gate()
        task.start()
        await context.steadily(lambda: self._history.save_task(task.record))
        await settle_intents(context)
        if task.record.parent_id:
            task.expect(await self._count_to_retry(task.record.parent_id, task.record.options.retry_code), final=True)
        await run.run(self._files_to_retry(task, source) if task.record.parent_id else None)
        await confirm_uploads(context)
        await self._complete(task, run.source)

    async def _complete(self, task: LiveTask, source: ResolvedSource) -> None:
        fits = task.record.parent_id is not None or await asyncio.to_thread(has_month_folder, source, self._rules)
        example = datetime.now(UTC).strftime(self._rules.month_folder_format)
        verdict = judge(task.record, task.counts, anything_fits=fits, month_example=example)
        await task.gate()
        task.add_warnings(verdict.warnings)
        task.complete(verdict.result, verdict.detail)

    def _context_of(self, task: LiveTask) -> RunContext:
        options = task.record.options
        return RunContext(task, options, render_options(self._settings, options), self._tools)

    def _files_at_once(self) -> int:
        return 2 * (self._settings.max_workers + self._settings.upload_concurrency)

    async def _count_to_retry(self, parent_id: str, code: str | None) -> int:
        tallies = (await self._history.breakdown(parent_id)).tallies
        failed = [tally for tally in tallies if tally.kind is OutcomeKind.FAILED]
        return sum(t.files for t in failed if t.code == code or (code is None and t.code != NO_PIXEL_DATA))

    def _files_to_retry(self, task: LiveTask, source: ResolvedSource) -> Iterator[ScanEvent]:
        """The parent's failed files, page by page; runs in a thread of its own."""
        parent_id, code = task.record.parent_id or "", task.record.options.retry_code
        loop = asyncio.get_running_loop()

        def pages() -> Iterator[ScanEvent]:
            after = 0
            while True:
                page = asyncio.run_coroutine_threadsafe(
                    self._history.failed_sources(parent_id, code, after, RETRY_PAGE), loop
                ).result()
                if not page:
                    return
                yield from (self._revisited(failed.path, source) for failed in page)
                after = page[-1].number

        return pages()

    def _revisited(self, path: str, source: ResolvedSource) -> ScanEvent:
        try:
            return revisit(path, source, self._rules)
        except SourceNotAllowedError:
            return IgnoredFile(path, "symlink_outside_roots")

    def _forget_old(self) -> None:
        ended = [task for task in self._registry.live() if task.at_rest]
        for task in ended[: max(0, len(ended) - ENDED_KEPT_LIVE)]:
            self._registry.discard(task.task_id)

    # --- the service's own life ------------------------------------------------------------------------------------

    async def take_up(self) -> None:
        """Brings back the tasks that an earlier process left unfinished; most go on by themselves."""
        for record in await self._history.unfinished_tasks():
            await self._take_up(record)

    async def _take_up(self, record: TaskRecord) -> None:
        paused_by_user = record.status is TaskStatus.PAUSED and record.pause_reason is PauseReason.USER
        if not paused_by_user:
            record = replace(record, status=TaskStatus.INTERRUPTED, pause_reason=None)
        counts = await self._history.counts(record.task_id)
        failures = tuple(row.outcome for row in await self._history.newest_failures(record.task_id))
        real_path = await asyncio.to_thread(os.path.realpath, record.source_path)
        task = self._registry.restore(TaskStart(record, real_path, counts, failures))
        if self._settings.auto_resume and not paused_by_user:
            task.resume()
            self._watch.keep_hours(task)
        if self._settings.auto_resume or paused_by_user:
            self._launch(task, None)
        await self._history.save_task(task.record)

    async def keep_house(self) -> None:
        """Runs beside the tasks until cancelled: pauses, records of automatic changes, pruning."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run(), name="pause watch")
            group.create_task(self._write_changes(), name="record changes")
            group.create_task(self._prune(), name="prune history")

    async def _write_changes(self) -> None:
        """Writes down what changes by itself (pauses, warnings), once per change of the record."""
        written: dict[str, TaskRecord] = {}
        with self._registry.subscribe() as changes:
            async for change in changes:
                task = next((task for task in self._registry.live() if task.task_id == change.task_id), None)
                if task is None:
                    written.pop(change.task_id, None)
                elif written.get(change.task_id) is not task.record:
                    record = task.record
                    if await self._write_down(record):
                        written[change.task_id] = record

    async def _prune(self) -> None:
        while True:
            try:
                await self._history.prune(datetime.now(UTC) - timedelta(days=self._settings.history_days))
            except (DiskFullError, HistoryError) as error:
                _log.error("history not pruned: %s", error.code)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def stop(self) -> None:
        """Lets files under way end within seconds, and leaves the rest to the next start."""
        self._registry.stop()
        runners = list(self._runners.values())
        if runners:
            await asyncio.wait(runners, timeout=STOP_WITHIN_S)
        for runner in list(self._runners.values()):
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)


@asynccontextmanager
async def open_import_service(settings: Settings) -> AsyncIterator[ImportService]:
    """Opens every room, takes up unfinished tasks, and closes all in order at the end.

    Raises:
        ConfigurationError, HistoryError: the service cannot start.
    """
    check_exam_rules(settings.exam_rules_file)
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(History.open(settings.data_dir))
        _prepare_folders(settings)  # DATA_DIR is ours by now, so no other process is at work in there
        client = await stack.enter_async_context(XieHeClient.open(client_options(settings)))
        renderer: RenderExecutor = await stack.enter_async_context(RenderPool.open(pool_options(settings)))
        service = ImportService(settings, _tools(settings, history, client, renderer), TaskRegistry(overlaps))
        await service.take_up()
        house = asyncio.create_task(service.keep_house(), name="keep house")
        try:
            yield service
        finally:
            await service.stop()
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)


def _tools(settings: Settings, history: History, client: XieHeClient, renderer: RenderExecutor) -> ImportTools:
    return ImportTools(
        history=history,
        client=client,
        renderer=renderer,
        desks=DeskRoom(),
        instances=InstanceLedger(history, client, settings.backend_url),
        backend_url=settings.backend_url,
        output_dir=settings.output_dir,
        partial_dir=partial_dir(settings),
        keep_jpg=settings.keep_jpg,
        max_file_bytes=render_options(settings, ImportOptions()).max_file_bytes,
        exam_rules_path=settings.exam_rules_file,
    )


def _prepare_folders(settings: Settings) -> None:
    """Makes OUTPUT_DIR, private to this account, and clears what an earlier process left half done.

    Raises:
        ConfigurationError: it cannot be made or written.
    """
    partial = partial_dir(settings)
    try:
        os.makedirs(settings.output_dir, mode=0o700, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"无法写入 OUTPUT_DIR：{settings.output_dir}（{error.strerror}）") from error


def _view_of(task: LiveTask) -> TaskView:
    return TaskView(task.record, task.counts, task.failures, task.progress, task.pause_detail, task.seq)


def _remembered(record: TaskRecord, counts: Counts, failures: tuple[FileOutcome, ...]) -> TaskView:
    total = counts.total_files_scanned + counts.ignored_files
    percent = 100.0 if record.status is TaskStatus.COMPLETED else None
    return TaskView(record, counts, failures, Progress(percent, 0.0, None, total, True))


def _words_for(error: Exception) -> str:
    if isinstance(error, ImportServiceError):
        return error.detail
    return f"本服务自身的缺陷使任务无法继续（{type(error).__name__}），请把日志和任务编号交给开发者"


def _where(error: BaseException) -> str:
    """Kind and place of a defect; its message may hold anything, so it is left out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {place}"
