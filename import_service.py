"""The coordinator: opens the rooms, starts imports, lets operators steer them, answers what they ask."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

from api_client import XieHeClient
from config import Settings, load_settings, parse_active_hours
from errors import ConfigurationError, DryRunTaskError, NothingToRetryError, SourceNotFoundError
from history import FileFilter, FilePage, History, IgnoredRow, ReportLine, ReportRow, TaskBreakdown
from importing.background.active_hours import ActiveHours
from importing.background.background_tasks import schedule_of, scheduled_imports, telling_ends
from importing.background.housekeeping import Housekeeping
from importing.background.pause_monitor import PauseMonitor, WatchOptions
from importing.background.supervisor import Job, JobState, Supervisor
from importing.background.webhook_notifier import WebhookNotifier
from importing.dry_run.plan import DryRunPlan, Estimator
from importing.gauges import last_success, levels_of
from importing.images.image_service import ImageRequest, ImageService, OpenedPicture
from importing.months.month_overview import MonthOverview, MonthStatus
from importing.patients.instance_registry import InstanceRegistry
from importing.patients.patient_cache import PatientCache
from importing.readiness import Readiness, check_readiness
from importing.runs.retry_source import count_to_retry
from importing.runs.run_context import ImportTools
from importing.runs.task_runner import TaskRunners
from importing.runs.task_views import TaskArchive, TaskView, view_of
from importing.settings_mapping import (
    check_exam_rules,
    client_options,
    credentials_of,
    default_options,
    max_file_bytes,
    partial_dir,
    renderer_of,
    tree_rules,
)
from importing.source_folders import list_folders
from importing.telemetry import Gauges, NullTelemetry, Telemetry
from importing.threads import ANSWER_WITHIN_S, SourceLooks
from importing.uploads.outage_breaker import OutageBreaker
from importing.uploads.reconciliation import OrphanedUploadRecovery
from importing.verification.verifier import Verifications, VerifyTools
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
    "OpenedPicture",
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

DISKS_AWAKE_WITHIN_S = 300.0
"""A scheduled import does not give up on a share that has gone to sleep."""


class ImportService:
    """One per process; made by :func:`open_import_service`."""

    def __init__(self, settings: Settings, tools: ImportTools, registry: TaskRegistry, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._tools = tools
        self._registry = registry
        self._history = tools.history
        self._rules = tree_rules(settings)
        self._archive = TaskArchive(tools.history, registry)
        self._board = MonthOverview(tools, registry, self._rules)
        self._images = ImageService(settings, tools)
        self._verifications = Verifications(
            VerifyTools(tools.history, tools.client, settings.backend_url, settings.output_dir)
        )
        self._estimator = Estimator(self._archive, tools.client, settings.uploads_per_second)
        self._left_in_doubt = OrphanedUploadRecovery(tools)
        self._runners = TaskRunners(settings, tools, registry, self._left_in_doubt)
        self._house = Housekeeping(settings, tools, registry, self._runners)
        self._watch = PauseMonitor(
            registry, tools.client, _watch_options(settings, tools), self._refresh_credentials, tools.telemetry
        )
        patient_start = partial(self.start, source_within_s=DISKS_AWAKE_WITHIN_S)
        self._scheduled = scheduled_imports(settings, patient_start, tools.telemetry)

    @property
    def default_options(self) -> ImportOptions:
        """What an import does if its request says nothing else."""
        return default_options(self._settings)

    @property
    def registry(self) -> TaskRegistry:
        """The live tasks."""
        return self._registry

    @property
    def supervisor(self) -> Supervisor:
        """Runs the background jobs."""
        return self._supervisor

    @property
    def archive(self) -> TaskArchive:
        """What there is to know of tasks."""
        return self._archive

    async def plan(self, view: TaskView) -> DryRunPlan | None:
        """What a dry run found that an import would do; None for an import."""
        return await self._estimator.plan(view)

    @property
    def next_scheduled_import(self) -> datetime | None:
        """When IMPORT_SCHEDULE starts one; None where it is not set."""
        return None if self._scheduled is None else self._scheduled.next_run

    def levels(self) -> Gauges:
        """What is measured by looking."""
        return levels_of(self._tools, self._registry, self._supervisor, self.next_scheduled_import)

    async def last_success(self) -> datetime | None:
        """When an import last ran to its end. Raises HistoryError."""
        return await last_success(self._history)

    @property
    def verifications(self) -> Verifications:
        """Asks XieHe again for what tasks have brought."""
        return self._verifications

    async def months(self, root: str | None) -> list[MonthStatus]:
        """The month board, of one root or of all.

        Raises:
            SourceNotAllowedError, SourceNotFoundError, SourceUnavailableError: the root may not, or cannot, be looked
                at, or is no path.
            HistoryError: the history cannot be read.
        """
        return await self._board.months(root)

    async def readiness(self) -> Readiness:
        """Whether an import could work now."""
        return await check_readiness(self._tools, self._rules.allowed_roots, tuple(self._supervisor.jobs()))

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

    def image(self, request: ImageRequest) -> AbstractAsyncContextManager[OpenedPicture]:
        """The image of a file, open while the context lasts. Raises as :meth:`ImageService.opened`."""
        return self._images.opened(request)

    async def view(self, task_id: str) -> TaskView:
        """A task as it stands. Raises TaskNotFoundError."""
        return await self._archive.view(task_id)

    # --- starting --------------------------------------------------------------------------------------------------

    async def start(
        self, source_path: str | None, options: ImportOptions, source_within_s: float = ANSWER_WITHIN_S
    ) -> TaskView:
        """Begins a new import, if the source answers in time.

        Raises:
            SourceNotFoundError, SourceNotAllowedError, SourceUnavailableError: the source cannot be imported.
            TaskOverlapError: it is being imported.
            ServiceStoppingError: the service is shutting down.
            HistoryError: the task cannot be written down.
        """
        path = source_path if source_path is not None else self._only_root()
        source = await self._tools.looks.look(resolve_source, path, self._rules, within_s=source_within_s)
        task = self._registry.create(source.path, source.real_path, options)
        return await self._begin(task, source)

    async def retry(self, task_id: str, options: ImportOptions) -> TaskView:
        """Begins a child task for the failed files of an ended one.

        Raises:
            TaskNotFoundError, TaskTransitionError: no such task, or it has not ended.
            DryRunTaskError, NothingToRetryError: it was a dry run; no file failed so.
            TaskOverlapError: its source is being imported, perhaps by an earlier retry.
        """
        parent = (await self.view(task_id)).record
        check_operation(task_id, parent.status, Operation.RETRY)
        if parent.options.dry_run:
            raise DryRunTaskError(f"任务 {task_id} 是试运行，没有可重试的；请正式导入该目录。")
        if not await count_to_retry(self._history, task_id, options.retry_code):
            what = f"原因为 {options.retry_code} 的失败文件" if options.retry_code else "可重试的失败文件"
            raise NothingToRetryError(f"任务 {task_id} 没有{what}；各原因的文件数见 /import/{task_id}/stats。")
        source = await self._tools.looks.look(resolve_source, parent.source_path, self._rules)
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
        self._watch.enforce_active_hours(task)
        try:
            await self._history.add_task(task.record)
        except BaseException:
            task.cancel()
            task.settle()
            self._registry.discard(task.task_id)
            raise
        view = view_of(task)
        dry_run, parent_id = task.record.options.dry_run, task.record.parent_id
        _log.info("task=%s accepted dry_run=%s parent=%s", task.task_id, dry_run, parent_id or "-")
        self._runners.launch(task, source)
        return view

    async def _mark_retried(self, parent: TaskRecord, child_id: str) -> None:
        if (task := self._registry.find(parent.task_id)) is not None:
            task.set_retried_by(child_id)
            parent = task.record
        await self._history.save_task(replace(parent, retried_by=child_id))

    # --- steering --------------------------------------------------------------------------------------------------

    async def pause(self, task_id: str) -> TaskView:
        """Begin no further file. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.PAUSE)
        task.pause()
        self._tools.telemetry.paused(PauseReason.USER)
        return await self._steered(task)

    async def resume(self, task_id: str) -> TaskView:
        """Go on; with the token that ``.env`` holds now. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.RESUME)
        self._refresh_credentials()
        task.resume()
        self._tools.outage_breaker.probe_now()
        self._watch.enforce_active_hours(task)
        if not self._runners.is_running(task_id):
            self._runners.launch(task, None)
        return await self._steered(task)

    async def cancel(self, task_id: str) -> TaskView:
        """End it for good. Raises TaskNotFoundError, TaskTransitionError."""
        task = await self._steerable(task_id, Operation.CANCEL)
        task.cancel()
        self._runners.cancel_soon(task)
        return await self._steered(task)

    async def _steerable(self, task_id: str, operation: Operation) -> LiveTask:
        """The live task; one that only the history knows has ended, and says what is legal then."""
        if (task := self._registry.find(task_id)) is not None:
            return task
        record = await self._history.get_task(task_id)
        check_operation(task_id, record.status, operation)
        return self._registry.get(task_id)

    async def _steered(self, task: LiveTask) -> TaskView:
        await self._history.save_task(task.record)
        return view_of(task)

    def _refresh_credentials(self) -> None:
        """Takes up a token that was changed in ``.env`` meanwhile; a broken file changes nothing."""
        try:
            self._tools.client.update_credentials(credentials_of(load_settings()))
        except (ConfigurationError, OSError, UnicodeError) as error:
            _log.warning("settings could not be read again: %s", type(error).__name__)

    # --- the service's own life ------------------------------------------------------------------------------------

    async def restore_tasks(self) -> None:
        """Brings back the tasks that an earlier process left unfinished; most go on by themselves."""
        await self._house.restore_tasks(self._watch)
        if any(not task.status.ended for task in self._registry.live()):
            self._tools.outage_breaker.start_half_open()

    @asynccontextmanager
    async def background_jobs(self) -> AsyncIterator[None]:
        """Runs them until the context ends: pauses, records of automatic changes, pruning, notices and the like."""
        jobs: dict[str, Job] = {
            "pause_watch": self._watch.run,
            "record_changes": self._house.write_changes,
            "record_active_time": self._house.write_active_time,
            "prune_history": self._house.prune,
            "check_history": self._house.check_history,
            "upload_recovery": self._left_in_doubt.run,
        }
        if self._scheduled is not None:
            jobs["schedule"] = self._scheduled.run
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telling_ends(self._settings, self._notices_to, self._supervisor))
            for name, job in jobs.items():
                await stack.enter_async_context(self._supervisor.running(name, job))
            yield

    def _notices_to(self, webhook: Webhook) -> WebhookNotifier:
        return WebhookNotifier(self._registry, self._archive, webhook, self._tools.telemetry)

    async def stop(self) -> None:
        """Lets files under way end within seconds, and leaves the rest to the next start."""
        self._registry.stop()
        await self._images.aclose()
        await self._verifications.stop()
        await self._runners.stop()


@asynccontextmanager
async def open_import_service(
    settings: Settings,
    telemetry: Telemetry = NullTelemetry(),  # noqa: B008 - it holds nothing
    supervisor: Supervisor | None = None,
) -> AsyncIterator[ImportService]:
    """Opens every room, takes up unfinished tasks, and closes all in order at the end.

    Raises:
        ConfigurationError, HistoryError: the service cannot start.
    """
    check_exam_rules(settings.exam_rules_file)
    schedule_of(settings)
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(History.open(settings.data_dir))
        _prepare_folders(settings)  # DATA_DIR is ours by now, so no other process is at work in there
        client = await stack.enter_async_context(XieHeClient.open(client_options(settings, telemetry)))
        renderer = await stack.enter_async_context(renderer_of(settings))
        tools = _tools(settings, history, client, renderer, telemetry)
        service = ImportService(settings, tools, TaskRegistry(overlaps), supervisor or Supervisor())
        try:
            await service.restore_tasks()
        except BaseException:  # a signal, too, may cut the start off
            await service.stop()
            raise
        async with service.background_jobs():
            try:
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
        max_file_bytes=max_file_bytes(settings),
        exam_rules_path=settings.exam_rules_file,
        image_extensions=settings.image_extensions,
        sources=tree_rules(settings).area(),
        skip_for_processing=settings.skip_for_processing,
        telemetry=telemetry,
        outage_breaker=OutageBreaker(settings.backend_probe_seconds),
        looks=SourceLooks(settings.dicom_source_path),
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


def _watch_options(settings: Settings, tools: ImportTools) -> WatchOptions:
    hours = settings.active_hours and ActiveHours.of(parse_active_hours(settings.active_hours), settings.timezone)
    folders = (settings.output_dir, settings.data_dir)
    return WatchOptions(
        every_s=settings.backend_probe_seconds,
        folders=folders,
        rules=tree_rules(settings),
        hours=hours or None,
        looks=tools.looks,
        renderer_ready=lambda: tools.renderer.check().ready,
        uploads=tools.outage_breaker,
    )
