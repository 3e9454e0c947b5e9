"""Runs all tasks, each in an asyncio task of its own."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime

from config import Settings
from errors import HistoryError, HostError, ImportServiceError
from importing.dry_run.simulation import drop_plan, planning_tools
from importing.months.month_tracking import MonthWalk
from importing.runs.run_context import ImportTools, RunContext
from importing.runs.source_steps import FilesToRetry, resolve_present
from importing.runs.task_result import judge
from importing.runs.task_run import TaskRun
from importing.settings_mapping import render_options, tree_rules
from importing.threads import for_walk
from importing.uploads.reconciliation import OrphanedUploadRecovery, confirm_uploads, reconcile_task
from models import TaskRecord
from source import ResolvedSource, has_month_folder
from tasks import LiveTask, TaskRegistry, TaskStopped

_log = logging.getLogger(__name__)

ENDED_KEPT_LIVE = 100
"""Ended tasks that stay in memory; the history answers for older ones."""
STOP_WITHIN_S = 5.0
"""Time for files in progress when the service stops; the next start reconciles the rest."""
CANCEL_WITHIN_S = 10.0
"""The same for a cancelled task."""
_ENDED = "task=%s ended status=%s result=%s scanned=%d uploaded=%d duplicate=%d failed=%d"
_CANCELLED = {False: "已取消；已上传的影像保留在 XieHe 中", True: "试运行已取消；没有写入 XieHe"}


class TaskRunners:
    """Starts and ends runs, and records how they ended."""

    def __init__(
        self, settings: Settings, tools: ImportTools, registry: TaskRegistry, orphaned_uploads: OrphanedUploadRecovery
    ) -> None:
        self._orphaned_uploads = orphaned_uploads
        self._settings = settings
        self._tools = tools
        self._registry = registry
        self._history = tools.history
        self._rules = tree_rules(settings)
        self._months = MonthWalk(tools.history, self._rules)
        self._running: dict[str, asyncio.Task[None]] = {}

    def is_running(self, task_id: str) -> bool:
        """Whether the task has a run, perhaps a paused one."""
        return task_id in self._running

    def launch(self, task: LiveTask, source: ResolvedSource | None) -> None:
        """Starts a run, or (``source`` None) continues one: it resolves the source, and waits for it if it is gone."""
        runner = asyncio.create_task(self._run(task, source), name=task.task_id)
        self._running[task.task_id] = runner
        runner.add_done_callback(lambda _: self._running.pop(task.task_id, None))

    def cancel_soon(self, task: LiveTask) -> None:
        """Ends the run of a cancelled task; files in progress have :data:`CANCEL_WITHIN_S`."""
        runner = self._running.get(task.task_id)
        if runner is None:
            task.settle()
            self._note_end(task)
        else:
            asyncio.get_running_loop().call_later(CANCEL_WITHIN_S, runner.cancel)

    async def stop(self) -> None:
        """Gives files in progress :data:`STOP_WITHIN_S` to end, and leaves the rest to the next start."""
        runners = list(self._running.values())
        if runners:
            await asyncio.wait(runners, timeout=STOP_WITHIN_S)
        for runner in list(self._running.values()):
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    async def save(self, record: TaskRecord) -> bool:
        """Saves the record. False if the history cannot be written; the next change or start repeats it."""
        try:
            await self._history.save_task(record)
        except (HistoryError, HostError) as error:
            _log.error("state of %s not written: %s", record.task_id, error.code)
            return False
        return True

    async def _run(self, task: LiveTask, source: ResolvedSource | None) -> None:
        """The top of a task: however it ends, the task and the history show it."""
        try:
            await self._work(task, source)
        except (TaskStopped, asyncio.CancelledError):
            task.settle(detail=_CANCELLED[task.record.options.dry_run])
        except Exception as error:  # noqa: BLE001 - the top of a task: a defect ends this task alone
            _log.error("task %s failed: %s", task.task_id, _where(error))
            task.fail(_detail_of(error))
        self._note_end(task)
        await asyncio.shield(self.save(task.record))
        await asyncio.shield(self._drop_plan(task))
        self._forget_old()

    def _note_end(self, task: LiveTask) -> None:
        """Not for a task that the service interrupts: the next start continues it."""
        if task.at_rest:
            _log.info(_ENDED, *_end_values(task))
            self._tools.telemetry.task_ended(task.record)

    async def _drop_plan(self, task: LiveTask) -> None:
        if not (task.record.options.dry_run and task.status.ended):
            return
        try:
            await drop_plan(self._history, task.task_id)
        except (HistoryError, HostError) as error:
            _log.error("plan of %s not dropped before the next start: %s", task.task_id, error.code)

    async def _work(self, task: LiveTask, source: ResolvedSource | None) -> None:
        context = self._context_of(task)
        await task.gate()
        if source is None:
            path = task.record.source_path
            source = await context.retry_after_pause(lambda: for_walk(resolve_present, path, self._rules))
        run = TaskRun(context, source, self._rules, self._files_at_once())
        await task.gate()
        task.start()
        await context.retry_after_pause(lambda: self._history.save_task(task.record))
        if not task.record.options.dry_run:
            await context.retry_after_pause(self._orphaned_uploads.reconcile)
        await reconcile_task(context)
        await self._months.begin(context, source)
        await self._go(task, run)
        await confirm_uploads(context)
        await self._complete(context, run.source)

    async def _go(self, task: LiveTask, run: TaskRun) -> None:
        if task.record.parent_id is None:
            await run.run()
            return
        files = FilesToRetry(self._history, task.record, self._rules)
        task.expect(await files.count(), final=True)
        await run.run(files.events(run.source))

    async def _complete(self, context: RunContext, source: ResolvedSource) -> None:
        task = context.task
        fits = task.record.parent_id is not None or await context.retry_after_pause(
            lambda: for_walk(has_month_folder, source, self._rules)
        )
        await self._months.finish(context, source)
        example = datetime.now(UTC).strftime(self._rules.month_folder_format)
        run_result = judge(task.record, task.counts, anything_fits=fits, month_example=example)
        await task.gate()
        task.add_warnings(run_result.warnings)
        task.complete(run_result.result, run_result.detail)

    def _context_of(self, task: LiveTask) -> RunContext:
        options, tools = task.record.options, self._tools
        chosen = planning_tools(tools, task.task_id) if options.dry_run else tools
        return RunContext(task, options, render_options(self._settings, options), chosen)

    def _files_at_once(self) -> int:
        workers = max(self._settings.max_workers, self._tools.renderer.check().workers)
        return 2 * (workers + self._settings.upload_concurrency)

    def _forget_old(self) -> None:
        ended = [task for task in self._registry.live() if task.at_rest]
        for task in ended[: max(0, len(ended) - ENDED_KEPT_LIVE)]:
            self._registry.discard(task.task_id)


def _end_values(task: LiveTask) -> tuple[object, ...]:
    counts, result = task.counts, task.record.result or "-"
    sums = (counts.new_images_uploaded, counts.duplicate_images_skipped, counts.failed_files)
    return task.task_id, task.status.value, result, counts.total_files_scanned, *sums


def _detail_of(error: Exception) -> str:
    if isinstance(error, ImportServiceError):
        return error.detail
    return f"本服务自身的缺陷使任务无法继续（{type(error).__name__}），请把日志和任务编号交给开发者"


def _where(error: BaseException) -> str:
    """Kind and place of a defect, without its message, which may hold a patient's data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {place}"
