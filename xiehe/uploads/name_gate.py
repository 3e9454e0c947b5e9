"""C1/C2: uploads of one stored name never overlap and begin more than a second apart, across patients.

XieHe's stored path is name + whole second. Equal names within a second overwrite each other's images, and a failing
upload deletes the good one's.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_SWEEP_AT = 256


@dataclass(slots=True)
class _Entry:
    free_at_s: float
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class NameLease:
    """The sole right to upload under one name. Call ``ready`` before and ``ended`` after each attempt."""

    def __init__(self, entry: _Entry, gap_s: float) -> None:
        self._entry = entry
        self._gap_s = gap_s

    async def ready(self) -> None:
        """Wait until an attempt may begin."""
        while (wait_s := self._entry.free_at_s - time.monotonic()) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
            await asyncio.sleep(wait_s)

    def ended(self, late_commit_window_s: float = 0.0) -> None:
        """An attempt has ended, or may still take effect for ``late_commit_window_s``; the gap follows."""
        self._entry.free_at_s = time.monotonic() + late_commit_window_s + self._gap_s


class NameGate:
    """A lock for each name. The first gap counts from the start: an earlier process may have uploaded just before."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._first_s = time.monotonic() + gap_s
        self._entries: dict[str, _Entry] = {}
        self._sweep_at = _SWEEP_AT

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[NameLease]:
        """Waits for this name and holds it. Case and Unicode form do not count, as on a disk."""
        key = unicodedata.normalize("NFC", name).casefold()
        entry = self._entries.setdefault(key, _Entry(self._first_s))
        entry.users += 1
        try:
            async with entry.lock:
                yield NameLease(entry, self._gap_s)
        finally:
            entry.users -= 1
            self._sweep()

    def _sweep(self) -> None:
        """Forgets names with an expired gap; rarely, so that it costs nothing per upload."""
        if len(self._entries) < self._sweep_at:
            return
        now_s = time.monotonic()
        self._entries = {k: e for k, e in self._entries.items() if e.users or e.free_at_s > now_s}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._entries))
