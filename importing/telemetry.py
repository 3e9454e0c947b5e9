"""What the importer tells whoever measures it; it knows no metric, and works the same where nobody listens."""

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
    """Under way at all; what is in no other stage waits: for its turn, a patient's desk, the end of a pause."""
    READ = "read"
    """A render process reads its header, or it is in line for one."""
    RENDER = "render"
    """A render process reads it and makes its pictures, or it is in line for one."""
    UPLOAD = "upload"
    """Its pictures go to XieHe, or wait for their turn there."""


class Telemetry(Protocol):
    """Whoever measures. Called on the event loop; returns at once and never raises."""

    def file_done(self, outcome: FileOutcome, *, dry_run: bool) -> None:
        """A file's outcome is recorded."""

    def patient_counted(self, change: PatientChange) -> None:
        """A patient was met by a task that writes to XieHe."""

    def paused(self, reason: PauseReason) -> None:
        """A task begins to be held for a reason."""

    def in_flight(self, stage: Stage) -> AbstractContextManager[None]:
        """Held while a file is in a stage."""

    def task_ended(self, record: TaskRecord) -> None:
        """A task has come to rest."""

    def backend_called(self, operation: str, status: str, seconds: float) -> None:
        """One HTTP exchange with XieHe; ``status`` is its number or the name of the fault."""

    def backend_retried(self, operation: str) -> None:
        """A call to XieHe is about to be repeated."""

    def notice_sent(self, result: str) -> None:
        """A webhook delivery ended: ``delivered``, ``refused`` or ``given_up``."""

    def scheduled(self, result: str) -> None:
        """The schedule came round for a source: ``started``, ``skipped`` or ``failed``."""


class NullTelemetry:
    """A :class:`Telemetry` to which nobody listens."""

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
    """A real import that went through its whole source, though some files may have failed."""
    through = record.status is TaskStatus.COMPLETED and record.result is not TaskResult.FAILED
    return through and not record.options.dry_run


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is measured by looking, not by counting.

    Attributes:
        tasks: tasks that have not ended, by status.
        paused: of these, how many are held for which reason (the one that is shown).
        render_workers, render_alive: render processes wanted and living.
        uploads_per_second: the limit in force, None for none.
        uploads_at_once: the limit in force.
        background_restarts: restarts of each background job after a defect.
        next_scheduled_s: the next scheduled import, seconds since the epoch, None for none.
        history_damaged: the history's file is known to be damaged, and is not used.
        connections_closed: connections of clients that a limit ended, by the limit.
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
