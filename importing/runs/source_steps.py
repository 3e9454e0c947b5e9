"""A run's steps on its source, and the files of a retry. Functions without ``async`` run in a thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from domain.outcome_codes import NO_PIXEL_DATA
from errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError
from history import History
from models import OutcomeKind, ScanEvent, SourceFile, TaskRecord
from source import ResolvedSource, TreeRules, resolve_source, revisit

Item = TypeVar("Item")

RETRY_PAGE = 1_000
EVENTS_AT_ONCE = 512
PULL_SECONDS = 0.05


def resolve_present(path: str, rules: TreeRules) -> ResolvedSource:
    """The source as it is now.

    Raises:
        SourceVanishedError: it cannot be reached, or leads outside the allowed roots now.
    """
    try:
        return resolve_source(path, rules)
    except (SourceNotAllowedError, SourceNotFoundError) as error:
        raise SourceVanishedError(error.detail) from error


def with_current_size(source: SourceFile) -> SourceFile:
    """The file with its current size and time; unchanged if they cannot be read."""
    try:
        status = os.stat(source.path)
    except OSError:
        return source
    return SourceFile(source.path, source.month, source.patient_dir, status.st_size, status.st_mtime_ns)


def pull(items: Iterator[Item]) -> list[Item]:
    """The next few events of a walk, as many as come within a moment; none at its end."""
    begun = time.monotonic()
    pulled: list[Item] = []
    for item in islice(items, EVENTS_AT_ONCE):
        pulled.append(item)
        if time.monotonic() - begun > PULL_SECONDS:
            break
    return pulled


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
