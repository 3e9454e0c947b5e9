"""Tasks as operators see them, live or recorded, and their reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from history import History, IgnoredRow, ReportLine, TaskBreakdown
from models import Counts, FileOutcome, SkippedFolder, TaskRecord, TaskStatus
from tasks import LiveTask, Progress, TaskRegistry

_REPORT_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as it is now, live or recorded."""

    record: TaskRecord
    counts: Counts
    failures: tuple[FileOutcome, ...]
    progress: Progress
    pause_detail: str | None = None
    seq: int = 0
    current_folder: str | None = None
    skipped_folders_total: int = 0


class TaskArchive:
    """Answers for live tasks from memory, for all others from the history."""

    def __init__(self, history: History, registry: TaskRegistry) -> None:
        self._history = history
        self._registry = registry

    async def view(self, task_id: str) -> TaskView:
        """A task as it is now. Raises TaskNotFoundError."""
        if (task := self._registry.find(task_id)) is not None:
            return view_of(task)
        record = await self._history.get_task(task_id)
        counts = await self._history.counts(task_id)
        rows = await self._history.newest_failures(task_id)
        view = _recorded(record, counts, tuple(row.outcome for row in rows))
        return replace(view, skipped_folders_total=await self._history.skipped_folders_total(task_id))

    async def tasks(self, offset: int, limit: int) -> tuple[int, list[TaskView]]:
        """How many tasks there are, and a page of them, newest first, without failures and skipped folders."""
        total, records = await self._history.list_tasks(offset, limit)
        live = {task.task_id: task for task in self._registry.live()}
        counts = await self._history.counts_of([record.task_id for record in records if record.task_id not in live])
        views = [
            view_of(live[record.task_id])
            if record.task_id in live
            else _recorded(record, counts.get(record.task_id, Counts()), ())
            for record in records
        ]
        return total, views

    async def breakdown(self, task_id: str) -> TaskBreakdown:
        """By month, code and stage. Raises TaskNotFoundError."""
        await self.view(task_id)
        return await self._history.breakdown(task_id)

    async def report(self, task_id: str) -> AsyncIterator[list[ReportLine]]:
        """Every file that a task has scanned so far, in pages."""
        after = 0
        while lines := await self._history.report_lines(task_id, after, _REPORT_PAGE):
            yield lines
            after += len(lines)

    async def ignored(self, task_id: str) -> AsyncIterator[list[IgnoredRow]]:
        """Every ignored file of a task, in pages."""
        after = 0
        while rows := await self._history.ignored_rows(task_id, after, _REPORT_PAGE):
            yield rows
            after = rows[-1].number

    async def skipped(self, task_id: str) -> AsyncIterator[list[SkippedFolder]]:
        """Every folder that a task left out, in pages."""
        after = ""
        while folders := await self._history.skipped_folders(task_id, after, _REPORT_PAGE):
            yield folders
            after = folders[-1].path


def view_of(task: LiveTask) -> TaskView:
    """A live task as it is now."""
    return TaskView(
        task.record,
        task.counts,
        task.failures,
        task.progress,
        task.pause_detail,
        task.seq,
        task.current_folder,
        task.skipped_folders_total,
    )


def _recorded(record: TaskRecord, counts: Counts, failures: tuple[FileOutcome, ...]) -> TaskView:
    total = counts.total_files_scanned + counts.ignored_files
    percent = 100.0 if record.status is TaskStatus.COMPLETED else None
    return TaskView(record, counts, failures, Progress(percent, 0.0, None, total, True))
