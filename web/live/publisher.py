"""From the tasks' changes to those who watch: at most four tellings a second, each made once for all."""

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

NEWS_PER_S = 20.0
StatusOf = Callable[[str], Awaitable[TaskStatusResponse]]
"""A task as it stands, alive or remembered. Raises TaskNotFoundError, HistoryError."""


@dataclass(frozen=True, slots=True)
class TaskUpdate:
    """A task as it stood at ``seq``; ``text`` is the JSON of ``/status``, shared by all who are told."""

    task_id: str
    seq: int
    text: str
    at_rest: bool


class LatestValueQueue:
    """What one client has still to be told: each task's newest state only, so who is slow misses steps in between."""

    def __init__(self) -> None:
        self._news: dict[str, TaskUpdate] = {}
        self._known: dict[str, int] = {}
        self._woken = asyncio.Event()

    def put(self, news: TaskUpdate) -> None:
        """Never waits; a task that is in line already keeps its place."""
        self._news[news.task_id] = news
        self._woken.set()

    def note_told(self, news: TaskUpdate) -> None:
        """The client knows this state: neither it nor an earlier one is taken out again."""
        if news.at_rest:
            self._known.pop(news.task_id, None)
        else:
            self._known[news.task_id] = news.seq

    async def take(self) -> TaskUpdate:
        """The next state that the client does not know."""
        while True:
            while not self._news:
                self._woken.clear()
                await self._woken.wait()
            news = self._news.pop(next(iter(self._news)))
            if news.at_rest or news.seq > self._known.get(news.task_id, -1):
                self.note_told(news)
                return news


class Broadcaster:
    """Publishes changes at most every ``gap_s`` seconds, and ``news_per_s`` times a second for all listeners together.

    Each client costs time of the event loop that the import needs: many clients get news less often. The last state is
    never left out.
    """

    def __init__(
        self, registry: TaskRegistry, status_of: StatusOf, gap_s: float, news_per_s: float = NEWS_PER_S
    ) -> None:
        self._registry = registry
        self._status_of = status_of
        self._gap_s = gap_s
        self._news_per_s = news_per_s
        self._mailboxes: dict[LatestValueQueue, str | None] = {}
        self._newest: dict[str, TaskUpdate] = {}

    async def run(self) -> None:
        """Until cancelled. Begins with all that clients wait for, since a further run follows a defect."""
        with self._registry.subscribe() as changes:
            watched = (task_id for task_id in self._mailboxes.values() if task_id is not None)
            for task_id in {*watched, *self._newest, *(task.task_id for task in self._registry.live())}:
                changes.put(task_id)
            while True:
                sent = 0
                for task_id in await changes.batch():
                    sent += await self._spread(task_id, changes)
                await asyncio.sleep(max(self._gap_s, sent / self._news_per_s))

    @contextmanager
    def mailbox(self, task_id: str | None) -> Iterator[LatestValueQueue]:
        """One client's, for one task or (None) for all."""
        mailbox = LatestValueQueue()
        self._mailboxes[mailbox] = task_id
        try:
            yield mailbox
        finally:
            del self._mailboxes[mailbox]

    async def news_of(self, task_id: str) -> TaskUpdate:
        """The task as it stands, serialised once per ``seq``. Raises TaskNotFoundError, HistoryError."""
        status = await self._status_of(task_id)
        known = self._newest.get(task_id)
        if known is not None and known.seq == status.seq:
            return known
        at_rest = status.status.ended and status.completed_at is not None
        news = TaskUpdate(task_id, status.seq, status.model_dump_json(), at_rest)
        if not at_rest:
            self._newest[task_id] = news
        return news

    async def newest(self, task_id: str) -> TaskUpdate:
        """As :meth:`news_of`, but what was told a moment ago is not made again. Raises as that."""
        return self._newest.get(task_id) or await self.news_of(task_id)

    async def live_news(self) -> list[TaskUpdate]:
        """Every task that is not at rest, newest first."""
        return [await self.news_of(task.task_id) for task in reversed(self._registry.live()) if not task.at_rest]

    async def _spread(self, task_id: str, changes: Subscription) -> int:
        """To how many listeners."""
        if not self._listeners(task_id):
            self._newest.pop(task_id, None)
            return 0
        try:
            news = await self.news_of(task_id)
        except TaskNotFoundError:
            return 0
        except ImportServiceError as error:  # it has ended, and the history that remembers it cannot be asked now
            _log.warning("state of %s cannot be told yet: %s", task_id, error.code)
            changes.put(task_id)
            return 0
        if news.at_rest:
            self._newest.pop(task_id, None)
        listeners = self._listeners(task_id)  # one that came in the meantime may have been shown an older state
        for mailbox in listeners:
            mailbox.put(news)
        return len(listeners)

    def _listeners(self, task_id: str) -> list[LatestValueQueue]:
        return [mailbox for mailbox, wanted in self._mailboxes.items() if wanted in (None, task_id)]
