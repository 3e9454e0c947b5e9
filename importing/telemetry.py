"""What the importer reports to metrics; it knows no metric itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from models import FileOutcome, PatientChange, PauseReason, TaskRecord, TaskResult, TaskStatus


class Stage(StrEnum):
    """What a file that is under way is doing."""

    FILE = "file"
    """Under way. A file in no other stage waits: for its ticket, a patient's lock, the end of a pause."""
    READ = "read"
    """A render process reads its header, or it waits for one."""
    RENDER = "render"
    """A render process reads it and makes its images, or it waits for one."""
    UPLOAD = "upload"
    """Its images go to XieHe, or wait for that."""


class Telemetry(Protocol):
    """Receives what happens. Methods run on the event loop, return at once and never raise."""

    def file_done(self, outcome: FileOutcome, *, dry_run: bool) -> None:
        """A file's outcome is recorded."""

    def patient_counted(self, change: PatientChange) -> None:
        """A task that writes to XieHe counted a patient."""

    def paused(self, reason: PauseReason) -> None:
        """A task pauses for a reason."""

    def in_flight(self, stage: Stage) -> AbstractContextManager[None]:
        """A context around the stage of a file."""

    def task_ended(self, record: TaskRecord) -> None:
        """A task has ended."""

    def backend_called(self, operation: str, status: str, seconds: float) -> None:
        """One HTTP exchange with XieHe; ``status`` is its number or the name of the fault."""

    def backend_retried(self, operation: str) -> None:
        """A call to XieHe is about to be repeated."""

    def notice_sent(self, result: str) -> None:
        """A webhook delivery ended: ``delivered``, ``refused`` or ``given_up``."""

    def scheduled(self, result: str) -> None:
        """A scheduled import was due: ``started``, ``skipped`` or ``failed``."""


class NullTelemetry:
    """No-op telemetry."""

    def file_done(self, outcome: FileOutcome, *, dry_run: bool) -> None: ...

    def patient_counted(self, change: PatientChange) -> None: ...

    def paused(self, reason: PauseReason) -> None: ...

    def in_flight(self, stage: Stage) -> AbstractContextManager[None]:
        return nullcontext()

    def task_ended(self, record: TaskRecord) -> None: ...

    def backend_called(self, operation: str, status: str, seconds: float) -> None: ...

    def backend_retried(self, operation: str) -> None: ...

    def notice_sent(self, result: str) -> None: ...

    def scheduled(self, result: str) -> None: ...


def ran_to_its_end(record: TaskRecord) -> bool:
    """Whether a real import processed its whole source; files may have failed."""
    through = record.status is TaskStatus.COMPLETED and record.result is not TaskResult.FAILED
    return through and not record.options.dry_run


@dataclass(frozen=True, slots=True)
class Gauges:
    """Current values, as opposed to counts.

    Attributes:
        tasks: tasks that have not ended, by status.
        paused: of these, the paused ones by the reason that is shown.
        render_workers, render_alive: render processes wanted and living.
        uploads_per_second: the current limit, None for none.
        uploads_at_once: the current limit.
        background_restarts: restarts of each background job after a defect.
        next_scheduled_s: the next scheduled import, seconds since the epoch, None for none.
        history_damaged: the file of the history is damaged, and is not used.
        connections_closed: client connections that a limit closed, by the limit.
    """

    tasks: Mapping[TaskStatus, int] = field(default_factory=dict)
    paused: Mapping[PauseReason, int] = field(default_factory=dict)
    render_workers: int = 0
    render_alive: int = 0
    uploads_per_second: float | None = None
    uploads_at_once: int = 0
    background_restarts: Mapping[str, int] = field(default_factory=dict)
    next_scheduled_s: float | None = None
    history_damaged: bool = False
    connections_closed: Mapping[str, int] = field(default_factory=dict)
