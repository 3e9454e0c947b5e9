"""Records which root a run's outcomes count for, and which months it walked."""

from __future__ import annotations

from history import History, TaskScope
from importing.runs.run_context import RunContext
from importing.threads import for_walk
from source import ResolvedSource, SourceKind, TreeRules, month_at, month_folders, place_of

_FOLDERS_AT_ONCE = 1_000
OUTSIDE_MONTHS = ""
"""Files in a root itself, outside any month."""


class MonthWalk:
    """Records a run's part in the months; a dry run has none."""

    def __init__(self, history: History, rules: TreeRules) -> None:
        self._history = history
        self._rules = rules

    async def begin(self, context: RunContext, source: ResolvedSource) -> None:
        """Counts the run's outcomes from now on. Raises as RunContext.retry_after_pause."""
        if context.options.dry_run:
            return
        root_path = place_of(source.path, self._rules).root_path
        scope = TaskScope(context.tools.backend_url, root_path, _walks_months(context, source))
        await context.retry_after_pause(lambda: self._history.count_on_board(context.task.task_id, scope))

    async def finish(self, context: RunContext, source: ResolvedSource) -> None:
        """Marks months as walked if all their folders could be read. Raises as RunContext.retry_after_pause."""
        task = context.task
        if context.options.dry_run or not _walks_months(context, source):
            return
        met = {
            tally.month
            for tally in (await context.retry_after_pause(lambda: self._history.breakdown(task.task_id))).tallies
        }
        on_disk = set(await context.retry_after_pause(lambda: for_walk(month_folders, source, self._rules)))
        months = met | {folder.month for folder in on_disk}
        beside = {OUTSIDE_MONTHS} if source.kind is SourceKind.ROOT else set[str]()
        if source.kind is SourceKind.ROOT and on_disk:  # a root without any month may be a share that is not mounted
            months |= await context.retry_after_pause(lambda: self._recorded(context.tools.backend_url, source.path))
        skipped = await context.retry_after_pause(lambda: self._months_not_read(task.task_id, source))
        walked = {month for month in months - skipped if month} | beside
        await context.retry_after_pause(lambda: self._history.end_walk(task.task_id, walked))

    async def _months_not_read(self, task_id: str, source: ResolvedSource) -> set[str | None]:
        """Months with a folder that the walk skipped."""
        months, after = set[str | None](), ""
        while folders := await self._history.skipped_folders(task_id, after, _FOLDERS_AT_ONCE):
            months |= {month_at(folder.path, source, self._rules) for folder in folders}
            after = folders[-1].path
        return months

    async def _recorded(self, backend_url: str, root_path: str) -> set[str | None]:
        """The root's recorded months, also those whose folders are gone."""
        return {entry.month for entry in await self._history.month_sums(backend_url) if entry.root_path == root_path}


def _walks_months(context: RunContext, source: ResolvedSource) -> bool:
    """Whether it walks whole months: not a retry, nor an import of one patient."""
    return context.task.record.parent_id is None and source.kind is not SourceKind.PATIENT
