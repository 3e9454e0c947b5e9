"""Background work on the history: automatic changes, pruning, the check for damage, restoring tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from config import Settings
from errors import HistoryError, HostError, SourceUnavailableError
from importing.background.pause_monitor import PauseMonitor
from importing.background.supervisor import BackOff
from importing.dry_run.simulation import drop_orphaned_plans
from importing.runs.run_context import ImportTools
from importing.runs.task_runner import TaskRunners
from importing.threads import AT_A_GLANCE_S
from models import PauseReason, TaskRecord, TaskStatus
from tasks import TaskRegistry, TaskStart

_log = logging.getLogger(__name__)

PRUNE_EVERY_S = 6 * 3600.0
CHECK_EVERY_S = 24 * 3600.0
CHECK_AGAIN = BackOff(first_s=60.0, max_s=3600.0)
"""Waits before a check is repeated that could not be completed."""
LOOK_FOR_DAMAGE_EVERY_S = 60.0
ACTIVE_TIME_EVERY_S = 10.0


class Housekeeping:
    """Keeps history and live tasks in step."""

    def __init__(self, settings: Settings, tools: ImportTools, registry: TaskRegistry, runners: TaskRunners) -> None:
        self._settings = settings
        self._history = tools.history
        self._looks = tools.looks
        self._registry = registry
        self._runners = runners

    async def restore_tasks(self, pause_monitor: PauseMonitor) -> None:
        """Restores the unfinished tasks of an earlier process; most resume automatically."""
        unfinished = await self._history.unfinished_tasks()
        await drop_orphaned_plans(self._history, [record.task_id for record in unfinished])
        for record in unfinished:
            await self._restore(record, pause_monitor)

    async def _restore(self, record: TaskRecord, pause_monitor: PauseMonitor) -> None:
        paused_by_user = record.status is TaskStatus.PAUSED and record.pause_reason is PauseReason.USER
        if not paused_by_user:
            record = replace(record, status=TaskStatus.INTERRUPTED, pause_reason=None)
        counts = await self._history.counts(record.task_id)
        failures = tuple(row.outcome for row in await self._history.newest_failures(record.task_id))
        real_path = await self._real_path(record.source_path)
        skipped = await self._history.skipped_folders_total(record.task_id)
        task = self._registry.restore(TaskStart(record, real_path, counts, failures, skipped))
        if self._settings.auto_resume and not paused_by_user:
            task.resume()
            pause_monitor.enforce_active_hours(task)
        if self._settings.auto_resume or paused_by_user:
            self._runners.launch(task, None)
        await self._history.save_task(task.record)

    async def _real_path(self, path: str) -> str:
        """The recorded path if the share hangs, since the service must start all the same."""
        try:
            return await self._looks.look(os.path.realpath, path, within_s=AT_A_GLANCE_S)
        except SourceUnavailableError:
            return path

    async def write_changes(self) -> None:
        """Writes automatic changes (pauses, warnings), once per change of the record, until cancelled."""
        written: dict[str, TaskRecord] = {}
        with self._registry.subscribe() as changes:
            for live in self._registry.live():  # changes before a restart of this job
                changes.put(live.task_id)
            async for task_id in changes:
                task = self._registry.find(task_id)
                if task is None:
                    written.pop(task_id, None)
                elif written.get(task_id) is not (record := task.record) and await self._runners.save(record):
                    written[task_id] = record

    async def write_active_time(self) -> None:
        """Writes the active time of running tasks every few seconds until cancelled, so that a kill loses little."""
        while True:
            await asyncio.sleep(ACTIVE_TIME_EVERY_S)
            for task in self._registry.live():
                if task.status is TaskStatus.RUNNING:
                    task.note_active_time()
                    await self._runners.save(task.record)

    async def prune(self) -> None:
        """Removes what is older than HISTORY_DAYS, regularly until cancelled."""
        while True:
            try:
                await self._history.prune(datetime.now(UTC) - timedelta(days=self._settings.history_days))
            except (HistoryError, HostError) as error:
                _log.error("history not pruned: %s", error.code)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def check_history(self) -> None:
        """Checks the whole history for damage now, then daily, until cancelled. Readiness shows the result.

        A check that could not be completed is repeated soon, and so is one after a read or write met damage.
        """
        failures = 0
        while True:
            try:
                await self._history.check()
                failures = 0
            except (HistoryError, HostError) as error:
                _log.error("history not checked: %s", error.code)
                failures += 1
            await self._pause_checks(CHECK_AGAIN.after(failures) if failures else CHECK_EVERY_S)

    async def _pause_checks(self, pause_s: float) -> None:
        """Waits; ends early if a read or write meets damage, since a full check tells whether it persists."""
        known, until_s = self._history.damaged, time.monotonic() + pause_s
        while (left_s := until_s - time.monotonic()) > 0 and known >= self._history.damaged:  # noqa: ASYNC110 - other threads set it
            await asyncio.sleep(min(left_s, LOOK_FOR_DAMAGE_EVERY_S))
