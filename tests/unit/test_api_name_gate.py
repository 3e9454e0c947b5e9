"""Equal names pass one at a time and apart; other names are not kept waiting; memory stays bounded."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from tests.waiting import leaping
from xiehe.uploads.name_gate import NameGate

_GAP_S = 0.05


async def test_equal_names_pass_one_at_a_time_and_apart() -> None:
    gate, spans = NameGate(_GAP_S), list[tuple[float, float]]()

    async def attempt(name: str) -> None:
        async with gate.hold(name) as lease:
            await lease.ready()
            began = time.monotonic()
            await asyncio.sleep(0)
            spans.append((began, time.monotonic()))
            lease.ended()

    await asyncio.gather(*(attempt(name) for name in ("a.jpg", "A.JPG", "a.jpg")))
    assert all(later[0] - earlier[1] >= _GAP_S for earlier, later in itertools.pairwise(spans))


async def test_attempts_of_one_upload_are_apart_too() -> None:
    async with NameGate(_GAP_S).hold("a.jpg") as lease:
        await lease.ready()
        lease.ended()
        ended = time.monotonic()
        await lease.ready()
        assert time.monotonic() - ended >= _GAP_S


async def test_a_lost_upload_keeps_its_name_closed_until_it_can_no_longer_appear() -> None:
    gate = NameGate(0.0)
    async with gate.hold("a.jpg") as lease:
        lease.ended(late_commit_window_s=0.1)
    left = time.monotonic()
    async with gate.hold("a.jpg") as lease:
        await lease.ready()
    assert time.monotonic() - left >= 0.09


async def test_memory_does_not_grow_with_the_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    leap = leaping(monkeypatch)
    gate = NameGate(1.0)
    for number in range(2_000):
        if number % 10 == 0:
            await leap(1.0)
        async with gate.hold(f"{number}.jpg") as lease:
            lease.ended()
    assert len(gate._entries) < 600
