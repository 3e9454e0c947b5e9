"""A dry run takes the same way as an import; only what it would write is written nowhere but into a plan.

The plan is rows of the index of imported images under a name of its own in place of a XieHe's address, so that it does
not count for anybody else, outlives a restart with its task, and takes no memory. It is dropped when the task ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace

from api_client import BackendHealth, MaySend, OnBegin
from domain.patient_identity import form_key
from history import History, SeenSource
from importing.patients.instance_registry import InstanceRegistry
from importing.patients.patient_cache import PatientCache
from importing.ports import BackendPort
from importing.runs.run_context import ImportTools, RunTools
from importing.uploads.outage_breaker import OutageBreaker
from models import (
    FileOutcome,
    IgnoredFile,
    ImportedImage,
    NewPatient,
    PatientChange,
    PatientLookup,
    RemoteImage,
    RemotePatient,
    SkippedFolder,
    TaskRecord,
    UploadIntent,
    UploadReceipt,
    UploadRequest,
)

_PLAN = "dry-run:"


def plan_name(task_id: str) -> str:
    """What stands for a XieHe's address in the rows of a task's plan."""
    return f"{_PLAN}{task_id}"


def planning_tools(tools: ImportTools, task_id: str) -> RunTools:
    """The tools of a dry run: the same, but for all that writes. Pictures are made, measured and thrown away."""
    memory = SimulatedHistory(tools.history, plan_name(task_id))
    target = SimulatedBackend(tools.client, memory)
    return RunTools(
        history=memory,
        client=target,
        renderer=tools.renderer,
        patient_cache=PatientCache(),
        instances=InstanceRegistry(memory, target, tools.backend_url),
        backend_url=tools.backend_url,
        output_dir=tools.output_dir,
        partial_dir=tools.partial_dir,
        keep_jpg=False,
        max_file_bytes=tools.max_file_bytes,
        exam_rules_path=tools.exam_rules_path,
        image_extensions=tools.image_extensions,
        sources=tools.sources,
        skip_for_processing=tools.skip_for_processing,
        telemetry=tools.telemetry,
        outage_breaker=OutageBreaker(0.0),
    )


async def drop_plan(tools: ImportTools, task_id: str) -> None:
    """To be called when the task has ended. Raises HistoryError, DiskFullError."""
    await tools.history.drop_plan(plan_name(task_id))


async def drop_orphaned_plans(history: History, unfinished: Collection[str]) -> None:
    """Plans whose task ended without dropping them. Raises HistoryError, DiskFullError."""
    kept = {plan_name(task_id) for task_id in unfinished}
    for plan in await history.planned_backends(_PLAN):
        if plan not in kept:
            await history.drop_plan(plan)


class SimulatedHistory:
    """The history, with the plan's rows beside the real ones, and nothing real written but the task's own report."""

    def __init__(self, history: History, plan: str) -> None:
        self._history = history
        self._plan = plan

    async def planned_images(self, patient_id: str) -> list[ImportedImage]:
        """What the dry run would have uploaded to a patient by now."""
        return await self._history.images_of_patient(self._plan, patient_id)

    # --- the task's own report

    async def save_task(self, record: TaskRecord) -> None:
        await self._history.save_task(record)

    async def recorded_paths(self, task_id: str, folder: str) -> set[str]:
        return await self._history.recorded_paths(task_id, folder)

    async def record_outcome(
        self,
        task_id: str,
        outcome: FileOutcome,
        images: Sequence[ImportedImage] = (),
        seen: SeenSource | None = None,
    ) -> bool:
        for image in images:
            await self.record_image(image)
        return await self._history.record_outcome(task_id, outcome)

    async def record_outcomes(self, task_id: str, outcomes: Sequence[FileOutcome]) -> list[bool]:
        return await self._history.record_outcomes(task_id, outcomes)

    async def record_left_out(self, task_id: str, items: Sequence[IgnoredFile | SkippedFolder]) -> list[bool]:
        return await self._history.record_left_out(task_id, items)

    async def record_patient(self, task_id: str, patient_key: str, created: bool | None) -> PatientChange:
        return await self._history.record_patient(task_id, patient_key, created)

    # --- the index of imported images, and the plan

    async def seen_sources(self, backend_url: str, folder: str) -> dict[str, SeenSource]:
        return await self._history.seen_sources(backend_url, folder)

    async def images_of_patient(self, backend_url: str, patient_id: str) -> list[ImportedImage]:
        real = await self._history.images_of_patient(backend_url, patient_id)
        return real + await self.planned_images(patient_id)

    async def instances(self, backend_url: str, sop_instance_uid: str) -> list[ImportedImage]:
        real = await self._history.instances(backend_url, sop_instance_uid)
        return real + await self._history.instances(self._plan, sop_instance_uid)

    async def record_image(self, image: ImportedImage, intent_id: str | None = None) -> None:
        await self._history.record_image(replace(image, backend_url=self._plan))

    # --- what only an import writes

    async def images_without_id(
        self,
        task_id: str,
        after: tuple[str, str] = ("", ""),
        limit: int = 500,
    ) -> list[ImportedImage]:
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
    """XieHe as it would be: asked where it can be, nothing sent."""

    def __init__(self, real: BackendPort, memory: SimulatedHistory) -> None:
        self._real = real
        self._memory = memory
        self._planned: dict[str, RemotePatient] = {}

    async def check(self) -> BackendHealth:
        return await self._real.check()

    async def find_patient(self, patient_id: str) -> PatientLookup | None:
        planned = self._planned.get(form_key(patient_id))
        if planned is not None:
            return PatientLookup(planned, created=False, differs_in_form=planned.patient_id != patient_id)
        return await self._real.find_patient(patient_id)

    async def create_patient(self, new: NewPatient) -> PatientLookup:
        """Plans the patient; one that was planned before the service was restarted is found again by its pictures."""
        planned = RemotePatient(_planned_row_id(new.patient_id), new.patient_id, new.sex, new.birth_date)
        self._planned[form_key(new.patient_id)] = planned
        return PatientLookup(planned, created=not await self._memory.planned_images(new.patient_id))

    async def list_images(self, patient: RemotePatient) -> list[RemoteImage]:
        real = await self._real.list_images(patient) if patient.row_id > 0 else []
        planned = await self._memory.planned_images(patient.patient_id)
        return real + [RemoteImage(0, row.stored_name, row.jpg_size, None) for row in planned if row.uploaded_by_us]

    async def upload(
        self,
        request: UploadRequest,
        *,
        known_ids: frozenset[int] | None = None,
        on_begin: OnBegin | None = None,
        may_send: MaySend | None = None,
    ) -> UploadReceipt:
        size = await asyncio.to_thread(os.path.getsize, request.path)
        return UploadReceipt(None, request.stored_name, size)

    async def try_upload(self, patient: RemotePatient) -> bool:
        return False

    async def settle(self, intent: UploadIntent, image_path: str = "") -> UploadReceipt | None:
        return None


def _planned_row_id(patient_id: str) -> int:
    """Below zero, as no row of XieHe's; the same after a restart."""
    digest = hashlib.sha256(form_key(patient_id).encode("utf-8", "surrogateescape")).digest()
    return -1 - int.from_bytes(digest[:6], "big")
