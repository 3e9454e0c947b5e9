"""The files of a retry: those that failed in its parent, as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from domain.outcome_codes import NO_PIXEL_DATA
from history import History
from models import OutcomeKind, ScanEvent, TaskRecord
from source import ResolvedSource, TreeRules, revisit

RETRY_PAGE = 1_000


async def count_to_retry(history: History, parent_id: str, code: str | None) -> int:
    """How many failed files of a task a retry with that code would import. Raises TaskNotFoundError."""
    tallies = (await history.breakdown(parent_id)).tallies
    failed = [tally for tally in tallies if tally.kind is OutcomeKind.FAILED]
    return sum(t.files for t in failed if t.code == code or (code is None and t.code != NO_PIXEL_DATA))


class FilesToRetry:
    """The parent's failed files: those of the requested code, or all that have pixels."""

    def __init__(self, history: History, child: TaskRecord, rules: TreeRules) -> None:
        self._history = history
        self._parent_id = child.parent_id or ""
        self._code = child.options.retry_code
        self._rules = rules

    async def count(self) -> int:
        """How many there are."""
        return await count_to_retry(self._history, self._parent_id, self._code)

    def events(self, source: ResolvedSource) -> Iterator[ScanEvent]:
        """Reads page by page. Call it on the event loop, and iterate in a thread."""
        return self._pages(source, asyncio.get_running_loop())

    def _pages(self, source: ResolvedSource, loop: asyncio.AbstractEventLoop) -> Iterator[ScanEvent]:
        after = 0
        while True:
            wanted = self._history.failed_sources(self._parent_id, self._code, after, RETRY_PAGE)
            page = asyncio.run_coroutine_threadsafe(wanted, loop).result()
            if not page:
                return
            yield from (revisit(failed.path, source, self._rules) for failed in page)
            after = page[-1].number
