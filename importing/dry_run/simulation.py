"""A dry run is an import whose ports write nothing but a plan.

The plan is rows of the image index under a name of its own in place of XieHe's address. So it counts for no other task,
and outlives a restart. It is dropped when the task ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace

from api_client import MaySend, OnBegin
from domain.patient_identity import form_key
from history import History, SeenSource
from importing.patients.instance_registry import InstanceRegistry
from importing.patients.patient_cache import PatientCache
from importing.ports import BackendPort, HistoryPort
from importing.runs.run_context import RunTools
from importing.uploads.outage_breaker import OutageBreaker
from models import (
    FileOutcome,
    ImportedImage,
    NewPatient,
    PatientLookup,
    RemoteImage,
    RemotePatient,
    UploadIntent,
    UploadReceipt,
    UploadRequest,
)

_PLAN = "dry-run:"


def planning_tools(tools: RunTools, task_id: str) -> RunTools:
    """The tools of a dry run: all that would write is replaced."""
    history = SimulatedHistory(tools.history, _plan_name(task_id))
    client = SimulatedBackend(tools.client, history)
    return replace(
        tools,
        history=history,
        client=client,
        patient_cache=PatientCache(),
        instances=InstanceRegistry(history, client, tools.backend_url),
        keep_jpg=False,
        outage_breaker=OutageBreaker(0.0),
    )


async def drop_plan(history: History, task_id: str) -> None:
    """To be called when the task has ended. Raises HistoryError, DiskFullError."""
    await history.drop_plan(_plan_name(task_id))


async def drop_orphaned_plans(history: History, unfinished: Collection[str]) -> None:
    """Plans whose task ended without dropping them. Raises HistoryError, DiskFullError."""
    kept = {_plan_name(task_id) for task_id in unfinished}
    for plan in await history.planned_backends(_PLAN):
        if plan not in kept:
            await history.drop_plan(plan)


class SimulatedHistory:
    """The history with the plan's rows beside the real ones. Only the task's own report is really written."""

    def __init__(self, history: HistoryPort, plan: str) -> None:
        self._history = history
        self._plan = plan
        self.save_task = history.save_task
        self.recorded_paths = history.recorded_paths
        self.record_outcomes = history.record_outcomes
        self.record_left_out = history.record_left_out
        self.record_patient = history.record_patient
        self.seen_sources = history.seen_sources

    async def planned_images(self, patient_id: str) -> list[ImportedImage]:
        """What the dry run would have uploaded to a patient by now."""
        return await self._history.images_of_patient(self._plan, patient_id)

    async def record_outcome(
        self, task_id: str, outcome: FileOutcome, images: Sequence[ImportedImage] = (), seen: SeenSource | None = None
    ) -> bool:
        for image in images:
            await self.record_image(image)
        return await self._history.record_outcome(task_id, outcome)

    async def images_of_patient(self, backend_url: str, patient_id: str) -> list[ImportedImage]:
        real = await self._history.images_of_patient(backend_url, patient_id)
        return real + await self.planned_images(patient_id)

    async def instances(self, backend_url: str, sop_instance_uid: str) -> list[ImportedImage]:
        real = await self._history.instances(backend_url, sop_instance_uid)
        return real + await self._history.instances(self._plan, sop_instance_uid)

    async def record_image(self, image: ImportedImage, intent_id: str | None = None) -> None:
        await self._history.record_image(replace(image, backend_url=self._plan))

    # --- what only an import writes, or finds

    async def images_without_id(self, task_id: str, after: tuple[str, str]) -> list[ImportedImage]:
        return []

    async def open_intents(self, task_id: str) -> list[UploadIntent]:
        return []

    async def intents_of_name(self, image: ImportedImage) -> list[UploadIntent]:
        return []

    async def identify_image(self, image: ImportedImage) -> None: ...
    async def intend_patient(self, task_id: str, patient_key: str) -> None: ...
    async def drop_patient_intent(self, task_id: str, patient_key: str) -> None: ...
    async def add_intent(self, intent: UploadIntent) -> None: ...
    async def drop_intent(self, intent_id: str) -> None: ...


class SimulatedBackend:
    """XieHe as it would be after the import: read for real, written never."""

    def __init__(self, real: BackendPort, history: SimulatedHistory) -> None:
        self._real = real
        self._history = history
        self._planned: dict[str, RemotePatient] = {}

    async def find_patient(self, patient_id: str) -> PatientLookup | None:
        planned = self._planned.get(form_key(patient_id))
        if planned is not None:
            return PatientLookup(planned, created=False, differs_in_form=planned.patient_id != patient_id)
        return await self._real.find_patient(patient_id)

    async def create_patient(self, new: NewPatient) -> PatientLookup:
        """Plans the patient. One that was planned before a restart is recognized by its images."""
        planned = RemotePatient(_planned_row_id(new.patient_id), new.patient_id, new.sex, new.birth_date)
        self._planned[form_key(new.patient_id)] = planned
        return PatientLookup(planned, created=not await self._history.planned_images(new.patient_id))

    async def list_images(self, patient: RemotePatient) -> list[RemoteImage]:
        real = await self._real.list_images(patient) if patient.row_id > 0 else []
        planned = await self._history.planned_images(patient.patient_id)
        return real + [RemoteImage(0, row.stored_name, row.jpg_size, None) for row in planned if row.uploaded_by_us]

    async def upload(
        self, request: UploadRequest, *, known_ids: frozenset[int], on_begin: OnBegin, may_send: MaySend
    ) -> UploadReceipt:
        size = await asyncio.to_thread(os.path.getsize, request.path)
        return UploadReceipt(None, request.stored_name, size)

    async def try_upload(self, patient: RemotePatient) -> bool:
        return False

    async def settle(self, intent: UploadIntent, image_path: str) -> UploadReceipt | None:
        return None


def _plan_name(task_id: str) -> str:
    """Takes the place of XieHe's address in the rows of a task's plan."""
    return f"{_PLAN}{task_id}"


def _planned_row_id(patient_id: str) -> int:
    """Below zero, as no row of XieHe's; the same after a restart."""
    digest = hashlib.sha256(form_key(patient_id).encode("utf-8", "surrogateescape")).digest()
    return -1 - int.from_bytes(digest[:6], "big")
