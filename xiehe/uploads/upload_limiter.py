"""How many uploads may be in flight and how fast they may begin: fixed bounds, and adaptive ones that follow XieHe.

Both adaptive bounds grow additively and shrink multiplicatively (AIMD): the pace on 429/503, since one connection
alone can exceed the deployment's nginx limits; the concurrency on slow or missing answers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_WINDOW_S = 5.0
_CUT = 0.7
_CUT_PAUSE_S = 1.0
_MIN_PACE = 0.5
_GROWTH_PER_S = 0.5
_SLOW_FLOOR_S = 2.0
_SLOW_FACTOR = 4.0


class AdaptivePace:
    """Uploads begun per second. Times are seconds of one monotonic clock, handed in."""

    def __init__(self, ceiling: float | None) -> None:
        self._ceiling = ceiling
        self._adaptive: float | None = None
        self._starts: deque[float] = deque(maxlen=512)
        self._last_cut_s = -float("inf")
        self._grown_s = 0.0
        self._held_until_s = 0.0

    @property
    def per_second(self) -> float | None:
        """The bound in force, or None where there is none."""
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
        """XieHe asked for less: hold until Retry-After, and go on at a fraction of what was measured."""
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


class AdaptiveConcurrency:
    """Uploads in flight, from 1 to the configured bound."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._limit = float(bound)
        self._usual_s: float | None = None
        self._last_cut_s = -float("inf")

    @property
    def limit(self) -> int:
        """The bound in force, at least 1."""
        return int(self._limit)

    def measured(self, now_s: float, seconds: float, answered: bool) -> None:
        """One exchange took this long; a slow or unanswered one shrinks the limit, at most once per such duration."""
        usual_s = seconds if self._usual_s is None else self._usual_s
        if answered and seconds <= max(_SLOW_FLOOR_S, _SLOW_FACTOR * usual_s):
            self._usual_s = 0.9 * usual_s + 0.1 * seconds
            self._limit = min(float(self._bound), self._limit + 1 / self._limit)
        elif now_s - self._last_cut_s > max(seconds, _CUT_PAUSE_S):
            self._limit = max(1.0, self._limit * _CUT)
            self._last_cut_s = now_s


class UploadLimiter:
    """Admits uploads in the order in which they came."""

    def __init__(self, concurrency: int, per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = AdaptivePace(per_second)
        self._concurrency = AdaptiveConcurrency(concurrency)
        self._clock = clock
        self._turnstile = asyncio.Lock()
        self._freed = asyncio.Event()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Uploads under way."""
        return self._in_flight

    @property
    def concurrency_limit(self) -> int:
        """Uploads in flight at most, now."""
        return self._concurrency.limit

    @property
    def per_second(self) -> float | None:
        """Uploads begun per second at most, now; None for no bound."""
        return self._pace.per_second

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Held while one upload is under way."""
        await self._admit()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._freed.set()

    def throttled(self, retry_after_s: float | None) -> None:
        """XieHe answered 429 or 503."""
        self._pace.throttled(self._clock(), retry_after_s)

    def measured(self, seconds: float, answered: bool) -> None:
        """One exchange of an upload ended."""
        self._concurrency.measured(self._clock(), seconds, answered)

    async def _admit(self) -> None:
        async with self._turnstile:
            while self._in_flight >= self._concurrency.limit:
                self._freed.clear()
                await self._freed.wait()
            while (wait_s := self._pace.wait_s(self._clock())) > 0:  # noqa: ASYNC110 - a time, not an event
                await asyncio.sleep(wait_s)
            self._pace.began(self._clock())
            self._in_flight += 1
