"""How tests wait: for what they can see, never for a time; and how long before they call it a hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

PATIENCE_S = 900.0
"""The deadline of each wait, for a machine with forty things to do at once. A wait ends when the event comes;
pytest's own limit (pyproject.toml) is longer, so that the place of a hang fails."""
POLL_S = 0.05
Leap = Callable[[float], Awaitable[None]]


def until(is_so: Callable[[], object]) -> None:
    """Returns when it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s"
        time.sleep(POLL_S)


async def async_until(is_so: Callable[[], object]) -> None:
    """As :func:`until`, for what another process does: the event loop goes on meanwhile."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - another process has no events for us
            await asyncio.sleep(0.01)


def leaping(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """So many seconds pass at once in this process, for the event loop too; returns when its timers have fired.

    So a time limit that is long enough for every machine can be reached by a test that does not wait.
    """
    ahead_s, real = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(ahead_s))

    async def leap(seconds: float) -> None:
        ahead_s.append(seconds)
        for _ in range(3):
            await asyncio.sleep(0)

    return leap
