"""Limits reports, so that an import beside many downloads keeps most of the CPU time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

_PAUSE_FACTOR = 9.0
"""Pause after a page while a task runs, as a multiple of the time for the page."""
_MAX_PAUSE_S = 1.0
"""The longest pause: a page may have waited for a thread or a disk."""


class ReportTurns:
    """Makes one page of all reports at a time, and for a tenth of the time while a task runs.

    Threads make the pages, and threads compete with the event loop, which the import needs.
    """

    def __init__(self, task_runs: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._task_runs = task_runs
        self._clock = clock
        self._turn = asyncio.Semaphore(1)

    async def in_turn(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of one report. Raises what ``pieces`` raises."""
        while (piece := await self._next(pieces)) is not None:
            yield piece

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        async with self._turn:
            began = self._clock()
            piece = await anext(pieces, None)
            if self._task_runs():
                await asyncio.sleep(min(_MAX_PAUSE_S, _PAUSE_FACTOR * (self._clock() - began)))
            return piece
