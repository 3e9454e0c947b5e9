"""The limits of uploads: slower after a refusal, faster after quiet; never nothing, never more than configured."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.waiting import PATIENCE_S
from xiehe.uploads.upload_limiter import AdaptivePace, UploadLimiter


def _steady(pace: AdaptivePace, per_second: float, from_s: float, to_s: float) -> None:
    now = from_s
    while now < to_s:
        pace.began(now)
        now += 1 / per_second


def test_pace_is_unbounded_until_xiehe_refuses() -> None:
    pace = AdaptivePace(None)
    _steady(pace, 50, 0, 5)
    assert pace.per_second is None
    assert pace.wait_s(5.0) == 0.0


def test_refusal_cuts_below_what_was_measured() -> None:
    pace = AdaptivePace(None)
    _steady(pace, 10, 0, 5)
    pace.throttled(5.0, None)
    assert pace.per_second == pytest.approx(7, rel=0.1)


def test_a_burst_of_refusals_cuts_once() -> None:
    pace = AdaptivePace(None)
    _steady(pace, 10, 0, 5)
    for _ in range(20):
        pace.throttled(5.0, None)
    assert pace.per_second == pytest.approx(7, rel=0.1)


def test_pace_recovers_and_the_bound_goes_when_it_no_longer_binds() -> None:
    pace = AdaptivePace(None)
    _steady(pace, 10, 0, 5)
    pace.throttled(5.0, None)
    pace.wait_s(9.0)
    assert (pace.per_second or 0) == pytest.approx(9, rel=0.1)
    _steady(pace, 1, 10, 40)
    pace.wait_s(40.0)
    assert pace.per_second is None


def test_pace_never_falls_to_nothing() -> None:
    pace = AdaptivePace(None)
    for second in range(0, 100, 2):
        pace.throttled(float(second), None)
    assert (pace.per_second or 0) >= 0.5


def test_retry_after_holds_the_next_upload() -> None:
    pace = AdaptivePace(None)
    pace.throttled(10.0, 30.0)
    assert pace.wait_s(15.0) == pytest.approx(25.0)


def test_configured_rate_is_never_exceeded() -> None:
    pace = AdaptivePace(4.0)
    pace.began(0.0)
    assert pace.wait_s(0.05) == pytest.approx(0.2)
    pace.throttled(0.1, None)
    pace.wait_s(1000.0)
    assert pace.per_second == 4.0


async def test_no_more_slots_than_configured_and_all_are_served() -> None:
    limiter, in_flight, most, served = UploadLimiter(3, None), 0, 0, 0

    async def one() -> None:
        nonlocal in_flight, most, served
        async with limiter.slot():
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1
            served += 1

    await asyncio.gather(*(one() for _ in range(30)))
    assert (most, served) == (3, 30)


async def test_a_cancelled_waiter_leaves_the_way_free() -> None:
    limiter = UploadLimiter(1, None)
    async with limiter.slot():
        waiter = asyncio.create_task(_hold(limiter))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    await asyncio.wait_for(_hold(limiter), PATIENCE_S)


async def _hold(limiter: UploadLimiter) -> None:
    async with limiter.slot():
        pass


async def test_configured_rate_spaces_uploads() -> None:
    limiter = UploadLimiter(10, 50.0)
    began = time.monotonic()
    await asyncio.gather(*(_hold(limiter) for _ in range(11)))
    assert time.monotonic() - began >= 0.19
