"""What a run tells the month board: which root its outcomes count for, and which months it went through."""

from __future__ import annotations

from history import History, TaskScope
from importing.runs.run_context import RunContext
from importing.threads import for_walk
from source import ResolvedSource, SourceKind, TreeRules, month_at, month_folders, place_of

_FOLDERS_AT_ONCE = 1_000
BESIDE_THE_MONTHS = ""
"""What lies in a root itself, in no month."""


class MonthWalk:
    """The runs' door to the month board; a dry run passes it by."""

    def __init__(self, history: History, rules: TreeRules) -> None:
        self._history = history
        self._rules = rules

    async def begin(self, context: RunContext, source: ResolvedSource) -> None:
        """The run's outcomes count from now on. Raises as RunContext.retry_after_pause."""
        if context.options.dry_run:
            return
        root_path = place_of(source.path, self._rules).root_path
        scope = TaskScope(context.tools.backend_url, root_path, _goes_through_months(context, source))
        await context.retry_after_pause(lambda: self._history.count_on_board(context.task.task_id, scope))

    async def finish(self, context: RunContext, source: ResolvedSource) -> None:
        """Every file has its outcome: months whose folders could all be read have been gone through, be they empty.

        Raises as RunContext.retry_after_pause.
        """
        task = context.task
        if context.options.dry_run or not _goes_through_months(context, source):
            return
        met = {
            tally.month
            for tally in (await context.retry_after_pause(lambda: self._history.breakdown(task.task_id))).tallies
        }
        on_disk = set(await context.retry_after_pause(lambda: for_walk(month_folders, source, self._rules)))
        months = met | {folder.month for folder in on_disk}
        beside = {BESIDE_THE_MONTHS} if source.kind is SourceKind.ROOT else set[str]()
        if source.kind is SourceKind.ROOT and on_disk:  # a root without any month may be a share that is not mounted
            months |= await context.retry_after_pause(lambda: self._remembered(context.tools.backend_url, source.path))
        skipped = await context.retry_after_pause(lambda: self._months_not_read(task.task_id, source))
        walked = {month for month in months - skipped if month} | beside
        await context.retry_after_pause(lambda: self._history.end_walk(task.task_id, walked))

    async def _months_not_read(self, task_id: str, source: ResolvedSource) -> set[str | None]:
        """Months with a folder that the walk left out."""
        months, after = set[str | None](), ""
        while folders := await self._history.skipped_folders(task_id, after, _FOLDERS_AT_ONCE):
            months |= {month_at(folder.path, source, self._rules) for folder in folders}
            after = folders[-1].path
        return months

    async def _remembered(self, backend_url: str, root_path: str) -> set[str | None]:
        """The root's months on the board, those too whose folders have gone."""
        return {entry.month for entry in await self._history.month_sums(backend_url) if entry.root_path == root_path}


def _goes_through_months(context: RunContext, source: ResolvedSource) -> bool:
    """Neither a retry nor the import of one patient does."""
    return context.task.record.parent_id is None and source.kind is not SourceKind.PATIENT
