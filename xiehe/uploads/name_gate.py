"""C1/C2: uploads of one stored name never overlap and begin more than a second apart, across patients.

The stored path there is name + whole second: equal names within a second overwrite each other's pictures, and a failing
upload deletes the good one's. Other names go by freely.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_SWEEP_AT = 256


@dataclass(slots=True)
class _Entry:
    free_at_s: float
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class NameLease:
    """The sole right to upload under one name. Each attempt is announced with ``ready`` and ended with ``ended``."""

    def __init__(self, entry: _Entry, gap_s: float, clock: Callable[[], float]) -> None:
        self._entry = entry
        self._gap_s = gap_s
        self._clock = clock

    async def ready(self) -> None:
        """Wait until an attempt may begin."""
        while (wait_s := self._entry.free_at_s - self._clock()) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
            await asyncio.sleep(wait_s)

    def ended(self, late_commit_window_s: float = 0.0) -> None:
        """An attempt is over, or may go on unseen for ``late_commit_window_s``; the second counts from its end."""
        self._entry.free_at_s = self._clock() + late_commit_window_s + self._gap_s


class NameGate:
    """One turn at a time for each name. Before the first attempt a whole gap passes since the gate was made, for the
    sake of a process that died a moment ago."""

    def __init__(self, gap_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = gap_s
        self._clock = clock
        self._first_s = clock() + gap_s
        self._entries: dict[str, _Entry] = {}
        self._sweep_at = _SWEEP_AT

    @property
    def remembered(self) -> int:
        """Names held in memory."""
        return len(self._entries)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[NameLease]:
        """Wait for, and hold, the turn of this name (compared without case and Unicode form, as a disk may)."""
        key = unicodedata.normalize("NFC", name).casefold()
        entry = self._entries.setdefault(key, _Entry(self._first_s))
        entry.users += 1
        try:
            async with entry.lock:
                yield NameLease(entry, self._gap_s, self._clock)
        finally:
            entry.users -= 1
            self._sweep()

    def _sweep(self) -> None:
        """Forget names whose second is over; done rarely enough to cost nothing per upload."""
        if len(self._entries) < self._sweep_at:
            return
        now_s = self._clock()
        self._entries = {k: e for k, e in self._entries.items() if e.users or e.free_at_s > now_s}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._entries))
