"""What the files of one run share, and how a run waits out faults that are no file's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from api_client import XieHeClient
from errors import (
    BackendAuthError,
    BackendError,
    DiskFullError,
    ImportServiceError,
    OutputUnusableError,
    SourceVanishedError,
)
from history import History
from importing.instance_ledger import InstanceLedger
from importing.patient_desk import DeskRoom, PatientDesk
from importing.turnstile import Turnstile
from models import ImportOptions, PauseReason, RenderOptions
from patient_identity import form_key
from render_pool import RenderExecutor
from task_registry import LiveTask

Result = TypeVar("Result")

_WAITED_OUT = (BackendError, DiskFullError, OutputUnusableError, SourceVanishedError)
"""Faults that are no file's own and may pass; any other HostError ends the task."""


@dataclass(frozen=True, slots=True)
class ImportTools:
    """What every run of the service shares."""

    history: History
    client: XieHeClient
    renderer: RenderExecutor
    desks: DeskRoom
    instances: InstanceLedger
    backend_url: str
    output_dir: str
    partial_dir: str
    keep_jpg: bool
    max_file_bytes: int
    exam_rules_path: str | None


@dataclass(frozen=True)
class RunContext:
    """One task's run, as its files see it."""

    task: LiveTask
    options: ImportOptions
    render: RenderOptions
    tools: ImportTools
    turnstile: Turnstile = field(default_factory=Turnstile)

    async def steadily(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Takes a step until no fault of the backend or of this machine is in its way.

        Such a fault pauses the task with its reason; whoever resumes it (a probe, or the operator) lets the step be
        taken again. The step must be safe to repeat.

        Raises:
            TaskStopped: the task was cancelled, or the service is stopping.
            FileError: the step's own.
        """
        while True:
            try:
                return await step()
            except _WAITED_OUT as error:
                self.pause_for(error)
            await self.task.gate()

    async def at_desk(self, desk: PatientDesk, step: Callable[[], Awaitable[Result]]) -> Result:
        """Takes a step under the desk's lock, the patient looked up before.

        The lock is free while a fault is waited out: another task may be at the same patient, and this one may be
        paused for days. Raises as :meth:`steadily`; the step must be safe to repeat.
        """
        tools = self.tools

        async def locked() -> Result:
            async with desk.lock:
                await desk.refresh(self.task.task_id, tools.backend_url, tools.client, tools.history)
                return await step()

        return await self.steadily(locked)

    async def count_patient(self, desk: PatientDesk, *, created: bool) -> None:
        """Counts the patient of a desk, once per task. Under the desk's lock."""
        if not desk.is_counted_for(self.task.task_id):
            key = form_key(desk.patient_id)
            self.task.add_patient(await self.tools.history.record_patient(self.task.task_id, key, created))
            desk.note_counted(self.task.task_id)

    def pause_for(self, error: ImportServiceError) -> None:
        """Pauses the task for a fault that is no file's own."""
        self.task.pause_automatically(pause_reason(error), error.detail)


def pause_reason(error: ImportServiceError) -> PauseReason:
    """The reason that ``/status`` shows for a fault."""
    if isinstance(error, BackendAuthError):
        return PauseReason.BACKEND_AUTH
    if isinstance(error, DiskFullError | OutputUnusableError):
        return PauseReason.DISK_FULL
    if isinstance(error, SourceVanishedError):
        return PauseReason.SOURCE_MISSING
    return PauseReason.BACKEND_UNAVAILABLE
