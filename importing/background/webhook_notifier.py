"""Tells another system of each task's end, beside the tasks: they never wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from errors import HistoryError, TaskNotFoundError
from importing.runs.task_views import TaskArchive
from importing.telemetry import Telemetry
from models import OutcomeKind
from tasks import LiveTask, TaskRegistry
from webhook import TaskEnd, Webhook

_log = logging.getLogger(__name__)


class WebhookNotifier:
    """Follows the live tasks. A notice is owed from a task's first change on, so that no crash can lose it."""

    def __init__(self, registry: TaskRegistry, archive: TaskArchive, webhook: Webhook, telemetry: Telemetry) -> None:
        self._registry = registry
        self._archive = archive
        self._webhook = webhook
        self._telemetry = telemetry
        self._owed: set[str] = set()
        self._told: set[str] = set()
        self._under_way: set[str] = set()

    async def run(self) -> None:
        """Until cancelled; what is being told then stays owed. A further run tells what a defect cut off."""
        self._told -= self._under_way
        self._under_way.clear()
        async with asyncio.TaskGroup() as deliveries:
            with self._registry.subscribe() as changes:
                await self._take_up(deliveries)
                async for change in changes:
                    if (task := self._registry.find(change)) is not None:
                        await self._look_at(task, deliveries)

    async def _take_up(self, deliveries: asyncio.TaskGroup) -> None:
        """What an earlier process owed, and what began before we listened."""
        live = {task.task_id for task in self._registry.live()}
        for task_id in await self._webhook.pending():
            if task_id not in live:
                self._deliver(task_id, deliveries)
        for task in self._registry.live():
            await self._look_at(task, deliveries)

    async def _look_at(self, task: LiveTask, deliveries: asyncio.TaskGroup) -> None:
        if task.task_id in self._told:
            return
        if task.at_rest:
            self._owed.discard(task.task_id)
            self._told = {other.task_id for other in self._registry.live() if other.task_id in self._told}
            self._told.add(task.task_id)
            self._deliver(task.task_id, deliveries)
        elif task.task_id not in self._owed:
            await self._webhook.enqueue(task.task_id)
            self._owed.add(task.task_id)

    def _deliver(self, task_id: str, deliveries: asyncio.TaskGroup) -> None:
        self._under_way.add(task_id)
        deliveries.create_task(self._deliver_one(task_id), name=f"notice {task_id}")

    async def _deliver_one(self, task_id: str) -> None:
        await self._tell(task_id)
        self._under_way.discard(task_id)

    async def _tell(self, task_id: str) -> None:
        try:
            view = await self._archive.view(task_id)
            tallies = (await self._archive.breakdown(task_id)).tallies
        except TaskNotFoundError:  # older than HISTORY_DAYS
            await self._webhook.discard(task_id)
            return
        except HistoryError as error:
            _log.error("notice=%s not told before the next start: %s", task_id, error.code)
            return
        if view.record.status.ended:
            failures: Counter[str] = Counter()
            for tally in tallies:
                failures[tally.code] += tally.files if tally.kind is OutcomeKind.FAILED else 0
            delivery = await self._webhook.deliver(TaskEnd(view.record, view.counts, +failures))
            self._telemetry.notice_sent(delivery.result)
