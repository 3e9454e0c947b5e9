"""What the files of one run share, and how a run waits out faults that are no file's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from api_client import XieHeClient
from domain.patient_identity import form_key
from errors import (
    BackendAuthError,
    BackendError,
    BackendUnavailableError,
    DiskFullError,
    ImportServiceError,
    OutOfDescriptorsError,
    OutputUnusableError,
    RendererUnavailableError,
    SourceVanishedError,
)
from history import History
from importing.naming.ticket_lock import KeyedTicketLock
from importing.patients.instance_registry import InstanceRegistry
from importing.patients.patient_cache import PatientCache, PatientEntry
from importing.patients.patient_circuit_breaker import FAULTS_ENOUGH, PatientCircuitBreaker
from importing.ports import BackendPort, HistoryPort
from importing.telemetry import Telemetry
from importing.threads import SourceLooks
from importing.uploads.outage_breaker import OutageBreaker
from models import Area, ImportOptions, PauseReason, RenderOptions
from render import RenderExecutor
from tasks import LiveTask

Result = TypeVar("Result")

_WAITED_OUT = (
    BackendError,
    DiskFullError,
    OutOfDescriptorsError,
    OutputUnusableError,
    RendererUnavailableError,
    SourceVanishedError,
)
"""Faults that are no file's own and may pass; any other HostError ends the task."""


OF_THE_BACKEND = (PauseReason.BACKEND_UNAVAILABLE, PauseReason.BACKEND_AUTH)


@dataclass(frozen=True, slots=True)
class RunTools:
    """What one run works with."""

    history: HistoryPort
    client: BackendPort
    renderer: RenderExecutor
    patient_cache: PatientCache
    instances: InstanceRegistry
    backend_url: str
    output_dir: str
    partial_dir: str
    keep_jpg: bool
    max_file_bytes: int
    exam_rules_path: str | None
    image_extensions: tuple[str, ...]
    sources: Area
    skip_for_processing: bool
    telemetry: Telemetry
    outage_breaker: OutageBreaker


@dataclass(frozen=True, slots=True)
class ImportTools(RunTools):
    """What every run of the service shares: the rooms themselves."""

    history: History
    client: XieHeClient
    looks: SourceLooks


@dataclass(frozen=True)
class RunContext:
    """One task's run, as its files see it."""

    task: LiveTask
    options: ImportOptions
    render: RenderOptions
    tools: RunTools
    name_order: KeyedTicketLock = field(default_factory=KeyedTicketLock)
    patient_breaker: PatientCircuitBreaker = field(default_factory=PatientCircuitBreaker)

    async def retry_after_pause(self, step: Callable[[], Awaitable[Result]]) -> Result:
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

    async def with_patient_lock(self, desk: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        """Takes a step under the desk's lock, the patient looked up before.

        The lock is free while a fault is waited out: another task may be at the same patient, and this one may be
        paused for days. Raises as :meth:`retry_after_pause`, and PatientUnavailableError if XieHe fails for this
        patient alone; the step must be safe to repeat.
        """
        rounds = 0

        async def attempt() -> Result:
            nonlocal rounds
            self.patient_breaker.refuse_blamed(desk.patient_id)
            try:
                result = await self._locked(desk, step)
            except BackendUnavailableError:
                rounds += 1
                if rounds < FAULTS_ENOUGH:
                    raise
                result = await self._with_witnesses(desk, step)
            self.patient_breaker.note_served(desk.patient_id, desk.patient)
            return result

        return await self.retry_after_pause(attempt)

    async def _with_witnesses(self, desk: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        """Takes the step once more, another patient being asked for before and after.

        Only where XieHe serves that one both times, and fails in between, is this patient the cause: a XieHe that
        recovers, or has good moments, is told from it by the first and the last answer.
        """
        before = await self.patient_breaker.others_are_served(desk.patient_id, self.tools.client)
        try:
            return await self._locked(desk, step)
        except BackendUnavailableError:
            if before and await self.patient_breaker.others_are_served(desk.patient_id, self.tools.client):
                self.patient_breaker.blame(desk.patient_id)
            raise

    async def _locked(self, desk: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        tools = self.tools
        async with desk.lock:
            await desk.refresh(self.task.task_id, tools.backend_url, tools.client, tools.history)
            return await step()

    async def count_patient(self, desk: PatientEntry, *, created: bool) -> None:
        """Counts the patient of a desk, once per task. Under the desk's lock."""
        if not desk.is_counted_for(self.task.task_id):
            key = form_key(desk.patient_id)
            change = await self.tools.history.record_patient(self.task.task_id, key, created)
            self.task.add_patient(change)
            if not self.options.dry_run:
                self.tools.telemetry.patient_counted(change)
            desk.note_counted(self.task.task_id)

    def pause_for(self, error: ImportServiceError, detail: str | None = None) -> None:
        """Pauses the task for a fault that is no file's own; ``detail`` in place of the error's."""
        reason = pause_reason(error)
        if reason not in self.task.pause_reasons:  # each file under way meets the same fault
            self.tools.telemetry.paused(reason)
        self.task.pause_automatically(reason, detail or error.detail)


def pause_reason(error: ImportServiceError) -> PauseReason:
    """The reason that ``/status`` shows for a fault."""
    if isinstance(error, BackendAuthError):
        return PauseReason.BACKEND_AUTH
    if isinstance(error, DiskFullError | OutputUnusableError):
        return PauseReason.DISK_FULL
    if isinstance(error, SourceVanishedError):
        return PauseReason.SOURCE_MISSING
    if isinstance(error, RendererUnavailableError):
        return PauseReason.RENDERER_UNAVAILABLE
    if isinstance(error, OutOfDescriptorsError):
        return PauseReason.OUT_OF_DESCRIPTORS
    return PauseReason.BACKEND_UNAVAILABLE
