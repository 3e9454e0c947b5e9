"""While no upload works, one attempt a time finds out when they work again; a bad file fails alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from errors import (
    BackendAuthError,
    BackendError,
    BackendUnavailableError,
    CallEvidence,
    UploadRejectedError,
    UploadUnavailableError,
)
from importing.uploads.outage_breaker import OutageBreaker, Uploader
from models import PauseReason
from tasks import TaskStopped
from tests.waiting import PATIENCE_S

GAP_S = 15.0
HOUR_S = 3600.0
_CREATE = CallEvidence("POST", "/api/v1/upload/sessions", 502)
_COMPLETE = CallEvidence("POST", "/api/v1/upload/sessions/abc/complete", 502)


class Clock:
    """Goes only where it is put."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Task:
    """As much of a live task as the breaker sees."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.pause_reasons: tuple[PauseReason, ...] = ()
        self.shown: list[str] = []
        self.stopped = False

    def pause(self, error: BackendError, detail: str) -> None:
        self.shown.append(detail)

    def check_alive(self) -> None:
        if self.stopped:
            raise TaskStopped


def image(file: str, task_id: str = "task") -> tuple[Uploader, Task]:
    task: Any = Task(task_id)
    return Uploader(task, file, task.pause), task


def an_upload(file: str) -> Uploader:
    return image(file)[0]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> OutageBreaker:
    return OutageBreaker(GAP_S, clock)


def outage(evidence: CallEvidence = _CREATE) -> UploadUnavailableError:
    return UploadUnavailableError("上传失败", evidence)


async def begun(breaker: OutageBreaker, uploader: Uploader) -> Uploader:
    async with asyncio.timeout(PATIENCE_S):
        await breaker.acquire(uploader)
    return uploader


async def waits(breaker: OutageBreaker, uploader: Uploader) -> asyncio.Task[Uploader]:
    task = asyncio.create_task(begun(breaker, uploader))
    for _ in range(4):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def opened(breaker: OutageBreaker, uploaders: list[Uploader]) -> None:
    """Three different files fail, and nothing works in between."""
    for uploader in uploaders[:3]:
        await begun(breaker, uploader)
    for uploader in uploaders[:3]:
        breaker.failed(uploader, outage())
    assert breaker.is_open


async def test_an_outage_of_twelve_hours_costs_tens_of_attempts(breaker: OutageBreaker, clock: Clock) -> None:
    """Gaps of 15, 30, 60, 120, 240, 480, then 600 s: 6 + (43,200 - 945) / 600 = 76 and a half."""
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    uploader, end, probes = an_upload("next"), clock.now + 12 * HOUR_S, 0
    while clock.now < end:
        clock.now = breaker.next_at
        await begun(breaker, uploader)
        assert (
            uploader.probes and breaker.may_send(uploader) and not breaker.may_send(uploader)
        )  # one attempt, not five
        breaker.failed(uploader, outage())
        probes += 1
    assert 70 <= probes <= 80


async def test_all_tasks_wait_for_the_one_attempt_and_go_when_it_worked(breaker: OutageBreaker, clock: Clock) -> None:
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    (one, task_one), (two, task_two) = image("a", "first"), image("b", "second")
    first, second = await waits(breaker, one), await waits(breaker, two)
    assert breaker.holds_back("first") and breaker.holds_back("second") and not breaker.holds_back("third")
    assert task_one.shown and task_two.shown
    clock.now = breaker.next_at
    breaker.probe_now()
    probe = await asyncio.wait_for(first, PATIENCE_S)
    assert probe.probes and not second.done()
    breaker.succeeded(probe)
    assert not (await asyncio.wait_for(second, PATIENCE_S)).probes
    assert not breaker.is_open


async def test_a_task_that_something_else_holds_back_does_not_probe(breaker: OutageBreaker, clock: Clock) -> None:
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    (paused, task), able = image("a", "paused by the operator"), an_upload("b")
    task.pause_reasons = (PauseReason.USER,)
    waiting = await waits(breaker, paused)
    clock.now = breaker.next_at
    assert (await begun(breaker, able)).probes
    waiting.cancel()


async def test_a_cancelled_task_waits_no_longer(breaker: OutageBreaker) -> None:
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    uploader, task = image("a")
    waiting = await waits(breaker, uploader)
    task.stopped = True
    with pytest.raises(TaskStopped):
        await asyncio.wait_for(waiting, PATIENCE_S)
    assert not breaker.holds_back("task")


async def test_no_attempt_is_made_while_xiehe_lets_nobody_log_in(breaker: OutageBreaker, clock: Clock) -> None:
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    breaker.block_probes()
    clock.now += 5 * HOUR_S
    waiting = await waits(breaker, an_upload("a"))
    breaker.unblock_probes()
    assert (await asyncio.wait_for(waiting, PATIENCE_S)).probes


@pytest.mark.parametrize(
    "fault",
    [
        BackendUnavailableError("x", CallEvidence("PUT", "/(storage)", None, "ConnectError")),
        BackendUnavailableError("x", CallEvidence("POST", "/api/v1/upload/sessions", 503)),
        BackendAuthError("x", CallEvidence("POST", "/api/v1/upload/sessions/a/complete", 403)),
    ],
)
async def test_what_no_file_can_be_the_cause_of_holds_all_uploads_at_once(
    breaker: OutageBreaker, fault: BackendError
) -> None:
    breaker.failed(await begun(breaker, an_upload("a")), fault)
    assert breaker.is_open


async def test_a_file_that_fails_while_others_work_fails_alone(breaker: OutageBreaker, clock: Clock) -> None:
    bad = await begun(breaker, an_upload("bad"))
    clock.now += 1
    good = await begun(breaker, an_upload("good"))
    breaker.succeeded(good)
    clock.now += 1
    with pytest.raises(UploadRejectedError):
        breaker.failed(bad, outage())
    assert not breaker.is_open


async def test_an_upload_that_worked_before_is_no_evidence(breaker: OutageBreaker, clock: Clock) -> None:
    breaker.succeeded(await begun(breaker, an_upload("good")))
    clock.now += 1
    breaker.failed(await begun(breaker, an_upload("perhaps bad")), outage())


async def test_a_lone_bad_file_is_found_out_by_a_session_that_is_no_files(breaker: OutageBreaker, clock: Clock) -> None:
    bad = an_upload("bad")
    breaker.failed(await begun(breaker, bad), outage())
    assert not breaker.is_open  # another file may show meanwhile that uploads work
    clock.now += GAP_S
    probe = await begun(breaker, bad)
    assert probe.probes and probe.probes_session
    breaker.succeeded(probe)  # the session could be made and filled
    clock.now += 1
    with pytest.raises(UploadRejectedError):
        breaker.failed(await begun(breaker, bad), outage())


async def test_where_nothing_else_can_tell_a_lone_bad_file_is_given_up_after_some_rounds(
    breaker: OutageBreaker, clock: Clock
) -> None:
    """C1 to C3 leave an image, or its row, for each session."""
    bad = an_upload("bad")
    breaker.failed(await begun(breaker, bad), outage())
    bad.no_session_probe = True
    clock.now += GAP_S
    for _ in range(2):
        breaker.failed(await begun(breaker, bad), outage())
        clock.now = breaker.next_at
    with pytest.raises(UploadRejectedError):
        breaker.failed(await begun(breaker, bad), outage())
    assert (await begun(breaker, an_upload("another"))).probes  # at once


async def test_completions_that_fail_are_not_cleared_by_a_session_that_is_left_to_expire(
    breaker: OutageBreaker, clock: Clock
) -> None:
    for name in "abc":
        breaker.failed(await begun(breaker, an_upload(name)), outage(_COMPLETE))
    clock.now = breaker.next_at
    probe = await begun(breaker, an_upload("d"))
    assert probe.probes and not probe.probes_session


async def test_three_unconfirmed_uploads_in_a_row_hold_the_others(breaker: OutageBreaker) -> None:
    for name in "abc":
        assert not breaker.is_open
        breaker.unconfirmed(await begun(breaker, an_upload(name)))
    assert breaker.is_open


async def test_after_a_restart_the_first_upload_goes_alone_with_all_its_attempts(breaker: OutageBreaker) -> None:
    breaker.start_half_open()
    first = await begun(breaker, an_upload("a"))
    assert all(breaker.may_send(first) for _ in range(5))
    second, task = image("b")
    waiting = await waits(breaker, second)
    assert not task.shown  # nothing is known to be wrong
    breaker.succeeded(first)
    assert not (await asyncio.wait_for(waiting, PATIENCE_S)).probes


async def test_uploads_under_way_begin_no_further_attempt_once_all_are_held(breaker: OutageBreaker) -> None:
    under_way = await begun(breaker, an_upload("under way"))
    assert breaker.may_send(under_way)
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    assert not breaker.may_send(under_way)


async def test_an_upload_begun_before_the_outage_does_not_end_the_pause(breaker: OutageBreaker, clock: Clock) -> None:
    early = await begun(breaker, an_upload("early"))
    clock.now += 1
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    breaker.succeeded(early)
    assert breaker.is_open


async def test_a_probe_that_ends_by_its_own_files_fault_lets_the_next_one_try(
    breaker: OutageBreaker, clock: Clock
) -> None:
    await opened(breaker, [an_upload(f"{n}") for n in range(3)])
    clock.now = breaker.next_at
    breaker.release(await begun(breaker, an_upload("unreadable")))
    assert (await begun(breaker, an_upload("next"))).probes
