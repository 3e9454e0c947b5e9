"""While no upload works, one attempt a time finds out when they work again; a bad file fails alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from errors import (
    BackendAuthError,
    BackendError,
    BackendUnavailableError,
    CallEvidence,
    UploadRejectedError,
    UploadUnavailableError,
)
from importing.uploads.outage_breaker import OutageBreaker, UploadFailures, UploadTurn
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


@dataclass(eq=False)
class Picture:
    """One picture of a task."""

    file: str
    task_id: str = "task"
    may_probe: bool = True
    failures: UploadFailures = field(default_factory=UploadFailures)
    held: list[str] = field(default_factory=list)
    stopped: bool = False

    def hold(self, error: BackendError, detail: str) -> None:
        self.held.append(detail)

    def check(self) -> None:
        if self.stopped:
            raise TaskStopped


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> OutageBreaker:
    return OutageBreaker(GAP_S, clock)


def outage(evidence: CallEvidence = _CREATE) -> UploadUnavailableError:
    return UploadUnavailableError("上传失败", evidence)


async def turn_of(breaker: OutageBreaker, picture: Picture) -> UploadTurn:
    async with asyncio.timeout(PATIENCE_S):
        return await breaker.turn(picture)


async def waits(breaker: OutageBreaker, picture: Picture) -> asyncio.Task[UploadTurn]:
    task = asyncio.create_task(breaker.turn(picture))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def tripped(breaker: OutageBreaker, pictures: list[Picture]) -> None:
    """Three different files fail, and nothing works in between."""
    turns = [await turn_of(breaker, picture) for picture in pictures[:3]]
    for turn in turns:
        breaker.failed(turn, outage())
    assert breaker.is_open


async def test_an_outage_of_twelve_hours_costs_tens_of_attempts(breaker: OutageBreaker, clock: Clock) -> None:
    """Gaps of 15, 30, 60, 120, 240, 480, then 600 s: 6 + (43,200 - 945) / 600 = 76 and a half."""
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    picture, end, probes = Picture("next"), clock.now + 12 * HOUR_S, 0
    while clock.now < end:
        clock.now = breaker.next_at
        turn = await turn_of(breaker, picture)
        assert turn.probes and turn.may_send() and not turn.may_send()  # one attempt, not five
        breaker.failed(turn, outage())
        probes += 1
    assert 70 <= probes <= 80


async def test_all_tasks_wait_for_the_one_attempt_and_go_when_it_worked(breaker: OutageBreaker, clock: Clock) -> None:
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    one, two = Picture("a", "first"), Picture("b", "second")
    first, second = await waits(breaker, one), await waits(breaker, two)
    assert breaker.holds_back("first") and breaker.holds_back("second") and not breaker.holds_back("third")
    assert one.held and two.held
    clock.now = breaker.next_at
    breaker.probe_now()
    probe = await asyncio.wait_for(first, PATIENCE_S)
    assert probe.probes and not second.done()
    breaker.worked(probe)
    assert not (await asyncio.wait_for(second, PATIENCE_S)).probes
    assert not breaker.is_open


async def test_a_task_that_something_else_holds_back_does_not_probe(breaker: OutageBreaker, clock: Clock) -> None:
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    paused, able = Picture("a", "paused by the operator", may_probe=False), Picture("b")
    waiting = await waits(breaker, paused)
    clock.now = breaker.next_at
    assert (await turn_of(breaker, able)).uploader is able
    waiting.cancel()


async def test_a_cancelled_task_waits_no_longer(breaker: OutageBreaker) -> None:
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    picture = Picture("a")
    waiting = await waits(breaker, picture)
    picture.stopped = True
    with pytest.raises(TaskStopped):
        await asyncio.wait_for(waiting, PATIENCE_S)
    assert not breaker.holds_back("task")


async def test_no_attempt_is_made_while_xiehe_lets_nobody_log_in(breaker: OutageBreaker, clock: Clock) -> None:
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    breaker.block_probes()
    clock.now += 5 * HOUR_S
    waiting = await waits(breaker, Picture("a"))
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
    breaker.failed(await turn_of(breaker, Picture("a")), fault)
    assert breaker.is_open


async def test_a_file_that_fails_while_others_work_fails_alone(breaker: OutageBreaker, clock: Clock) -> None:
    bad = await turn_of(breaker, Picture("bad"))
    clock.now += 1
    good = await turn_of(breaker, Picture("good"))
    breaker.worked(good)
    clock.now += 1
    with pytest.raises(UploadRejectedError):
        breaker.failed(bad, outage())
    assert not breaker.is_open


async def test_an_upload_that_worked_before_is_no_evidence(breaker: OutageBreaker, clock: Clock) -> None:
    breaker.worked(await turn_of(breaker, Picture("good")))
    clock.now += 1
    breaker.failed(await turn_of(breaker, Picture("perhaps bad")), outage())


async def test_a_lone_bad_file_is_found_out_by_a_session_that_is_no_files(breaker: OutageBreaker, clock: Clock) -> None:
    bad = Picture("bad")
    breaker.failed(await turn_of(breaker, bad), outage())
    assert not breaker.is_open  # another file may show meanwhile that uploads work
    clock.now += GAP_S
    probe = await turn_of(breaker, bad)
    assert probe.probes and probe.asks_session
    breaker.worked(probe)  # the session could be made and filled
    clock.now += 1
    with pytest.raises(UploadRejectedError):
        breaker.failed(await turn_of(breaker, bad), outage())


async def test_where_nothing_else_can_tell_a_lone_bad_file_is_given_up_after_some_rounds(
    breaker: OutageBreaker, clock: Clock
) -> None:
    """C1 to C3 leave an image, or its row, for each session."""
    bad = Picture("bad")
    breaker.failed(await turn_of(breaker, bad), outage())
    bad.failures.none_else_can_tell = True
    clock.now += GAP_S
    for _ in range(2):
        breaker.failed(await turn_of(breaker, bad), outage())
        clock.now = breaker.next_at
    with pytest.raises(UploadRejectedError):
        breaker.failed(await turn_of(breaker, bad), outage())
    assert (await turn_of(breaker, Picture("another"))).probes  # at once


async def test_completions_that_fail_are_not_cleared_by_a_session_that_is_left_to_expire(
    breaker: OutageBreaker, clock: Clock
) -> None:
    for name in "abc":
        breaker.failed(await turn_of(breaker, Picture(name)), outage(_COMPLETE))
    clock.now = breaker.next_at
    probe = await turn_of(breaker, Picture("d"))
    assert probe.probes and not probe.asks_session


async def test_three_unconfirmed_uploads_in_a_row_hold_the_others(breaker: OutageBreaker) -> None:
    for name in "abc":
        assert not breaker.is_open
        breaker.unconfirmed(await turn_of(breaker, Picture(name)))
    assert breaker.is_open


async def test_after_a_restart_the_first_upload_goes_alone_with_all_its_attempts(breaker: OutageBreaker) -> None:
    breaker.start_half_open()
    first = await turn_of(breaker, Picture("a"))
    assert all(first.may_send() for _ in range(5))
    second = Picture("b")
    waiting = await waits(breaker, second)
    assert not second.held  # nothing is known to be wrong
    breaker.worked(first)
    assert not (await asyncio.wait_for(waiting, PATIENCE_S)).probes


async def test_uploads_under_way_begin_no_further_attempt_once_all_are_held(breaker: OutageBreaker) -> None:
    under_way = await turn_of(breaker, Picture("under way"))
    assert under_way.may_send()
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    assert not under_way.may_send()


async def test_an_upload_begun_before_the_outage_does_not_end_the_pause(breaker: OutageBreaker, clock: Clock) -> None:
    early = await turn_of(breaker, Picture("early"))
    clock.now += 1
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    breaker.worked(early)
    assert breaker.is_open


async def test_a_probe_that_ends_by_its_own_files_fault_lets_the_next_one_try(
    breaker: OutageBreaker, clock: Clock
) -> None:
    await tripped(breaker, [Picture(f"{n}") for n in range(3)])
    clock.now = breaker.next_at
    breaker.left(await turn_of(breaker, Picture("unreadable")))
    assert (await turn_of(breaker, Picture("next"))).probes
