"""The months and how far each is imported: the history's sums, the folders on disk, and the tasks that run now.

Each file counts with its latest outcome over all tasks but dry runs. A file that was imported stays counted when it
vanishes from disk; a failed one counts until a task has gone through its whole month without meeting it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.outcome_codes import NO_PIXEL_DATA
from history import MonthMark, MonthSum
from importing.months.months_on_disk import DiskMonths, months_on_disk
from importing.runs.run_context import ImportTools
from models import OutcomeKind, TaskStatus
from source import SourceKind, TreeRules, allowed_path, place_of
from tasks import LiveTask, TaskRegistry

_Key = tuple[str, str | None]
"""A root and a month in it; None for files outside any month."""


class MonthState(StrEnum):
    """How far a month is imported."""

    DONE = "done"
    """Files were imported, none failed but those without an image, and a task walked the whole month."""
    PARTIAL = "partial"
    """It has failures, or no task walked it to its end."""
    RUNNING = "running"
    """A live task imports it now."""
    WAITING = "waiting"
    """Such a task is paused, or has not started."""
    NOT_IMPORTED = "not_imported"
    """On disk, without any outcome yet."""


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """One month over all requested roots; ``on_disk`` is None if it is unknown."""

    month: str | None
    state: MonthState
    files: int
    imported: int
    failed: int
    held: int
    no_pixel: int
    on_disk: bool | None
    source_paths: tuple[str, ...]
    last_task_id: str | None
    last_imported_at: datetime | None
    by_code: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Part:
    """One root's month."""

    sums: list[MonthSum] = field(default_factory=list)
    mark: MonthMark | None = None
    path: str | None = None
    on_disk: bool | None = None
    states: set[MonthState] = field(default_factory=set)
    left_behind: bool = False

    @property
    def walked_whole(self) -> bool:
        """Whether a task walked all of it. A running task that has left it counts as well."""
        return self.left_behind or (self.mark is not None and self.mark.walked_whole)


class MonthOverview:
    """Lists the months."""

    def __init__(self, tools: ImportTools, registry: TaskRegistry, rules: TreeRules) -> None:
        self._history = tools.history
        self._backend_url = tools.backend_url
        self._looks = tools.looks
        self._registry = registry
        self._rules = rules

    async def months(self, root: str | None) -> list[MonthStatus]:
        """Newest first, files outside any month last. ``root`` None means every root.

        Raises:
            SourceNotAllowedError, SourceNotFoundError, SourceUnavailableError: the root is not allowed, no path, or
                cannot be read.
            HistoryError: the history cannot be read.
        """
        wanted = None if root is None else (await self._looks.look(allowed_path, root, self._rules))[0]
        parts = await self._recorded()
        self._add_disk(parts, await months_on_disk(self._looks, self._rules, {root_path for root_path, _ in parts}))
        await self._add_tasks(parts)
        months: dict[str | None, list[_Part]] = {}
        for key, part in sorted(parts.items(), key=lambda item: item[0][0]):
            if wanted is None or self._is_in(key, wanted):
                months.setdefault(key[1], []).append(part)
        statuses = [_status_of(month, found) for month, found in months.items()]
        return sorted(statuses, key=lambda entry: entry.month or "", reverse=True)

    async def _recorded(self) -> dict[_Key, _Part]:
        parts: dict[_Key, _Part] = {}
        for entry in await self._history.month_sums(self._backend_url):
            parts.setdefault((entry.root_path, entry.month), _Part()).sums.append(entry)
        for mark in await self._history.month_marks(self._backend_url):
            if part := parts.get((mark.root_path, mark.month)):
                part.mark = mark
        for (root_path, month), part in parts.items():
            part.path = root_path if month is None else self._month_path(root_path, month)
        return parts

    def _add_disk(self, parts: dict[_Key, _Part], disk: DiskMonths) -> None:
        for folder in disk.folders:
            part = parts.setdefault((place_of(folder.path, self._rules).root_path, folder.month), _Part())
            part.path, part.on_disk = folder.path, True
        for (root_path, month), part in parts.items():
            if part.on_disk is None and month is not None and root_path in disk.whole_roots:
                part.on_disk = False

    async def _add_tasks(self, parts: Mapping[_Key, _Part]) -> None:
        tasks = [task for task in self._registry.live() if not (task.status.ended or task.record.options.dry_run)]
        newest = await self._history.newest_months([task.task_id for task in tasks])
        for task in tasks:
            place = place_of(task.record.source_path, self._rules)
            state = MonthState.RUNNING if task.status is TaskStatus.RUNNING else MonthState.WAITING
            here = {place.month} if place.month else _months_now(task, newest)
            for (root_path, month), part in parts.items():
                if root_path == place.root_path and (month in here if here is not None else month is not None):
                    part.states.add(state)
                elif place.kind is SourceKind.ROOT and _has_left(task, part):
                    part.left_behind = True

    def _is_in(self, key: _Key, wanted: str) -> bool:
        place = place_of(wanted, self._rules)
        return key[0] == place.root_path and place.month in (None, key[1])

    def _month_path(self, root_path: str, month: str) -> str:
        year, number = month.split("-")
        return os.path.join(root_path, datetime(int(year), int(number), 1).strftime(self._rules.month_folder_format))


def _months_now(task: LiveTask, newest: Mapping[str, str | None]) -> set[str | None] | None:
    """The months that a task on a root imports now; None, for all, before it has started."""
    if task.months_in_progress:
        return {month or None for month in task.months_in_progress}
    if task.task_id in newest:
        return {newest[task.task_id]}
    return set() if task.status is TaskStatus.RUNNING else None


def _has_left(task: LiveTask, part: _Part) -> bool:
    """Whether the task has been there. A retry visits failed files only."""
    whole = task.record.parent_id is None
    return whole and part.mark is not None and part.mark.last_task_id == task.task_id


def _status_of(month: str | None, parts: Sequence[_Part]) -> MonthStatus:
    sums = [entry for part in parts for entry in part.sums]
    codes = Counter[str]()
    for entry in sums:
        codes[entry.code] += entry.files
    newest = max((part.mark for part in parts if part.mark and part.mark.last_task_id), key=_when, default=None)
    failed = [entry for entry in sums if entry.kind is OutcomeKind.FAILED]
    return MonthStatus(
        month=month,
        state=_state(parts, sums),
        files=_files(sums),
        imported=_files(sums) - _files(failed),
        failed=_files(failed),
        held=_files(entry for entry in failed if entry.held),
        no_pixel=codes[NO_PIXEL_DATA],
        on_disk=_on_disk(parts),
        source_paths=tuple(part.path for part in parts if part.path and part.on_disk is not False),
        last_task_id=newest.last_task_id if newest else None,
        last_imported_at=max((m.last_imported_at for p in parts if (m := p.mark) and m.last_imported_at), default=None),
        by_code=tuple(sorted((code, files) for code, files in codes.items() if files)),
    )


def _state(parts: Sequence[_Part], sums: Sequence[MonthSum]) -> MonthState:
    for state in (MonthState.RUNNING, MonthState.WAITING):
        if any(state in part.states for part in parts):
            return state
    if not sums:
        return MonthState.NOT_IMPORTED
    imported = any(entry.kind is not OutcomeKind.FAILED for entry in sums)
    troubled = any(entry.kind is OutcomeKind.FAILED and entry.code != NO_PIXEL_DATA for entry in sums)
    whole = all(part.walked_whole for part in parts)
    return MonthState.DONE if imported and whole and not troubled else MonthState.PARTIAL


def _files(sums: Iterable[MonthSum]) -> int:
    return sum(entry.files for entry in sums)


def _on_disk(parts: Sequence[_Part]) -> bool | None:
    known = {part.on_disk for part in parts}
    return True if True in known else None if None in known else False


def _when(mark: MonthMark) -> str:
    """A task id begins with its time."""
    return mark.last_task_id or ""
