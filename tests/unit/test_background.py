"""Background jobs are supervised: a defect in one is logged, restarts that one with back-off, and shows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from importing.background.scheduler import Clock
from importing.background.supervisor import BackOff, JobState, Supervisor
from tests.waiting import PATIENCE_S

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class StoppedClock:
    """Time passes in sleeps only; each sleep is a turn of the event loop and is noted."""

    def __init__(self) -> None:
        self.time = NOON
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)


class FailingJob:
    """Raises in its first ``times`` runs, then works until it is cancelled."""

    def __init__(self, times: int, error: Callable[[], BaseException] = lambda: RuntimeError("张三 19800101")) -> None:
        self.left = times
        self.error = error
        self.works = asyncio.Event()
        self.cancelled = False

    async def run(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error()
        self.works.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


async def test_a_job_that_fails_restarts_with_growing_pauses_and_the_others_go_on() -> None:
    time, failing, sound = StoppedClock(), FailingJob(5), FailingJob(0)
    supervisor = Supervisor(BackOff(first_s=1, max_s=6), time.clock)
    async with supervisor.background_task("sound", sound.run), supervisor.background_task("failing", failing.run):
        await soon(failing.works)
        first, second = supervisor.jobs()
        assert not sound.cancelled

    assert time.pauses == [1, 2, 4, 6, 6]
    assert (first.name, first.state, first.since, first.restarts) == ("sound", JobState.RUNNING, NOON, 0)
    assert (second.name, second.state, second.restarts) == ("failing", JobState.RUNNING, 5)
    assert second.since == NOON + timedelta(seconds=19)
    assert sound.cancelled
    assert failing.cancelled
    assert supervisor.jobs() == []


async def test_a_job_shows_while_it_waits_for_its_restart() -> None:
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    supervisor = Supervisor(clock=Clock(lambda: NOON, sleep))
    async with supervisor.background_task("job", FailingJob(1).run):
        await soon(asleep)
        (job,) = supervisor.jobs()
    assert (job.state, job.since, job.restarts) == (JobState.WAITING, NOON, 0)


async def test_a_long_sound_run_resets_the_back_off() -> None:
    time, job = StoppedClock(), FailingJob(4)

    async def run() -> None:
        if job.left == 1:
            time.time += timedelta(seconds=6)
        await job.run()

    supervisor = Supervisor(BackOff(first_s=1, max_s=6), time.clock)
    async with supervisor.background_task("job", run):
        await soon(job.works)
    assert time.pauses == [1, 2, 4, 1]


def returns(job: FailingJob) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        if job.left:
            job.left -= 1
            return
        await job.run()

    return run()


def fails_to_be_made(job: FailingJob) -> Coroutine[Any, Any, None]:
    if job.left:
        job.left -= 1
        raise TypeError
    return job.run()


def fails_in_a_group(job: FailingJob) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(job.run())

    return run()


def cancels_itself(job: FailingJob) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        if job.left:
            job.left -= 1
            raise asyncio.CancelledError
        await job.run()

    return run()


@pytest.mark.parametrize("make", [returns, fails_to_be_made, fails_in_a_group, cancels_itself])
async def test_however_a_job_ends_it_restarts(make: Callable[[FailingJob], Coroutine[Any, Any, None]]) -> None:
    time, job = StoppedClock(), FailingJob(3)
    supervisor = Supervisor(clock=time.clock)
    async with supervisor.background_task("job", lambda: make(job)):
        await soon(job.works)
    assert time.pauses == [1, 2, 4]


async def test_the_log_has_the_traceback_and_not_the_message(caplog: pytest.LogCaptureFixture) -> None:
    def defect() -> BaseException:
        error = ExceptionGroup("李四", [ValueError("张三")])
        error.__cause__ = KeyError("王五")
        return error

    time, job = StoppedClock(), FailingJob(1, defect)
    with caplog.at_level(logging.CRITICAL):
        async with Supervisor(clock=time.clock).background_task("pause_watch", job.run):
            await soon(job.works)
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert "job=pause_watch" in caplog.text
    assert "restart in 1.0 s" in caplog.text
    for words in ("Traceback", "in run", "raise self.error()", "ExceptionGroup", "ValueError", "KeyError"):
        assert words in caplog.text
    for name in ("张三", "李四", "王五"):
        assert name not in caplog.text


async def test_a_stop_in_the_midst_of_a_pause_ends_at_once() -> None:
    supervisor = Supervisor(BackOff(first_s=3600, max_s=3600))
    job = FailingJob(1)
    async with asyncio.timeout(PATIENCE_S), supervisor.background_task("job", job.run):
        while supervisor.jobs()[0].state is not JobState.WAITING:  # noqa: ASYNC110 - a state is no event
            await asyncio.sleep(0)
    assert supervisor.jobs() == []


def test_a_pause_never_overflows() -> None:
    assert BackOff().after(10_000) == 300
