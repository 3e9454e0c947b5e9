"""How many uploads may be in flight, and how fast they may begin."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_WINDOW_S = 5.0
_CUT = 0.7
_CUT_PAUSE_S = 1.0
_MIN_PACE = 0.5
_GROWTH_PER_S = 0.5


class AdaptivePace:
    """Uploads begun per second. Times are seconds of one monotonic clock, handed in.

    The bound grows additively, and shrinks multiplicatively on 429 and 503 (AIMD): one connection alone can exceed
    the limits of the deployment's nginx.
    """

    def __init__(self, ceiling: float | None) -> None:
        self._ceiling = ceiling
        self._adaptive: float | None = None
        self._starts: deque[float] = deque(maxlen=512)
        self._last_cut_s = -float("inf")
        self._grown_s = 0.0
        self._held_until_s = 0.0

    @property
    def per_second(self) -> float | None:
        """The bound in force, or None for none."""
        bounds = [bound for bound in (self._ceiling, self._adaptive) if bound is not None]
        return min(bounds) if bounds else None

    def wait_s(self, now_s: float) -> float:
        """How long the next upload has to wait."""
        self._grow(now_s)
        held = self._held_until_s - now_s
        pace = self.per_second
        spaced = self._starts[-1] + 1 / pace - now_s if pace is not None and self._starts else 0.0
        return max(0.0, held, spaced)

    def began(self, now_s: float) -> None:
        """An upload begins."""
        self._starts.append(now_s)

    def throttled(self, now_s: float, retry_after_s: float | None) -> None:
        """XieHe asked for less: wait until Retry-After, then continue at a fraction of the measured pace."""
        self._held_until_s = max(self._held_until_s, now_s + (retry_after_s or 0.0))
        if now_s - self._last_cut_s < _CUT_PAUSE_S:
            return
        measured = self._measured(now_s)
        base = measured if self._adaptive is None else min(self._adaptive, measured)
        self._adaptive = max(_MIN_PACE, base * _CUT)
        self._last_cut_s = self._grown_s = now_s

    def _measured(self, now_s: float) -> float:
        """Uploads begun per second lately, at least 1: a single refusal says nothing about a pace."""
        recent = [start for start in self._starts if start > now_s - _WINDOW_S]
        return max(1.0, len(recent) / max(1.0, now_s - recent[0])) if recent else 1.0

    def _grow(self, now_s: float) -> None:
        if self._adaptive is None:
            return
        self._adaptive += _GROWTH_PER_S * max(0.0, now_s - self._grown_s)
        self._grown_s = now_s
        quiet_s = now_s - self._last_cut_s
        if quiet_s > 4 * _WINDOW_S and self._adaptive > 2 * self._measured(now_s):
            self._adaptive = None


class UploadLimiter:
    """Admits uploads in the order in which they came."""

    def __init__(self, concurrency: int, per_second: float | None) -> None:
        self.concurrency_limit = concurrency
        self._free = asyncio.Semaphore(concurrency)
        self._pace = AdaptivePace(per_second)
        self._pace_lock = asyncio.Lock()

    @property
    def per_second(self) -> float | None:
        """Uploads begun per second at most, now; None for no bound."""
        return self._pace.per_second

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Held while one upload is under way."""
        async with self._free:
            async with self._pace_lock:
                while (wait_s := self._pace.wait_s(time.monotonic())) > 0:  # noqa: ASYNC110 - a time, not an event
                    await asyncio.sleep(wait_s)
                self._pace.began(time.monotonic())
            yield

    def throttled(self, retry_after_s: float | None) -> None:
        """XieHe answered 429 or 503."""
        self._pace.throttled(time.monotonic(), retry_after_s)
