"""Lifts automatic pauses when their cause has gone, and sets those of the clock."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from api_client import XieHeClient
from domain.descriptors import ENOUGH_LEFT, are_left
from errors import OutOfDescriptorsError, SourceError
from importing.background.active_hours import ActiveHours
from importing.telemetry import Telemetry
from importing.threads import AT_A_GLANCE_S, SourceLooks
from importing.uploads.outage_breaker import OF_THE_BACKEND, OutageBreaker
from models import PauseReason
from source import TreeRules, resolve_source
from tasks import LiveTask, TaskRegistry

_log = logging.getLogger(__name__)

ENOUGH_FREE_BYTES = 200 * 1024 * 1024
ENOUGH_FREE_SHARE = 0.1
"""Of a small volume, which may never have that many bytes."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to look at, and how often.

    Attributes:
        every_s: seconds between two looks.
        folders: OUTPUT_DIR and DATA_DIR.
        rules: for sources that have to come back.
        hours: None where imports may run at any time.
        renderer_ready: whether pictures can be made now.
        uploads: what finds out whether uploads work.
        looks: how sources are looked at.
    """

    every_s: float
    folders: tuple[str, ...]
    rules: TreeRules
    hours: ActiveHours | None
    renderer_ready: Callable[[], bool]
    uploads: OutageBreaker
    looks: SourceLooks


class PauseMonitor:
    """One loop for all tasks of the service."""

    def __init__(
        self,
        registry: TaskRegistry,
        client: XieHeClient,
        options: WatchOptions,
        refresh_credentials: Callable[[], None],
        telemetry: Telemetry,
    ) -> None:
        self._registry = registry
        self._client = client
        self._options = options
        self._refresh_credentials = refresh_credentials
        self._telemetry = telemetry
        self._uploads = options.uploads

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._options.every_s)

    async def look(self) -> None:
        """One look at everything that holds a task."""
        tasks = [task for task in self._registry.live() if not task.status.ended]
        for task in tasks:
            self.enforce_active_hours(task)
        await self._look_at_backend(_held_by(tasks, *OF_THE_BACKEND))
        await self._look_at_disk(_held_by(tasks, PauseReason.DISK_FULL))
        if self._options.renderer_ready():
            for task in _held_by(tasks, PauseReason.RENDERER_UNAVAILABLE):
                task.release(PauseReason.RENDERER_UNAVAILABLE)
        starved = _held_by(tasks, PauseReason.OUT_OF_DESCRIPTORS)
        if starved and are_left(ENOUGH_LEFT):
            for task in starved:
                task.release(PauseReason.OUT_OF_DESCRIPTORS)
        await asyncio.gather(*map(self._look_at_source, _held_by(tasks, PauseReason.SOURCE_MISSING)))

    def enforce_active_hours(self, task: LiveTask) -> None:
        """Holds a task outside the active hours, unless it was told to run now."""
        hours = self._options.hours
        if hours is None or task.record.options.run_now or hours.contains(datetime.now(UTC)):
            task.release(PauseReason.OUTSIDE_ACTIVE_HOURS)
        elif PauseReason.OUTSIDE_ACTIVE_HOURS not in task.pause_reasons:
            self._telemetry.paused(PauseReason.OUTSIDE_ACTIVE_HOURS)
            task.pause_automatically(PauseReason.OUTSIDE_ACTIVE_HOURS, f"不在允许导入的时段 {hours}，到时自动继续")

    async def _look_at_backend(self, tasks: Sequence[LiveTask]) -> None:
        if not tasks:
            return
        self._refresh_credentials()
        health = await self._client.check()
        if not health.ready:
            self._uploads.block_probes()
            _log.info("XieHe still not usable: %s", health.code)
            return
        self._uploads.unblock_probes()
        for task in tasks:
            if not self._uploads.holds_back(task.task_id):  # those wait for an upload that works, not for a log-in
                task.release(*OF_THE_BACKEND)

    async def _look_at_source(self, task: LiveTask) -> None:
        try:
            await self._options.looks.look(
                resolve_source, task.record.source_path, self._options.rules, within_s=AT_A_GLANCE_S
            )
        except (SourceError, OutOfDescriptorsError):
            return
        task.release(PauseReason.SOURCE_MISSING)

    async def _look_at_disk(self, tasks: Sequence[LiveTask]) -> None:
        if not tasks:
            return
        if await asyncio.to_thread(lambda: all(map(has_room, self._options.folders))):
            for task in tasks:
                task.release(PauseReason.DISK_FULL)


def has_room(folder: str) -> bool:
    """Whether a folder can be written and has some space."""
    try:
        usage = shutil.disk_usage(folder)
        return os.access(folder, os.W_OK) and usage.free >= min(ENOUGH_FREE_BYTES, usage.total * ENOUGH_FREE_SHARE)
    except OSError:
        return False


def _held_by(tasks: Sequence[LiveTask], *reasons: PauseReason) -> list[LiveTask]:
    return [task for task in tasks if set(reasons).intersection(task.pause_reasons)]
