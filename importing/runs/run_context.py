"""What the files of one run share, and how a run waits for recovery from faults of XieHe or of this machine."""

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

_PAUSE_REASONS: dict[type[ImportServiceError], PauseReason] = {
    BackendAuthError: PauseReason.BACKEND_AUTH,
    BackendError: PauseReason.BACKEND_UNAVAILABLE,
    DiskFullError: PauseReason.DISK_FULL,
    OutputUnusableError: PauseReason.DISK_FULL,
    SourceVanishedError: PauseReason.SOURCE_MISSING,
    RendererUnavailableError: PauseReason.RENDERER_UNAVAILABLE,
    OutOfDescriptorsError: PauseReason.OUT_OF_DESCRIPTORS,
}
"""Faults that pause a task. Any other HostError ends it."""
_RECOVERABLE = tuple(_PAUSE_REASONS)


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
    """What every run of the service shares."""

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
        """Runs ``step``. On a recoverable fault, pauses the task and reruns ``step`` after resume.

        Raises TaskStopped if the task was cancelled or the service is stopping, and what else ``step`` raises.
        """
        while True:
            try:
                return await step()
            except _RECOVERABLE as error:
                self.pause_for(error)
            await self.task.gate()

    async def with_patient_lock(self, entry: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        """Runs ``step`` under the entry's lock, after the patient was looked up; repeats it as retry_after_pause.

        The lock is free during a pause, since other tasks may need the patient. Raises PatientUnavailableError if XieHe
        fails for this patient alone.
        """
        rounds = 0

        async def attempt() -> Result:
            nonlocal rounds
            self.patient_breaker.check(entry.patient_id)
            try:
                result = await self._locked(entry, step)
            except BackendUnavailableError:
                rounds += 1
                if rounds < FAULTS_ENOUGH:
                    raise
                result = await self._between_probes(entry, step)
            self.patient_breaker.note_served(entry.patient_id, entry.patient)
            return result

        return await self.retry_after_pause(attempt)

    async def _between_probes(self, entry: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        """Runs the step once more. Opens the patient's breaker if it fails while XieHe serves another one.

        The other patient is asked for before and after, so that a XieHe which recovers meanwhile does not count.
        """
        served_before = await self._probe_other_patient(entry)
        try:
            return await self._locked(entry, step)
        except BackendUnavailableError:
            if served_before and await self._probe_other_patient(entry):
                self.patient_breaker.open(entry.patient_id)
            raise

    async def _probe_other_patient(self, entry: PatientEntry) -> bool:
        return await self.patient_breaker.serves_another(entry.patient_id, self.tools.client)

    async def _locked(self, entry: PatientEntry, step: Callable[[], Awaitable[Result]]) -> Result:
        tools = self.tools
        async with entry.lock:
            await entry.refresh(self.task.task_id, tools.backend_url, tools.client, tools.history)
            return await step()

    async def count_patient(self, entry: PatientEntry, *, created: bool) -> None:
        """Counts the patient once per task. To be called under the entry's lock."""
        task_id = self.task.task_id
        if task_id in entry.counted_for:
            return
        change = await self.tools.history.record_patient(task_id, form_key(entry.patient_id), created)
        self.task.add_patient(change)
        if not self.options.dry_run:
            self.tools.telemetry.patient_counted(change)
        entry.counted_for.add(task_id)

    def pause_for(self, error: ImportServiceError, detail: str | None = None) -> None:
        """Pauses the task for a fault of XieHe or of this machine; ``detail`` replaces the error's."""
        reason = pause_reason(error)
        if reason not in self.task.pause_reasons:  # each file under way meets the same fault
            self.tools.telemetry.paused(reason)
        self.task.pause_automatically(reason, detail or error.detail)


def pause_reason(error: ImportServiceError) -> PauseReason:
    """The reason that ``/status`` shows for a fault."""
    return next(reason for kind, reason in _PAUSE_REASONS.items() if isinstance(error, kind))
