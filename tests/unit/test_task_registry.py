"""Live tasks: what may become of them, who holds them, who hears of it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from errors import ServiceStoppingError, TaskNotFoundError, TaskOverlapError, TaskTransitionError
from models import (
    Counts,
    FileOutcome,
    FileWarning,
    ImportOptions,
    OutcomeKind,
    PatientChange,
    PauseReason,
    SkippedFolder,
    TaskRecord,
    TaskResult,
    TaskStatus,
)
from source import overlaps
from tasks import LEGAL_OPERATIONS, LiveTask, Operation, TaskRegistry, TaskStart, TaskStopped
from tasks.states import TRANSITIONS
from tests.waiting import PATIENCE_S

NOON = datetime(2024, 5, 6, 12, 0, 0, tzinfo=UTC)

AUTOMATIC = [reason for reason in PauseReason if reason is not PauseReason.USER]


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=int(self.seconds))

    def monotonic(self) -> float:
        return self.seconds


def a_registry(clock: Clock | None = None) -> TaskRegistry:
    clock = clock or Clock()
    return TaskRegistry(overlaps, now=clock.now, monotonic=clock.monotonic)


def a_task(registry: TaskRegistry | None = None, source: str = "/srv/dicom") -> LiveTask:
    return (registry or a_registry()).create(source, source, ImportOptions())


def a_running_task() -> LiveTask:
    task = a_task()
    task.start()
    return task


def a_task_that_is(status: TaskStatus) -> LiveTask:
    record = TaskRecord("t1", "/srv/dicom", ImportOptions(), TaskStatus.PENDING, NOON)
    task = a_registry().restore(TaskStart(record, "/srv/dicom"))
    if status is not TaskStatus.INTERRUPTED:
        task.resume()
    if status is TaskStatus.CANCELLED:
        task.cancel()
    elif status is TaskStatus.PAUSED:
        task.pause()
    elif status not in (TaskStatus.PENDING, TaskStatus.INTERRUPTED):
        task.start()
    if status is TaskStatus.COMPLETED:
        task.complete(TaskResult.SUCCESS)
    elif status is TaskStatus.FAILED:
        task.fail("历史数据库不可用")
    assert task.status is status
    return task


def an_outcome(kind: OutcomeKind = OutcomeKind.UPLOADED, code: str = "") -> FileOutcome:
    return FileOutcome(source_path="/a", month=None, kind=kind, code=code or kind, detail="", finished_at=NOON)


async def passes(task: LiveTask) -> bool:
    """Whether a worker gets through the gate without waiting."""
    worker = asyncio.create_task(task.gate())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not worker.done():
        worker.cancel()
        return False
    await worker
    return True


# --- what an operator may do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TaskStatus)
def test_each_state_allows_its_operations_and_names_them_when_it_refuses(status: TaskStatus) -> None:
    legal = {
        TaskStatus.PENDING: {"pause", "cancel"},
        TaskStatus.RUNNING: {"pause", "cancel"},
        TaskStatus.PAUSED: {"resume", "cancel"},
        TaskStatus.INTERRUPTED: {"resume", "cancel"},
        TaskStatus.COMPLETED: {"retry"},
        TaskStatus.FAILED: {"retry"},
        TaskStatus.CANCELLED: {"retry"},
    }[status]
    assert {str(operation) for operation in LEGAL_OPERATIONS[status]} == legal
    for name in ("pause", "resume", "cancel"):
        operate = getattr(a_task_that_is(status), name)
        if name in legal:
            operate()
            continue
        with pytest.raises(TaskTransitionError) as refused:
            operate()
        assert all(each in refused.value.detail for each in legal)
        assert status in refused.value.detail


def test_a_task_that_ended_never_moves_again() -> None:
    assert {status for status, onward in TRANSITIONS.items() if not onward} == {s for s in TaskStatus if s.ended}


def test_a_runner_cannot_start_or_complete_a_held_task() -> None:
    task = a_task()
    task.pause()
    with pytest.raises(TaskTransitionError):
        task.start()
    task.resume()
    task.start()
    task.pause_automatically(PauseReason.DISK_FULL)
    with pytest.raises(TaskTransitionError):
        task.complete(TaskResult.SUCCESS)


def test_times_and_result_are_kept_in_the_record() -> None:
    clock = Clock()
    task = a_task(a_registry(clock))
    clock.seconds = 5
    task.start()
    task.pause()
    clock.seconds = 9
    task.resume()
    task.complete(TaskResult.PARTIAL, "3 个文件失败")
    record = task.record
    assert (record.created_at, record.started_at, record.completed_at) == (
        NOON,
        NOON + timedelta(seconds=5),
        NOON + timedelta(seconds=9),
    )
    assert (record.result, record.result_detail, record.pause_reason) == (TaskResult.PARTIAL, "3 个文件失败", None)


def test_a_cancelled_task_is_at_rest_only_when_its_last_file_is_done() -> None:
    task = a_running_task()
    task.cancel()
    assert (task.status, task.at_rest) == (TaskStatus.CANCELLED, False)
    task.add_outcomes([an_outcome()])
    task.settle()
    assert task.at_rest
    assert task.record.completed_at == NOON
    assert task.counts.total_files_scanned == 1


# --- the gate ------------------------------------------------------------------------------------------------------


async def test_the_gate_closes_on_pause_and_opens_on_resume_for_all_workers() -> None:
    task = a_running_task()
    assert await passes(task)
    task.pause()
    workers = [asyncio.create_task(task.gate()) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(worker.done() for worker in workers)
    task.resume()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*workers)


@pytest.mark.parametrize("stop", ["cancel", "interrupt", "fail"])
async def test_whoever_waits_at_the_gate_is_sent_home_when_the_task_stops(stop: str) -> None:
    task = a_running_task()
    task.pause()
    workers = [asyncio.create_task(task.gate()) for _ in range(3)]
    await asyncio.sleep(0)
    if stop == "fail":
        task.fail("原因")
    else:
        getattr(task, stop)()
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(result) for result in results] == [TaskStopped] * 3
    with pytest.raises(TaskStopped):
        await task.gate()


async def test_a_pause_that_follows_a_resume_at_once_holds_the_workers() -> None:
    task = a_running_task()
    task.pause()
    worker = asyncio.create_task(task.gate())
    await asyncio.sleep(0)
    task.resume()
    task.pause()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not worker.done()
    task.resume()
    async with asyncio.timeout(PATIENCE_S):
        await worker


# --- reasons to pause ----------------------------------------------------------------------------------------------


async def test_an_automatic_pause_ends_when_its_reason_goes() -> None:
    task = a_running_task()
    task.pause_automatically(PauseReason.BACKEND_UNAVAILABLE, "XieHe 没有应答")
    assert (task.status, task.record.pause_reason) == (TaskStatus.PAUSED, PauseReason.BACKEND_UNAVAILABLE)
    assert task.pause_detail == "XieHe 没有应答"
    task.release(PauseReason.DISK_FULL)
    assert task.status is TaskStatus.PAUSED
    task.release(PauseReason.BACKEND_UNAVAILABLE)
    assert (task.status, task.record.pause_reason) == (TaskStatus.RUNNING, None)
    assert await passes(task)


async def test_the_operators_pause_is_in_front_and_outlives_automatic_ones() -> None:
    task = a_running_task()
    task.pause()
    task.pause_automatically(PauseReason.BACKEND_UNAVAILABLE)
    assert task.record.pause_reason is PauseReason.USER
    task.release(PauseReason.BACKEND_UNAVAILABLE)
    task.release(PauseReason.USER)
    assert (task.status, task.record.pause_reason) == (TaskStatus.PAUSED, PauseReason.USER)
    assert not await passes(task)


def test_of_two_automatic_reasons_the_weightier_is_shown_and_both_must_go() -> None:
    task = a_running_task()
    task.pause_automatically(PauseReason.OUTSIDE_ACTIVE_HOURS)
    task.pause_automatically(PauseReason.DISK_FULL)
    assert task.record.pause_reason is PauseReason.DISK_FULL
    assert task.pause_reasons == (PauseReason.DISK_FULL, PauseReason.OUTSIDE_ACTIVE_HOURS)
    task.release(PauseReason.DISK_FULL)
    assert (task.status, task.record.pause_reason) == (TaskStatus.PAUSED, PauseReason.OUTSIDE_ACTIVE_HOURS)
    task.release(PauseReason.OUTSIDE_ACTIVE_HOURS)
    assert task.status is TaskStatus.RUNNING


async def test_resume_on_an_automatic_pause_means_try_now() -> None:
    task = a_running_task()
    task.pause_automatically(PauseReason.BACKEND_UNAVAILABLE)
    task.pause_automatically(PauseReason.OUTSIDE_ACTIVE_HOURS)
    task.resume()
    assert (task.status, task.pause_reasons) == (TaskStatus.RUNNING, ())
    assert await passes(task)


async def test_a_pending_task_outside_the_active_hours_stays_pending_and_says_so() -> None:
    task = a_task()
    task.pause_automatically(PauseReason.OUTSIDE_ACTIVE_HOURS)
    assert (task.status, task.record.pause_reason) == (TaskStatus.PENDING, PauseReason.OUTSIDE_ACTIVE_HOURS)
    assert not await passes(task)
    task.release(PauseReason.OUTSIDE_ACTIVE_HOURS)
    assert (task.status, task.record.pause_reason) == (TaskStatus.PENDING, None)
    assert await passes(task)


@pytest.mark.parametrize("status", [s for s in TaskStatus if s.ended] + [TaskStatus.INTERRUPTED])
def test_an_automatic_reason_means_nothing_to_a_task_that_does_not_work(status: TaskStatus) -> None:
    task = a_task_that_is(status)
    task.pause_automatically(PauseReason.DISK_FULL)
    task.release(PauseReason.DISK_FULL)
    assert (task.status, task.record.pause_reason) == (status, None)


# --- restart -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "reason", "restored"),
    [
        (TaskStatus.PENDING, None, TaskStatus.INTERRUPTED),
        (TaskStatus.RUNNING, None, TaskStatus.INTERRUPTED),
        (TaskStatus.PAUSED, PauseReason.BACKEND_UNAVAILABLE, TaskStatus.INTERRUPTED),
        (TaskStatus.PAUSED, PauseReason.USER, TaskStatus.PAUSED),
        (TaskStatus.INTERRUPTED, None, TaskStatus.INTERRUPTED),
        (TaskStatus.CANCELLED, None, TaskStatus.CANCELLED),
    ],
)
async def test_after_a_restart_only_the_operators_pause_is_kept(
    stored: TaskStatus, reason: PauseReason | None, restored: TaskStatus
) -> None:
    record = TaskRecord("t1", "/srv", ImportOptions(), stored, NOON, started_at=NOON, pause_reason=reason)
    task = a_registry().restore(TaskStart(record, "/srv", Counts(total_files_scanned=5)))
    assert task.status is restored
    assert task.counts.total_files_scanned == 5
    if restored is TaskStatus.PAUSED:
        assert not await passes(task)
    if not restored.ended:
        task.resume()
        assert task.status is TaskStatus.RUNNING
        assert await passes(task)


def test_a_service_that_stops_interrupts_all_but_what_the_operator_paused() -> None:
    registry = a_registry()
    tasks = [a_task(registry, f"/srv/{n}") for n in range(4)]
    for task in tasks[1:]:
        task.start()
    tasks[2].pause()
    tasks[3].pause_automatically(PauseReason.BACKEND_AUTH)
    registry.stop()
    assert [task.status for task in tasks] == [
        TaskStatus.INTERRUPTED,
        TaskStatus.INTERRUPTED,
        TaskStatus.PAUSED,
        TaskStatus.INTERRUPTED,
    ]
    with pytest.raises(ServiceStoppingError):
        a_task(registry, "/srv/9")


# --- the registry --------------------------------------------------------------------------------------------------


def test_task_ids_tell_the_utc_time_and_are_unique() -> None:
    registry = a_registry()
    ids = {a_task(registry, f"/srv/{n}").task_id for n in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"dicom-import-20240506-120000-[0-9a-f]{8}", task_id) for task_id in ids)


def test_an_overlapping_source_is_refused_until_the_first_task_is_at_rest() -> None:
    registry = a_registry()
    first = a_task(registry, "/srv/dicom")
    first.start()
    for source in ("/srv/dicom", "/srv/dicom/2024-01", "/srv"):
        with pytest.raises(TaskOverlapError, match=first.task_id):
            a_task(registry, source)
    a_task(registry, "/srv/dicom2")
    first.cancel()
    with pytest.raises(TaskOverlapError):
        a_task(registry, "/srv/dicom")
    first.settle()
    a_task(registry, "/srv/dicom")


def test_only_a_task_at_rest_is_let_go() -> None:
    registry = a_registry()
    task = a_task(registry)
    registry.discard(task.task_id)
    assert registry.live() == [task]
    task.fail("原因")
    registry.discard(task.task_id)
    assert registry.live() == []
    with pytest.raises(TaskNotFoundError):
        registry.get(task.task_id)


def test_a_task_carries_a_hundred_skipped_folders_and_their_number() -> None:
    task = a_running_task()
    folders = [SkippedFolder(f"/srv/{n}", "", "") for n in range(250)]
    for start in range(0, 250, 50):
        task.add_skipped(*folders[start : start + 50])
    task.add_ignored(7)
    assert task.record.skipped_folders == tuple(folders[:100])
    assert task.skipped_folders_total == 250
    assert task.counts == Counts(ignored_files=7)


def test_what_a_task_found_is_counted_and_the_newest_hundred_failures_are_kept() -> None:
    task = a_running_task()
    for n in range(120):
        task.add_outcomes([an_outcome(OutcomeKind.FAILED, f"code{n}")])
    task.add_outcomes([an_outcome()])
    task.add_ignored()
    task.add_patient(PatientChange(found=True, resolved=True))
    folders = [SkippedFolder(f"/srv/{n}", "", "") for n in range(3)]
    for folder in folders:
        task.add_skipped(folder)
    task.add_warnings([FileWarning("a", "甲"), FileWarning("a", "甲")])
    task.add_warnings([FileWarning("a", "甲")])
    assert [failure.code for failure in task.failures] == [f"code{n}" for n in range(119, 19, -1)]
    assert task.counts == Counts(
        total_files_scanned=121,
        total_patients_found=1,
        new_patients_created=1,
        new_images_uploaded=1,
        failed_files=120,
        ignored_files=1,
    )
    assert task.record.skipped_folders == tuple(folders)
    assert task.record.warnings == (FileWarning("a", "甲"),)


# --- hearing of changes --------------------------------------------------------------------------------------------


async def test_a_slow_subscriber_gets_each_changed_task_once_and_blocks_nothing() -> None:
    registry = a_registry()
    one, two = a_task(registry, "/srv/1"), a_task(registry, "/srv/2")
    with registry.subscribe() as everything, registry.subscribe(two.task_id) as only_two:
        for _ in range(1_000):
            one.add_outcomes([an_outcome()])
        two.start()
        async with asyncio.timeout(PATIENCE_S):
            received = [await anext(everything), await anext(everything)]
            assert await anext(only_two) == two.task_id
        assert received == [one.task_id, two.task_id]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(everything)


async def test_who_looks_now_and_then_gets_all_changes_at_once() -> None:
    registry = a_registry()
    one, two = a_task(registry, "/a"), a_task(registry, "/b")
    with registry.subscribe() as changes:
        one.start()
        two.start()
        one.add_ignored()
        assert await changes.batch() == [one.task_id, two.task_id]

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await changes.batch()


async def test_a_subscription_that_ended_hears_nothing() -> None:
    registry = a_registry()
    task = a_task(registry)
    with registry.subscribe() as changes:
        pass
    task.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(changes)


# --- any order of events -------------------------------------------------------------------------------------------


class TaskControl(RuleBasedStateMachine):
    """Operator, service and runner act in any order, against a plain model of who holds the task."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.task = a_task()
        self.user_pause = False
        self.automatic: set[PauseReason] = set()
        self.path = [self.task.status]
        self.seq = self.task.seq

    def teardown(self) -> None:
        self.loop.close()

    def act(self, name: Operation) -> bool:
        legal = name in LEGAL_OPERATIONS[self.task.status]
        operate = {Operation.PAUSE: self.task.pause, Operation.RESUME: self.task.resume}.get(name, self.task.cancel)
        if legal:
            operate()
        else:
            with pytest.raises(TaskTransitionError):
                operate()
        return legal

    @rule()
    def pause(self) -> None:
        self.user_pause = self.act(Operation.PAUSE) or self.user_pause

    @rule()
    def resume(self) -> None:
        if self.act(Operation.RESUME):
            self.user_pause, self.automatic = False, set()

    @rule()
    def cancel(self) -> None:
        self.act(Operation.CANCEL)

    @rule(reason=st.sampled_from(AUTOMATIC))
    def trouble(self, reason: PauseReason) -> None:
        self.task.pause_automatically(reason)
        if not self.task.status.ended:
            self.automatic.add(reason)

    @rule(reason=st.sampled_from(AUTOMATIC))
    def mended(self, reason: PauseReason) -> None:
        self.task.release(reason)
        self.automatic.discard(reason)

    @precondition(lambda self: not (self.user_pause or self.automatic or self.task.status.ended))
    @rule()
    def start(self) -> None:
        self.task.start()

    @precondition(lambda self: self.task.status is TaskStatus.RUNNING)
    @rule()
    def complete(self) -> None:
        self.task.complete(TaskResult.SUCCESS)

    @precondition(lambda self: not self.task.status.ended)
    @rule()
    def fail(self) -> None:
        self.task.fail("原因")

    @rule()
    def settle(self) -> None:
        self.task.settle()

    @invariant()
    def status_and_reason_follow_who_holds_it(self) -> None:
        record = self.task.record
        if record.status.ended:
            assert record.pause_reason is None
            return
        held = self.user_pause or bool(self.automatic)
        if not held:
            assert record.pause_reason is None
            assert record.status in (TaskStatus.PENDING, TaskStatus.RUNNING)
        elif self.user_pause:
            assert (record.status, record.pause_reason) == (TaskStatus.PAUSED, PauseReason.USER)
        else:
            assert record.pause_reason in self.automatic
            waits_to_begin = self.automatic == {PauseReason.OUTSIDE_ACTIVE_HOURS} and record.started_at is None
            assert record.status is TaskStatus.PAUSED or (waits_to_begin and record.status is TaskStatus.PENDING)

    @invariant()
    def the_gate_agrees(self) -> None:
        held = self.user_pause or bool(self.automatic)
        if self.task.status.ended:
            with pytest.raises(TaskStopped):
                self.loop.run_until_complete(passes(self.task))
        else:
            assert self.loop.run_until_complete(passes(self.task)) is not held

    @invariant()
    def times_and_sequence_make_sense(self) -> None:
        record = self.task.record
        assert self.task.seq >= self.seq
        self.seq = self.task.seq
        assert self.task.at_rest == (record.completed_at is not None)
        assert record.completed_at is None or record.status.ended
        assert (record.result is not None) == (record.status in (TaskStatus.COMPLETED, TaskStatus.FAILED))
        if record.status is not self.path[-1]:
            assert record.status in TRANSITIONS[self.path[-1]]
            self.path.append(record.status)


TestTaskControl = TaskControl.TestCase
TestTaskControl.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def test_active_time_counts_no_pause_and_goes_on_after_a_restart() -> None:
    now = [100.0]
    registry = TaskRegistry(lambda *_: False, monotonic=lambda: now[0])
    task = registry.create("/srv", "/srv", ImportOptions())
    now[0] += 50  # waits to begin
    task.start()
    now[0] += 4
    task.pause()
    now[0] += 60
    task.resume()
    now[0] += 2
    assert task.record.active_seconds == 4.0
    task.note_active_time()
    assert task.record.active_seconds == 6.0

    later = TaskRegistry(lambda *_: False, monotonic=lambda: now[0])
    again = later.restore(TaskStart(task.record, "/srv"))
    now[0] += 3_600
    again.resume()
    now[0] += 1
    again.complete(TaskResult.SUCCESS)
    assert again.record.active_seconds == 7.0


def test_active_time_of_a_task_that_an_older_version_began_stays_unknown() -> None:
    now = [0.0]
    registry = TaskRegistry(lambda *_: False, monotonic=lambda: now[0])
    begun = datetime(2026, 11, 1, tzinfo=UTC)
    record = TaskRecord("t1", "/srv", ImportOptions(), TaskStatus.RUNNING, begun, started_at=begun)
    task = registry.restore(TaskStart(record, "/srv"))
    task.resume()
    now[0] += 5
    task.complete(TaskResult.SUCCESS)
    assert task.record.active_seconds is None
