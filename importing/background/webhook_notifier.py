"""Delivers a notice of each task's end to the webhook, without delaying the tasks."""

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
    """Follows the live tasks. A notice is enqueued at a task's first change, so that no crash can lose it."""

    def __init__(self, registry: TaskRegistry, archive: TaskArchive, webhook: Webhook, telemetry: Telemetry) -> None:
        self._registry = registry
        self._archive = archive
        self._webhook = webhook
        self._telemetry = telemetry
        self._enqueued: set[str] = set()
        self._taken: set[str] = set()
        self._in_delivery: set[str] = set()

    async def run(self) -> None:
        """Delivers until cancelled, which leaves notices pending. A further run repeats what a defect cut off."""
        self._taken -= self._in_delivery
        self._in_delivery.clear()
        async with asyncio.TaskGroup() as deliveries:
            with self._registry.subscribe() as changes:
                await self._catch_up(deliveries)
                async for task_id in changes:
                    if (task := self._registry.find(task_id)) is not None:
                        await self._handle(task, deliveries)

    async def _catch_up(self, deliveries: asyncio.TaskGroup) -> None:
        """Handles notices of an earlier process, and tasks that changed before the subscription."""
        live = {task.task_id for task in self._registry.live()}
        for task_id in await self._webhook.pending():
            if task_id not in live:
                self._start_delivery(task_id, deliveries)
        for task in self._registry.live():
            await self._handle(task, deliveries)

    async def _handle(self, task: LiveTask, deliveries: asyncio.TaskGroup) -> None:
        if task.task_id in self._taken:
            return
        if task.at_rest:
            self._enqueued.discard(task.task_id)
            self._taken = {task_id for task_id in self._taken if self._registry.find(task_id)} | {task.task_id}
            self._start_delivery(task.task_id, deliveries)
        elif task.task_id not in self._enqueued:
            await self._webhook.enqueue(task.task_id)
            self._enqueued.add(task.task_id)

    def _start_delivery(self, task_id: str, deliveries: asyncio.TaskGroup) -> None:
        self._in_delivery.add(task_id)
        deliveries.create_task(self._deliver(task_id), name=f"notice {task_id}")

    async def _deliver(self, task_id: str) -> None:
        """Delivers the notice of a task that has ended. The next start repeats it if the history cannot be read."""
        try:
            end = await self._end_of(task_id)
        except TaskNotFoundError:  # older than HISTORY_DAYS
            await self._webhook.drop(task_id)
        except HistoryError as error:
            _log.error("notice=%s not delivered before the next start: %s", task_id, error.code)
        else:
            if end.record.status.ended:
                delivery = await self._webhook.deliver(end)
                self._telemetry.notice_sent(delivery.result)
        self._in_delivery.discard(task_id)

    async def _end_of(self, task_id: str) -> TaskEnd:
        view = await self._archive.view(task_id)
        failures: Counter[str] = Counter()
        for tally in (await self._archive.breakdown(task_id)).tallies:
            failures[tally.code] += tally.files if tally.kind is OutcomeKind.FAILED else 0
        return TaskEnd(view.record, view.counts, +failures)
