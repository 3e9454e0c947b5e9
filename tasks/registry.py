"""The registry of live tasks: creates, finds and discards them, and publishes their changes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from errors import ServiceStoppingError, TaskNotFoundError, TaskOverlapError
from models import ImportOptions, PauseReason, TaskRecord, TaskStatus, display_path
from tasks.live_task import LiveTask, TaskStart
from tasks.progress import ProgressMeter


def utc_now() -> datetime:
    """Now, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Subscription:
    """Ids of changed tasks. A slow reader gets each id once, however often its task changed, and blocks nothing."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._wake_up = asyncio.Event()

    def put(self, task_id: str) -> None:
        """Never waits; a task that is in line already keeps its place."""
        self._changed[task_id] = None
        self._wake_up.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> str:
        await self._wait()
        task_id = next(iter(self._changed))
        del self._changed[task_id]
        return task_id

    async def batch(self) -> list[str]:
        """Waits for a change and returns all that there are."""
        await self._wait()
        task_ids = list(self._changed)
        self._changed.clear()
        return task_ids

    async def _wait(self) -> None:
        while not self._changed:
            self._wake_up.clear()
            await self._wake_up.wait()


class TaskRegistry:
    """All live tasks. Used on the event loop only."""

    def __init__(
        self,
        overlaps: Callable[[str, str], bool],
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``overlaps`` compares two real source paths; ``now`` is UTC in whole seconds."""
        self._overlaps = overlaps
        self._now = now
        self._monotonic = monotonic
        self._tasks: dict[str, LiveTask] = {}
        self._subscriptions: dict[Subscription, str | None] = {}
        self._stopping = False

    def create(
        self, source_path: str, real_path: str, options: ImportOptions, parent_id: str | None = None
    ) -> LiveTask:
        """Creates a pending task.

        Raises:
            TaskOverlapError: a task that is not at rest has the same or an overlapping source.
            ServiceStoppingError: the service is shutting down.
        """
        if self._stopping:
            raise ServiceStoppingError("服务正在停止，不再接受新任务。请在服务重新启动后再试。")
        self.check_overlap(real_path)
        now = self._now()
        record = TaskRecord(self._new_id(now), source_path, options, TaskStatus.PENDING, now, parent_id=parent_id)
        return self._add(TaskStart(record, real_path))

    def restore(self, start: TaskStart) -> LiveTask:
        """Adds an unfinished task of an earlier process as interrupted, or as paused if the operator paused it."""
        record = start.record
        paused_by_user = record.status is TaskStatus.PAUSED and record.pause_reason is PauseReason.USER
        if not (record.status.ended or paused_by_user):
            record = replace(record, status=TaskStatus.INTERRUPTED, pause_reason=None)
        return self._add(replace(start, record=record))

    def _add(self, start: TaskStart) -> LiveTask:
        meter = ProgressMeter(self._monotonic, start.record.active_seconds or 0.0)
        task = LiveTask(start, self._now, meter, self._announce)
        self._tasks[task.task_id] = task
        self._announce(task.task_id)
        return task

    def check_overlap(self, real_path: str) -> None:
        """Raises TaskOverlapError if a task that is not at rest has the same or an overlapping source."""
        for task in self._tasks.values():
            if not task.at_rest and self._overlaps(task.real_path, real_path):
                shown = display_path(task.record.source_path)
                message = f"任务 {task.task_id} 正在导入相同或重叠的文件夹 {shown}。请等它结束或取消它。"
                if task.status.ended:
                    message = f"任务 {task.task_id} 刚结束，正在收尾（{shown}）。请过几秒再试。"
                raise TaskOverlapError(message, task.task_id)

    def find(self, task_id: str) -> LiveTask | None:
        """The live task; None if there is none (the history may have it)."""
        return self._tasks.get(task_id)

    def get(self, task_id: str) -> LiveTask:
        """The live task. Raises TaskNotFoundError."""
        task = self.find(task_id)
        if task is None:
            raise TaskNotFoundError(f"没有这个任务：{display_path(task_id)}。")
        return task

    def live(self) -> list[LiveTask]:
        """All live tasks, oldest first."""
        return list(self._tasks.values())

    def is_working(self) -> bool:
        """Whether any task runs."""
        return any(task.status is TaskStatus.RUNNING for task in self._tasks.values())

    def discard(self, task_id: str) -> None:
        """Removes a task at rest; the history answers for it from now on."""
        task = self._tasks.get(task_id)
        if task is not None and task.at_rest:
            del self._tasks[task_id]

    def stop(self) -> None:
        """Refuses new tasks and interrupts all others."""
        self._stopping = True
        for task in self.live():
            task.interrupt()

    @contextmanager
    def subscribe(self, task_id: str | None = None) -> Iterator[Subscription]:
        """Publishes later changes of one task, or (None) of all, while the context lasts."""
        subscription = Subscription()
        self._subscriptions[subscription] = task_id
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]

    def _announce(self, task_id: str) -> None:
        for subscription, wanted in self._subscriptions.items():
            if wanted is None or wanted == task_id:
                subscription.put(task_id)

    def _new_id(self, now: datetime) -> str:
        while True:
            task_id = f"dicom-import-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            if task_id not in self._tasks:
                return task_id
