"""Ends automatic pauses when their cause has gone, and enforces the active hours."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from config import Settings, parse_active_hours
from domain.descriptors import ENOUGH_LEFT, are_left
from errors import OutOfDescriptorsError, SourceError
from importing.background.active_hours import ActiveHours
from importing.runs.run_context import ImportTools
from importing.settings_mapping import tree_rules
from importing.threads import AT_A_GLANCE_S
from importing.uploads.outage_breaker import OF_THE_BACKEND
from models import PauseReason
from source import resolve_source
from tasks import LiveTask, TaskRegistry

_log = logging.getLogger(__name__)

ENOUGH_FREE_BYTES = 200 * 1024 * 1024
ENOUGH_FREE_SHARE = 0.1
"""Enough of a small volume, which may never have that many bytes."""


class PauseMonitor:
    """One loop for all tasks of the service."""

    def __init__(
        self, settings: Settings, tools: ImportTools, registry: TaskRegistry, refresh_credentials: Callable[[], None]
    ) -> None:
        hours = settings.active_hours
        self._hours = ActiveHours.of(parse_active_hours(hours), settings.timezone) if hours else None
        self._every_s = settings.backend_probe_seconds
        self._folders = (settings.output_dir, settings.data_dir)
        self._rules = tree_rules(settings)
        self._tools = tools
        self._registry = registry
        self._refresh_credentials = refresh_credentials

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._every_s)

    async def poll(self) -> None:
        """Checks each cause that pauses a task, once."""
        tasks = [task for task in self._registry.live() if not task.status.ended]
        for task in tasks:
            self.enforce_active_hours(task)
        await self._check_backend(_paused_by(tasks, *OF_THE_BACKEND))
        await self._check_disk(_paused_by(tasks, PauseReason.DISK_FULL))
        if self._tools.renderer.check().ready:
            for task in tasks:
                task.release(PauseReason.RENDERER_UNAVAILABLE)
        starved = _paused_by(tasks, PauseReason.OUT_OF_DESCRIPTORS)
        if starved and are_left(ENOUGH_LEFT):
            for task in starved:
                task.release(PauseReason.OUT_OF_DESCRIPTORS)
        await asyncio.gather(*map(self._check_source, _paused_by(tasks, PauseReason.SOURCE_MISSING)))

    def enforce_active_hours(self, task: LiveTask) -> None:
        """Pauses a task outside the active hours, unless its request says ``run_now``."""
        hours = self._hours
        if hours is None or task.record.options.run_now or hours.contains(datetime.now(UTC)):
            task.release(PauseReason.OUTSIDE_ACTIVE_HOURS)
        elif PauseReason.OUTSIDE_ACTIVE_HOURS not in task.pause_reasons:
            self._tools.telemetry.paused(PauseReason.OUTSIDE_ACTIVE_HOURS)
            task.pause_automatically(PauseReason.OUTSIDE_ACTIVE_HOURS, f"不在允许导入的时段 {hours}，到时自动继续")

    async def _check_backend(self, tasks: Sequence[LiveTask]) -> None:
        if not tasks:
            return
        self._refresh_credentials()
        health, uploads = await self._tools.client.check(), self._tools.outage_breaker
        if not health.ready:
            uploads.block_probes()
            _log.info("XieHe still not usable: %s", health.code)
            return
        uploads.unblock_probes()
        for task in tasks:
            if not uploads.holds_back(task.task_id):  # those wait for an upload that works, not for a log-in
                task.release(*OF_THE_BACKEND)

    async def _check_source(self, task: LiveTask) -> None:
        path = task.record.source_path
        try:
            await self._tools.looks.look(resolve_source, path, self._rules, within_s=AT_A_GLANCE_S)
        except (SourceError, OutOfDescriptorsError):
            return
        task.release(PauseReason.SOURCE_MISSING)

    async def _check_disk(self, tasks: Sequence[LiveTask]) -> None:
        if not tasks:
            return
        rooms = await asyncio.gather(*(asyncio.to_thread(has_room, folder) for folder in self._folders))
        if all(rooms):
            for task in tasks:
                task.release(PauseReason.DISK_FULL)


def has_room(folder: str) -> bool:
    """Whether a folder can be written and has some space."""
    try:
        usage = shutil.disk_usage(folder)
        return os.access(folder, os.W_OK) and usage.free >= min(ENOUGH_FREE_BYTES, usage.total * ENOUGH_FREE_SHARE)
    except OSError:
        return False


def _paused_by(tasks: Sequence[LiveTask], *reasons: PauseReason) -> list[LiveTask]:
    return [task for task in tasks if set(reasons).intersection(task.pause_reasons)]
