"""The coordinator: opens what imports need, starts and controls them, and answers questions about them."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

from api_client import XieHeClient
from config import Settings, load_settings
from errors import ConfigurationError, DryRunTaskError, NothingToRetryError, SourceNotFoundError
from history import FileFilter, FilePage, History, IgnoredRow, ReportLine, ReportRow, TaskBreakdown
from importing.background.housekeeping import Housekeeping
from importing.background.pause_monitor import PauseMonitor
from importing.background.scheduler import ScheduledImports, schedule_of
from importing.background.supervisor import Job, JobState, Supervisor
from importing.background.webhook_notifier import WebhookNotifier
from importing.dry_run.plan import DryRunPlan, Estimator
from importing.gauges import gauges_of
from importing.images.image_service import ImageRequest, ImageService, OpenedImage
from importing.months.month_overview import MonthOverview, MonthStatus
from importing.patients.instance_registry import InstanceRegistry
from importing.patients.patient_cache import PatientCache
from importing.readiness import Readiness, check_readiness
from importing.runs.run_context import ImportTools
from importing.runs.source_steps import count_to_retry
from importing.runs.task_runner import TaskRunners
from importing.runs.task_views import TaskArchive, TaskView, view_of
from importing.settings_mapping import (
    MEGABYTE,
    check_exam_rules,
    client_options,
    credentials_of,
    default_options,
    partial_dir,
    renderer_of,
    tree_rules,
    webhook_options,
)
from importing.source_folders import list_folders
from importing.telemetry import Gauges, NullTelemetry, Telemetry, ran_to_its_end
from importing.threads import ANSWER_WITHIN_S, SourceLooks
from importing.uploads.outage_breaker import OutageBreaker
from importing.uploads.reconciliation import OrphanedUploadRecovery
from importing.verification.verifier import Verifications
from models import ImportOptions, PauseReason, TaskRecord
from render import RenderExecutor
from source import FolderListing, ResolvedSource, overlaps, resolve_source
from tasks import LiveTask, Operation, Subscription, TaskRegistry, check_operation
from webhook import Webhook

__all__ = [
    "DryRunPlan",
    "FileFilter",
    "FilePage",
    "FolderListing",
    "IgnoredRow",
    "ImageRequest",
    "ImportService",
    "JobState",
    "MonthStatus",
    "OpenedImage",
    "Readiness",
    "ReportLine",
    "ReportRow",
    "Subscription",
    "TaskArchive",
    "TaskBreakdown",
    "TaskRegistry",
    "TaskView",
    "open_import_service",
]

_log = logging.getLogger(__name__)

_NEWEST_TASKS = 500
DISKS_AWAKE_WITHIN_S = 300.0
"""A scheduled import waits for a share whose disks have to start."""


class ImportService:
    """One per process; made by :func:`open_import_service`.

    Attributes:
        archive: live and recorded tasks, and their reports.
        registry: the live tasks.
        supervisor: the background jobs.
        verifications: checks of XieHe against what tasks uploaded.
    """

    def __init__(self, settings: Settings, tools: ImportTools, registry: TaskRegistry, supervisor: Supervisor) -> None:
        self._settings = settings
        self.registry = registry
        self.supervisor = supervisor
        self.archive = TaskArchive(tools.history, registry)
        self.verifications = Verifications(tools)
        self._tools = tools
        self._history = tools.history
        self._rules = tree_rules(settings)
        self._months = MonthOverview(tools, registry, self._rules)
        self._images = ImageService(settings, tools)
        self._estimator = Estimator(self.archive, tools.client, settings.uploads_per_second)
        self._orphaned_uploads = OrphanedUploadRecovery(tools)
        self._runners = TaskRunners(settings, tools, registry, self._orphaned_uploads)
        self._housekeeping = Housekeeping(settings, tools, registry, self._runners)
        self._pause_monitor = PauseMonitor(settings, tools, registry, self._refresh_credentials)
        patient_start = partial(self.start, source_within_s=DISKS_AWAKE_WITHIN_S)
        self._scheduled = ScheduledImports.of(settings, patient_start, tools.telemetry)

    @property
    def default_options(self) -> ImportOptions:
        """What an import does if its request says nothing else."""
        return default_options(self._settings)

    async def plan(self, view: TaskView) -> DryRunPlan | None:
        """What an import would do, as a dry run found it; None for an import."""
        return await self._estimator.plan(view)

    @property
    def next_scheduled_import(self) -> datetime | None:
        """When IMPORT_SCHEDULE starts one; None if it is not set."""
        return None if self._scheduled is None else self._scheduled.next_run

    def gauges(self) -> Gauges:
        """Current values for the metrics."""
        return gauges_of(self._tools, self.registry, self.supervisor, self.next_scheduled_import)

    async def last_success(self) -> datetime | None:
        """When one of the newest imports last ran to its end. Raises HistoryError."""
        _, records = await self._history.list_tasks(0, _NEWEST_TASKS)
        return max((each.completed_at for each in records if ran_to_its_end(each) and each.completed_at), default=None)

    async def months(self, root: str | None) -> list[MonthStatus]:
        """The months of one root or of all, and how far each is imported.

        Raises:
            SourceNotAllowedError, SourceNotFoundError, SourceUnavailableError: the root is not allowed, no path, or
                cannot be read.
            HistoryError: the history cannot be read.
        """
        return await self._months.months(root)

    async def readiness(self) -> Readiness:
        """Whether an import could work now."""
        return await check_readiness(self._tools, self._rules.allowed_roots, tuple(self.supervisor.jobs()))

    async def folders(self, path: str | None) -> FolderListing:
        """The folders in ``path``; None lists the allowed roots.

        Raises:
            SourceNotFoundError, SourceNotAllowedError, SourceUnavailableError: the folder cannot be listed.
        """
        return await list_folders(self._tools.looks, path, self._rules)

    async def files_page(self, task_id: str, wanted: FileFilter, after: int, limit: int) -> FilePage:
        """Files of a task behind row ``after``. Raises TaskNotFoundError, HistoryError."""
        return await self._history.files_page(task_id, wanted, after, limit)

    async def file(self, task_id: str, number: int) -> ReportRow:
        """One file of a task. Raises TaskNotFoundError, FileRowNotFoundError, HistoryError."""
        return (await self._history.recorded_file(task_id, number)).row

    def image(self, request: ImageRequest) -> AbstractAsyncContextManager[OpenedImage]:
        """The image of a file, open while the context lasts. Raises as :meth:`ImageService.open`."""
        return self._images.open(request)

    async def view(self, task_id: str) -> TaskView:
        """A task as it is now. Raises TaskNotFoundError."""
        return await self.archive.view(task_id)

    # --- starting --------------------------------------------------------------------------------------------------

    async def start(
        self, source_path: str | None, options: ImportOptions, source_within_s: float = ANSWER_WITHIN_S
    ) -> TaskView:
        """Starts an import.

        Raises:
            SourceNotFoundError, SourceNotAllowedError, SourceUnavailableError: the source cannot be imported.
            TaskOverlapError: another task imports it.
            ServiceStoppingError: the service is shutting down.
            HistoryError: the task cannot be recorded.
        """
        path = source_path if source_path is not None else self._only_root()
        source = await self._tools.looks.look(resolve_source, path, self._rules, within_s=source_within_s)
        task = self.registry.create(source.path, source.real_path, options)
        return await self._begin(task, source)

    async def retry(self, task_id: str, options: ImportOptions) -> TaskView:
        """Starts a child task for the failed files of an ended task.

        Raises:
            TaskNotFoundError, TaskTransitionError: there is no such task, or it has not ended.
            DryRunTaskError, NothingToRetryError: it was a dry run, or no file failed with that code.
            TaskOverlapError: another task imports its source, perhaps an earlier retry.
        """
        parent = (await self.view(task_id)).record
        check_operation(task_id, parent.status, Operation.RETRY)
        if parent.options.dry_run:
            raise DryRunTaskError(f"任务 {task_id} 是试运行，没有可重试的；请正式导入该目录。")
        if not await count_to_retry(self._history, task_id, options.retry_code):
            what = f"原因为 {options.retry_code} 的失败文件" if options.retry_code else "可重试的失败文件"
            raise NothingToRetryError(f"任务 {task_id} 没有{what}；各原因的文件数见 /import/{task_id}/stats。")
        source = await self._tools.looks.look(resolve_source, parent.source_path, self._rules)
        task = self.registry.create(source.path, source.real_path, options, parent_id=task_id)
        view = await self._begin(task, source)
        await self._mark_retried(parent, task.task_id)
        return view

    def _only_root(self) -> str:
        roots = self._settings.dicom_source_path
        if len(roots) != 1:
            what = "没有设置 DICOM_SOURCE_PATH" if not roots else "DICOM_SOURCE_PATH 中有多个根目录"
            raise SourceNotFoundError(f"请在请求中给出 source_path：{what}")
        return roots[0]

    async def _begin(self, task: LiveTask, source: ResolvedSource) -> TaskView:
        self._pause_monitor.enforce_active_hours(task)
        with ExitStack() as undo:
            undo.callback(self._forget, task)
            await self._history.add_task(task.record)
            undo.pop_all()
        view = view_of(task)
        dry_run, parent_id = task.record.options.dry_run, task.record.parent_id
        _log.info("task=%s accepted dry_run=%s parent=%s", task.task_id, dry_run, parent_id or "-")
        self._runners.launch(task, source)
        return view

    def _forget(self, task: LiveTask) -> None:
        task.cancel()
        task.settle()
        self.registry.discard(task.task_id)

    async def _mark_retried(self, parent: TaskRecord, child_id: str) -> None:
        if (task := self.registry.find(parent.task_id)) is not None:
            task.set_retried_by(child_id)
            parent = task.record
        await self._history.save_task(replace(parent, retried_by=child_id))

    # --- operations ------------------------------------------------------------------------------------------------

    async def pause(self, task_id: str) -> TaskView:
        """Starts no further file. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._live_task(task_id, Operation.PAUSE)
        task.pause()
        self._tools.telemetry.paused(PauseReason.USER)
        return await self._saved(task)

    async def resume(self, task_id: str) -> TaskView:
        """Continues, with the token that ``.env`` holds now. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._live_task(task_id, Operation.RESUME)
        self._refresh_credentials()
        task.resume()
        self._tools.outage_breaker.probe_now()
        self._pause_monitor.enforce_active_hours(task)
        if not self._runners.is_running(task_id):
            self._runners.launch(task, None)
        return await self._saved(task)

    async def cancel(self, task_id: str) -> TaskView:
        """Ends it for good. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._live_task(task_id, Operation.CANCEL)
        task.cancel()
        self._runners.cancel_soon(task)
        return await self._saved(task)

    async def _live_task(self, task_id: str, operation: Operation) -> LiveTask:
        """The live task. Raises TaskNotFoundError; TaskTransitionError if it has ended long ago."""
        if (task := self.registry.find(task_id)) is not None:
            return task
        record = await self._history.get_task(task_id)
        check_operation(task_id, record.status, operation)
        return self.registry.get(task_id)

    async def _saved(self, task: LiveTask) -> TaskView:
        await self._history.save_task(task.record)
        return view_of(task)

    def _refresh_credentials(self) -> None:
        """Uses a token that has changed in ``.env``; a broken file changes nothing."""
        try:
            self._tools.client.update_credentials(credentials_of(load_settings()))
        except (ConfigurationError, OSError, UnicodeError) as error:
            _log.warning("settings could not be read again: %s", type(error).__name__)

    # --- start and stop -------------------------------------------------------------------------------------------

    async def restore_tasks(self) -> None:
        """Restores the unfinished tasks of an earlier process; most resume automatically."""
        await self._housekeeping.restore_tasks(self._pause_monitor)
        if any(not task.status.ended for task in self.registry.live()):
            self._tools.outage_breaker.start_half_open()

    @asynccontextmanager
    async def run_background_tasks(self) -> AsyncIterator[None]:
        """Runs all background work until the context ends."""
        jobs: dict[str, Job] = {}
        async with AsyncExitStack() as stack:
            if (options := webhook_options(self._settings)) is not None:
                webhook = await stack.enter_async_context(Webhook.open(options))
                notifier = WebhookNotifier(self.registry, self.archive, webhook, self._tools.telemetry)
                jobs["webhook"] = notifier.run
            jobs |= {
                "pause_watch": self._pause_monitor.run,
                "record_changes": self._housekeeping.write_changes,
                "record_active_time": self._housekeeping.write_active_time,
                "prune_history": self._housekeeping.prune,
                "check_history": self._housekeeping.check_history,
                "upload_recovery": self._orphaned_uploads.run,
            }
            if self._scheduled is not None:
                jobs["schedule"] = self._scheduled.run
            for name, job in jobs.items():
                await stack.enter_async_context(self.supervisor.background_task(name, job))
            yield

    async def stop(self) -> None:
        """Gives files in progress some seconds to end, and leaves the rest to the next start."""
        self.registry.stop()
        await self._images.aclose()
        await self.verifications.stop()
        await self._runners.stop()


@asynccontextmanager
async def open_import_service(
    settings: Settings,
    telemetry: Telemetry = NullTelemetry(),  # noqa: B008 - it holds nothing
) -> AsyncIterator[ImportService]:
    """Opens history, client and renderer, restores unfinished tasks, and closes all at the end.

    Raises:
        ConfigurationError, HistoryError: the service cannot start.
    """
    check_exam_rules(settings.exam_rules_file)
    schedule_of(settings)
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(History.open(settings.data_dir))
        _prepare_folders(settings)  # DATA_DIR is locked by now, so no other process works there
        client = await stack.enter_async_context(XieHeClient.open(client_options(settings, telemetry)))
        renderer = await stack.enter_async_context(renderer_of(settings))
        tools = _tools(settings, history, client, renderer, telemetry)
        service = ImportService(settings, tools, TaskRegistry(overlaps), Supervisor())
        try:  # a signal may cancel the start, too
            await service.restore_tasks()
            await stack.enter_async_context(service.run_background_tasks())
            yield service
        finally:
            await service.stop()


def _tools(
    settings: Settings, history: History, client: XieHeClient, renderer: RenderExecutor, telemetry: Telemetry
) -> ImportTools:
    return ImportTools(
        history=history,
        client=client,
        renderer=renderer,
        patient_cache=PatientCache(),
        instances=InstanceRegistry(history, client, settings.backend_url),
        backend_url=settings.backend_url,
        output_dir=settings.output_dir,
        partial_dir=partial_dir(settings),
        keep_jpg=settings.keep_jpg,
        max_file_bytes=settings.max_file_mb * MEGABYTE,
        exam_rules_path=settings.exam_rules_file,
        image_extensions=settings.image_extensions,
        sources=tree_rules(settings).area(),
        skip_for_processing=settings.skip_for_processing,
        telemetry=telemetry,
        outage_breaker=OutageBreaker(settings.backend_probe_seconds),
        looks=SourceLooks(settings.dicom_source_path),
    )


def _prepare_folders(settings: Settings) -> None:
    """Creates OUTPUT_DIR, private to this account, and removes partial files of an earlier process.

    Raises:
        ConfigurationError: it cannot be created or written.
    """
    partial = partial_dir(settings)
    try:
        os.makedirs(settings.output_dir, mode=0o700, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"无法写入 OUTPUT_DIR：{settings.output_dir}（{error.strerror}）") from error
