"""The live tasks: making them, finding them, hearing of their changes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from errors import ServiceStoppingError, TaskNotFoundError, TaskOverlapError
from models import ImportOptions, PauseReason, TaskRecord, TaskStatus, display_path
from tasks.live_task import LiveTask, TaskStart
from tasks.progress import ProgressMeter


def utc_now() -> datetime:
    """Whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task changed; ``seq`` is its newest."""

    task_id: str
    seq: int


class Subscription:
    """Changes as they come, each task's newest only: who is slow misses steps in between, and holds nobody up."""

    def __init__(self, seq_of: Callable[[str], int]) -> None:
        self._seq_of = seq_of
        self._changed: dict[str, None] = {}
        self._woken = asyncio.Event()

    def put(self, task_id: str) -> None:
        """Never waits; a task that is in line already keeps its place."""
        self._changed[task_id] = None
        self._woken.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> TaskChange:
        while not self._changed:
            self._woken.clear()
            await self._woken.wait()
        task_id = next(iter(self._changed))
        del self._changed[task_id]
        return TaskChange(task_id, self._seq_of(task_id))

    async def batch(self) -> list[TaskChange]:
        """All that have changed, as soon as one has; for those who look only now and then."""
        first = await anext(self)
        others = [TaskChange(task_id, self._seq_of(task_id)) for task_id in self._changed]
        self._changed.clear()
        return [first, *others]


class TaskRegistry:
    """Holds every task that lives; used on the event loop only."""

    def __init__(
        self,
        overlaps: Callable[[str, str], bool],
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``overlaps`` compares two real paths of sources; ``now`` is UTC in whole seconds."""
        self._overlaps = overlaps
        self._now = now
        self._monotonic = monotonic
        self._tasks: dict[str, LiveTask] = {}
        self._subscriptions: dict[Subscription, str | None] = {}
        self._stopping = False

    def create(
        self, source_path: str, real_path: str, options: ImportOptions, parent_id: str | None = None
    ) -> LiveTask:
        """A new pending task.

        Raises:
            TaskOverlapError: a task that is not at rest has the same or an overlapping source; names it.
            ServiceStoppingError: the service is shutting down.
        """
        if self._stopping:
            raise ServiceStoppingError("服务正在停止，不再接受新任务。请在服务重新启动后再试。")
        self.check_overlap(real_path)
        now = self._now()
        record = TaskRecord(self._new_id(now), source_path, options, TaskStatus.PENDING, now, parent_id=parent_id)
        return self._take_in(TaskStart(record, real_path))

    def restore(self, start: TaskStart) -> LiveTask:
        """Take in an unfinished task of an earlier process: interrupted, unless the operator had paused it."""
        record = start.record
        paused_by_user = record.status is TaskStatus.PAUSED and record.pause_reason is PauseReason.USER
        if not (record.status.ended or paused_by_user):
            record = replace(record, status=TaskStatus.INTERRUPTED, pause_reason=None)
        return self._take_in(replace(start, record=record))

    def _take_in(self, start: TaskStart) -> LiveTask:
        meter = ProgressMeter(self._monotonic, start.record.active_seconds or 0.0)
        task = LiveTask(start, self._now, meter, self._announce)
        self._tasks[task.task_id] = task
        self._announce(task.task_id)
        return task

    def check_overlap(self, real_path: str) -> None:
        """Raise TaskOverlapError where a task that is not at rest works on the same or an overlapping source."""
        for task in self._tasks.values():
            if not task.at_rest and self._overlaps(task.real_path, real_path):
                shown = display_path(task.record.source_path)
                message = f"任务 {task.task_id} 正在导入相同或重叠的文件夹 {shown}。请等它结束或取消它。"
                if task.status.ended:
                    message = f"任务 {task.task_id} 刚结束，正在收尾（{shown}）。请过几秒再试。"
                raise TaskOverlapError(message, task.task_id)

    def get(self, task_id: str) -> LiveTask:
        """Raises TaskNotFoundError for one that does not live (the history may have it)."""
        try:
            return self._tasks[task_id]
        except KeyError as error:
            raise TaskNotFoundError(f"没有这个任务：{display_path(task_id)}。") from error

    def live(self) -> list[LiveTask]:
        """Oldest first."""
        return list(self._tasks.values())

    def is_working(self) -> bool:
        """Whether a task runs."""
        return any(task.status is TaskStatus.RUNNING for task in self._tasks.values())

    def discard(self, task_id: str) -> None:
        """Let go of a task at rest; from now on the history answers for it."""
        task = self._tasks.get(task_id)
        if task is not None and task.at_rest:
            del self._tasks[task_id]

    def stop(self) -> None:
        """Take no new tasks, and stop the workers of all at their gates."""
        self._stopping = True
        for task in self.live():
            task.interrupt()

    @contextmanager
    def subscribe(self, task_id: str | None = None) -> Iterator[Subscription]:
        """Hear of one task's changes, or of all; begins with what changes from now on."""
        subscription = Subscription(self._seq_of)
        self._subscriptions[subscription] = task_id
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]

    def _announce(self, task_id: str) -> None:
        for subscription, wanted in self._subscriptions.items():
            if wanted is None or wanted == task_id:
                subscription.put(task_id)

    def _seq_of(self, task_id: str) -> int:
        task = self._tasks.get(task_id)
        return 0 if task is None else task.seq

    def _new_id(self, now: datetime) -> str:
        while True:
            task_id = f"dicom-import-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            if task_id not in self._tasks:
                return task_id
