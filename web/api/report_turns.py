"""Reports beside an import: however many are downloaded, they leave the import most of the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

_REST = 9.0
"""Rest after a page while a task runs, in times of what the page took."""
_REST_S = 1.0
"""At most: what a page took may be the time that it waited for a thread or a disk."""


class ReportTurns:
    """One page of all reports is made at a time; while a task runs, that takes a tenth of the time.

    Pages are made in threads, which take turns with the event loop. Without turns, many downloads leave the event loop
    a small part of the time, and the import with it.
    """

    def __init__(self, task_runs: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._task_runs = task_runs
        self._clock = clock
        self._turn = asyncio.Semaphore(1)

    async def in_turn(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of one report. Raises what making them raises."""
        while (piece := await self._next(pieces)) is not None:
            yield piece

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        async with self._turn:
            began = self._clock()
            piece = await anext(pieces, None)
            if self._task_runs():
                await asyncio.sleep(min(_REST_S, _REST * (self._clock() - began)))
            return piece
