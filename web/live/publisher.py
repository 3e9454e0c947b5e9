"""Publishes the state of changed tasks to all clients, serialised once, at most four times a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from errors import ImportServiceError, TaskNotFoundError
from import_service import Subscription, TaskRegistry
from web.api.schemas import TaskStatusResponse

_log = logging.getLogger(__name__)

UPDATES_PER_S = 20.0
StatusOf = Callable[[str], Awaitable[TaskStatusResponse]]
"""A task's state now, live or recorded. Raises TaskNotFoundError, HistoryError."""


@dataclass(frozen=True, slots=True)
class TaskUpdate:
    """A task's state at ``seq``; ``text`` is the JSON of ``/status``, shared by all clients."""

    task_id: str
    seq: int
    text: str
    at_rest: bool


class LatestValueQueue:
    """One client's queue. It holds each task's newest state only, so a slow client misses steps in between."""

    def __init__(self) -> None:
        self._updates: dict[str, TaskUpdate] = {}
        self._sent: dict[str, int] = {}
        self._wake_up = asyncio.Event()

    def put(self, update: TaskUpdate) -> None:
        """Never waits; a task that is in line already keeps its place."""
        self._updates[update.task_id] = update
        self._wake_up.set()

    def mark_sent(self, update: TaskUpdate) -> None:
        """The client has this state: :meth:`get` returns neither it nor an earlier one."""
        if update.at_rest:
            self._sent.pop(update.task_id, None)
        else:
            self._sent[update.task_id] = update.seq

    async def get(self) -> TaskUpdate:
        """Waits for the next state that the client does not have."""
        while True:
            while not self._updates:
                self._wake_up.clear()
                await self._wake_up.wait()
            update = self._updates.pop(next(iter(self._updates)))
            if update.at_rest or update.seq > self._sent.get(update.task_id, -1):
                self.mark_sent(update)
                return update


class Broadcaster:
    """Publishes changes at most every ``gap_s`` seconds, and ``updates_per_s`` times a second over all clients.

    Each client costs time of the event loop that the import needs, so many clients get updates less often. The last
    state is always published.
    """

    def __init__(
        self, registry: TaskRegistry, status_of: StatusOf, gap_s: float, updates_per_s: float = UPDATES_PER_S
    ) -> None:
        self._registry = registry
        self._status_of = status_of
        self._gap_s = gap_s
        self._updates_per_s = updates_per_s
        self._queues: dict[LatestValueQueue, str | None] = {}
        self._latest: dict[str, TaskUpdate] = {}

    async def run(self) -> None:
        """Publishes until cancelled. Begins with all watched tasks, since a further run follows a defect."""
        with self._registry.subscribe() as changes:
            watched = (task_id for task_id in self._queues.values() if task_id is not None)
            for task_id in {*watched, *self._latest, *(task.task_id for task in self._registry.live())}:
                changes.put(task_id)
            while True:
                sent = 0
                for task_id in await changes.batch():
                    sent += await self._publish(task_id, changes)
                await asyncio.sleep(max(self._gap_s, sent / self._updates_per_s))

    @contextmanager
    def subscribe(self, task_id: str | None) -> Iterator[LatestValueQueue]:
        """A queue for one task's updates, or (None) for all tasks'."""
        queue = LatestValueQueue()
        self._queues[queue] = task_id
        try:
            yield queue
        finally:
            del self._queues[queue]

    async def current(self, task_id: str) -> TaskUpdate:
        """The task's state now, serialised once per ``seq``. Raises TaskNotFoundError, HistoryError."""
        status = await self._status_of(task_id)
        known = self._latest.get(task_id)
        if known is not None and known.seq == status.seq:
            return known
        at_rest = status.status.ended and status.completed_at is not None
        update = TaskUpdate(task_id, status.seq, status.model_dump_json(), at_rest)
        if not at_rest:
            self._latest[task_id] = update
        return update

    async def latest(self, task_id: str) -> TaskUpdate:
        """The state that was published last, else the current one. Raises as :meth:`current`."""
        return self._latest.get(task_id) or await self.current(task_id)

    async def live_tasks(self) -> list[TaskUpdate]:
        """The state of every task that is not at rest, newest task first."""
        return [await self.current(task.task_id) for task in reversed(self._registry.live()) if not task.at_rest]

    async def _publish(self, task_id: str, changes: Subscription) -> int:
        """Returns to how many clients."""
        if not self._subscribers(task_id):
            self._latest.pop(task_id, None)
            return 0
        try:
            update = await self.current(task_id)
        except TaskNotFoundError:
            return 0
        except ImportServiceError as error:  # it has ended, and the history cannot be read now
            _log.warning("state of %s cannot be published yet: %s", task_id, error.code)
            changes.put(task_id)
            return 0
        if update.at_rest:
            self._latest.pop(task_id, None)
        queues = self._subscribers(task_id)  # also those that came meanwhile: they may have an older state
        for queue in queues:
            queue.put(update)
        return len(queues)

    def _subscribers(self, task_id: str) -> list[LatestValueQueue]:
        return [queue for queue, wanted in self._queues.items() if wanted in (None, task_id)]
