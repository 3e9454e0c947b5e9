"""What a run tells the month board: which root its outcomes count for, and which months it went through."""

from __future__ import annotations

from history import History
from importing.run_context import RunContext
from models import TaskScope
from source_tree import ResolvedSource, SourceKind, TreeRules, month_at, place_of

BESIDE_THE_MONTHS = ""
"""What lies in a root itself, in no month."""


class MonthWalk:
    """The runs' door to the month board; a dry run passes it by."""

    def __init__(self, history: History, rules: TreeRules) -> None:
        self._history = history
        self._rules = rules

    async def begin(self, context: RunContext, source: ResolvedSource) -> None:
        """The run's outcomes count from now on. Raises as RunContext.steadily."""
        if context.options.dry_run:
            return
        scope = TaskScope(context.tools.backend_url, place_of(source.path, self._rules).root_path)
        await context.steadily(lambda: self._history.count_on_board(context.task.task_id, scope))

    async def finish(self, context: RunContext, source: ResolvedSource) -> None:
        """Every file has its outcome: months whose folders could all be read have been gone through.

        Neither a retry nor the import of one patient goes through a month. Raises as RunContext.steadily.
        """
        task = context.task
        if context.options.dry_run or task.record.parent_id is not None or source.kind is SourceKind.PATIENT:
            return
        tallies = (await context.steadily(lambda: self._history.breakdown(task.task_id))).tallies
        skipped = {month_at(folder.path, source, self._rules) for folder in task.record.skipped_folders}
        months = {tally.month for tally in tallies if tally.month} - skipped
        beside = {BESIDE_THE_MONTHS} if source.kind is SourceKind.ROOT else set[str]()
        walked = {month for month in months if month} | beside
        await context.steadily(lambda: self._history.end_walk(task.task_id, walked))
