"""A task in memory: its state, its gate, its counts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.counting import fold, fold_ignored, fold_patient
from errors import TaskTransitionError
from models import (
    SKIPPED_SHOWN,
    Counts,
    FileOutcome,
    FileWarning,
    OutcomeKind,
    PatientChange,
    PauseReason,
    SkippedFolder,
    TaskRecord,
    TaskResult,
    TaskStatus,
)
from tasks.progress import Progress, ProgressMeter
from tasks.states import Operation, check_operation, check_transition

_log = logging.getLogger(__name__)
_NEWEST_FAILURES = 100

_BY_PRIORITY = (
    PauseReason.USER,
    PauseReason.DISK_FULL,
    PauseReason.SOURCE_MISSING,
    PauseReason.RENDERER_UNAVAILABLE,
    PauseReason.OUT_OF_DESCRIPTORS,
    PauseReason.BACKEND_AUTH,
    PauseReason.BACKEND_UNAVAILABLE,
    PauseReason.OUTSIDE_ACTIVE_HOURS,
)
"""The first of several reasons is shown: what only a person can repair comes first."""


class TaskStopped(Exception):  # noqa: N818 - a signal to the workers, not an error
    """The task was cancelled or has ended, or the service is stopping: workers begin nothing new."""


@dataclass(frozen=True, slots=True)
class TaskStart:
    """The initial state. After a restart, counts and failures (newest first) come from the history."""

    record: TaskRecord
    real_path: str
    counts: Counts = field(default_factory=Counts)
    failures: tuple[FileOutcome, ...] = ()
    skipped_folders_total: int = 0


class LiveTask:
    """One task. Used on the event loop only; every change raises ``seq`` and is announced.

    The operator pauses, resumes and cancels. The service adds and removes automatic pause reasons. The runner starts
    and ends it, and awaits :meth:`gate` before each piece of work. Attributes are changed by methods only:

    Attributes:
        record: what the history stores.
        counts: its counters.
        skipped_folders_total: how many folders were skipped; the record holds the first ones.
        seq: grows with every change.
    """

    def __init__(
        self, start: TaskStart, now: Callable[[], datetime], meter: ProgressMeter, announce: Callable[[str], None]
    ) -> None:
        self.record = start.record
        self.skipped_folders_total = start.skipped_folders_total
        self.counts = start.counts
        self._failures = deque(start.failures, _NEWEST_FAILURES)
        self.real_path = start.real_path
        self.meter = meter
        self._active_time_known = start.record.started_at is None or start.record.active_seconds is not None
        self._now = now
        self._announce = announce
        self.seq = 0
        self._current_folder: str | None = None
        self._in_progress: dict[str, str] = {}
        self._reasons: dict[PauseReason, str | None] = {}
        if start.record.status is TaskStatus.PAUSED:
            self._reasons[start.record.pause_reason or PauseReason.USER] = None
        self._service_stops = False
        self._wake_up = asyncio.Event()
        self._set_gate()

    # --- state

    @property
    def task_id(self) -> str:
        return self.record.task_id

    @property
    def status(self) -> TaskStatus:
        return self.record.status

    @property
    def failures(self) -> tuple[FileOutcome, ...]:
        """The newest hundred, newest first."""
        return tuple(self._failures)

    @property
    def pause_detail(self) -> str | None:
        """Detail of the shown reason, if it has any."""
        reason = self.record.pause_reason
        return self._reasons.get(reason) if reason is not None else None

    @property
    def pause_reasons(self) -> tuple[PauseReason, ...]:
        """All current reasons, the shown one first."""
        return tuple(reason for reason in _BY_PRIORITY if reason in self._reasons)

    @property
    def current_folder(self) -> str | None:
        """The patient folder that was begun last, as ``2024-01/P001``; None unless it runs."""
        return self._current_folder if self.status is TaskStatus.RUNNING else None

    @property
    def at_rest(self) -> bool:
        """Whether it has ended and no file of it is in progress (a cancelled task finishes what it has begun)."""
        return self.status.ended and self.record.completed_at is not None

    @property
    def progress(self) -> Progress:
        return self.meter.progress(ended=self.status is TaskStatus.COMPLETED)

    # --- the operator

    def pause(self) -> None:
        """Raises TaskTransitionError unless it is pending or running."""
        check_operation(self.task_id, self.status, Operation.PAUSE)
        self._reasons[PauseReason.USER] = None
        self._apply_reasons()

    def resume(self) -> None:
        """Drops all pause reasons. Raises TaskTransitionError unless it is paused or interrupted."""
        check_operation(self.task_id, self.status, Operation.RESUME)
        self._reasons.clear()
        self._move(self._working_status(), pause_reason=None)

    def cancel(self) -> None:
        """Ends it; :meth:`settle` follows the last file in progress. Raises TaskTransitionError if it has ended."""
        check_operation(self.task_id, self.status, Operation.CANCEL)
        self._reasons.clear()
        self._move(TaskStatus.CANCELLED, pause_reason=None)

    # --- automatic pauses

    def pause_automatically(self, reason: PauseReason, detail: str | None = None) -> None:
        """Pauses it until :meth:`release`. Does nothing if it has ended or is interrupted.

        A pending task that only waits for the active hours stays pending, with that reason.
        """
        if self.status.ended or self.status is TaskStatus.INTERRUPTED:
            return
        self._reasons[reason] = detail
        self._apply_reasons()

    def release(self, *reasons: PauseReason) -> None:
        """Removes automatic reasons; the task continues once none is left. Never lifts the operator's pause."""
        for reason in reasons:
            if reason is not PauseReason.USER and reason in self._reasons:
                del self._reasons[reason]
                self._apply_reasons()

    # --- the runner

    async def gate(self) -> None:
        """Waits until nothing pauses the task. Raises as :meth:`check_alive`."""
        self.check_alive()
        while self._reasons:
            self._wake_up.clear()
            await self._wake_up.wait()
            self.check_alive()

    def check_alive(self) -> None:
        """Raises TaskStopped if the task was cancelled or has ended, or the service is stopping."""
        if self._stopped():
            raise TaskStopped

    def start(self) -> None:
        """Pending becomes running; a resumed task runs already. Call it right after :meth:`gate`."""
        if self.status is not TaskStatus.RUNNING:
            self._check_free(TaskStatus.RUNNING)
            self._move(TaskStatus.RUNNING)

    def complete(self, result: TaskResult, detail: str | None = None) -> None:
        """Every scanned file has its outcome. Call it right after :meth:`gate`, so that no pause comes between."""
        self._move(TaskStatus.COMPLETED, completed_at=self._now(), result=result, result_detail=detail)

    def fail(self, detail: str) -> None:
        """The run itself failed."""
        self._reasons.clear()
        self._move(
            TaskStatus.FAILED,
            completed_at=self._now(),
            result=TaskResult.FAILED,
            result_detail=detail,
            pause_reason=None,
        )

    def settle(self, result: TaskResult | None = None, detail: str | None = None) -> None:
        """Marks a cancelled task as at rest, after its last file."""
        if self.status is TaskStatus.CANCELLED and not self.at_rest:
            self._change(completed_at=self._now(), result=result, result_detail=detail)

    def interrupt(self) -> None:
        """The service stops: workers stop at the gate. A pause by the operator survives the restart."""
        self._service_stops = True
        if not self.status.ended and PauseReason.USER not in self._reasons:
            self._reasons.clear()
            if self.status is not TaskStatus.INTERRUPTED:
                self._move(TaskStatus.INTERRUPTED, pause_reason=None)
        self._set_gate()

    # --- results

    def add_outcomes(self, outcomes: Sequence[FileOutcome]) -> None:
        """Counts outcomes, as one change."""
        self.counts = fold(self.counts, outcomes)
        self._failures.extendleft(outcome for outcome in outcomes if outcome.kind is OutcomeKind.FAILED)
        self._changed()

    @property
    def months_in_progress(self) -> frozenset[str]:
        """Months with a file in progress; ``""`` is for files outside any month."""
        return frozenset(self._in_progress.values())

    def begin_work(self, path: str, month: str, patient_dir: str) -> None:
        """Work on a file, or on a folder's known files, begins. The next change announces it."""
        self._in_progress[path] = month
        self._current_folder = f"{month}/{patient_dir}"

    def end_work(self, path: str) -> None:
        """The file has its outcome, or will have none."""
        self._in_progress.pop(path, None)

    def add_ignored(self, files: int = 1) -> None:
        self.counts = fold_ignored(self.counts, files)
        self._changed()

    def add_patient(self, change: PatientChange) -> None:
        self.counts = fold_patient(self.counts, change)
        self._changed()

    def add_skipped(self, *folders: SkippedFolder) -> None:
        self.skipped_folders_total += len(folders)
        room = SKIPPED_SHOWN - len(self.record.skipped_folders)
        if room > 0:
            self.record = replace(self.record, skipped_folders=self.record.skipped_folders + folders[:room])
        self._changed()

    def add_warnings(self, warnings: Iterable[FileWarning]) -> None:
        """Adds each warning once."""
        added = tuple(warning for warning in dict.fromkeys(warnings) if warning not in self.record.warnings)
        if added:
            self._change(warnings=self.record.warnings + added)

    def set_retried_by(self, task_id: str) -> None:
        self._change(retried_by=task_id)

    def expect(self, total: int, *, final: bool) -> None:
        """The quick count of the source has reached ``total``."""
        self.meter.expect(total, final=final)
        self._changed()

    def note_active_time(self) -> None:
        """Updates the record's active time, without an announcement."""
        if self._active_time_known:
            self.record = replace(self.record, active_seconds=round(self.meter.working_seconds, 3))

    # --- internal

    def _check_free(self, to: TaskStatus) -> None:
        """Only the operator and :meth:`release` end a pause, and only a resume ends an interruption."""
        if self._reasons or self._stopped():
            raise TaskTransitionError(f"任务 {self.task_id} 现在不能变为 {to}：它已暂停或停止。")

    def _working_status(self) -> TaskStatus:
        return TaskStatus.PENDING if self.record.started_at is None else TaskStatus.RUNNING

    def _apply_reasons(self) -> None:
        """Derives status and shown reason from the current reasons."""
        shown = next((reason for reason in _BY_PRIORITY if reason in self._reasons), None)
        waits_to_begin = self.status is TaskStatus.PENDING and shown in (PauseReason.OUTSIDE_ACTIVE_HOURS, None)
        wanted = self.status if waits_to_begin else TaskStatus.PAUSED if shown else self._working_status()
        if wanted is not self.status:
            self._move(wanted, pause_reason=shown)
        else:
            self._change(pause_reason=shown)

    def _move(self, to: TaskStatus, **changes: object) -> None:
        check_transition(self.task_id, self.status, to)
        if to is TaskStatus.RUNNING:
            self.meter.run()
            changes["started_at"] = self.record.started_at or self._now()
        else:
            self.meter.halt()
        self._change(status=to, **changes)
        _log.info("task=%s status=%s reason=%s", self.task_id, to.value, self.record.pause_reason or "-")

    def _change(self, **changes: object) -> None:
        self.note_active_time()
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]  # names of TaskRecord's fields
        self._set_gate()
        self._changed()

    def _changed(self) -> None:
        self.seq += 1
        self._announce(self.task_id)

    def _stopped(self) -> bool:
        return self._service_stops or self.status.ended or self.status is TaskStatus.INTERRUPTED

    def _set_gate(self) -> None:
        if self._stopped() or not self._reasons:
            self._wake_up.set()
