"""What a dry run tells before anything is written: the sums, and how long the real import would take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from api_client import XieHeClient
from importing.runs.task_views import TaskArchive, TaskView
from models import Contract, Counts, TaskRecord, TaskStatus

_TASKS_LOOKED_AT = 50
_IMAGES_ENOUGH = 20
"""A task with fewer new images says nothing about a pace."""
_PACE_OF = {Contract.C1: 10.0, Contract.C2: 10.0, Contract.C3: 5.0, Contract.C4: 5.0}
"""Images per second that the proxy of a XieHe deployment lets through, where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that the real import would take, None where it cannot be known, and why so (Chinese).

    ``task_id`` is the import whose pace was taken.
    """

    seconds: int | None
    basis: str
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Pace:
    """Images per second, None where unknown; where that is known from (Chinese), and the import that was measured."""

    images_per_second: float | None
    basis: str
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class DryRunPlan:
    """What the real import would do."""

    patients_to_create: int
    patients_to_reuse: int
    files_to_upload: int
    images_to_upload: int
    duplicates: int
    held: int
    unreadable: int
    no_pixel: int
    bytes_to_upload: int
    estimated_seconds: int | None
    estimate_basis: str
    estimate_task_id: str | None


def plan_of(counts: Counts, estimate: Estimate) -> DryRunPlan:
    """The counters of a dry run, in the words of a plan."""
    return DryRunPlan(
        patients_to_create=counts.new_patients_created,
        patients_to_reuse=counts.existing_patients_skipped,
        files_to_upload=counts.new_images_uploaded,
        images_to_upload=counts.frames_uploaded,
        duplicates=counts.duplicate_images_skipped,
        held=counts.held_files,
        unreadable=counts.failed_files - counts.held_files - counts.no_pixel_files,
        no_pixel=counts.no_pixel_files,
        bytes_to_upload=counts.bytes_uploaded,
        estimated_seconds=estimate.seconds,
        estimate_basis=estimate.basis,
        estimate_task_id=estimate.task_id,
    )


class Estimator:
    """Estimates from what earlier imports took, or from the limits of XieHe's proxy."""

    def __init__(self, archive: TaskArchive, client: XieHeClient, uploads_per_second: float | None) -> None:
        self._archive = archive
        self._client = client
        self._uploads_per_second = uploads_per_second

    async def plan(self, view: TaskView) -> DryRunPlan | None:
        """The plan of a dry run, None for an import."""
        return plan_of(view.counts, await self._estimate(view)) if view.record.options.dry_run else None

    async def _estimate(self, view: TaskView) -> Estimate:
        """The slower of rendering, as this run measured it, and uploading; working time only."""
        record, images = view.record, view.counts.frames_uploaded
        rendering = _active_s(record)
        if record.status is not TaskStatus.COMPLETED or rendering is None:
            return Estimate(None, "试运行结束后给出")
        pace = await self._pace()
        if pace.images_per_second is None:
            return Estimate(None, pace.basis)
        return Estimate(math.ceil(max(rendering, images / pace.images_per_second, 1)), pace.basis, pace.task_id)

    async def _pace(self) -> _Pace:
        """Of the newest import that can be a measure, else of the settings, else of XieHe's proxy."""
        bound = self._uploads_per_second
        measured = await self._measured()
        if measured is not None and measured.images_per_second is not None:
            return (
                measured
                if bound is None
                else replace(measured, images_per_second=min(measured.images_per_second, bound))
            )
        if bound is not None:
            return _Pace(bound, f"按 UPLOADS_PER_SECOND={bound:g} 与本次试运行的用时估计")
        contract = self._client.contract
        if contract is None:
            return _Pace(None, "XieHe 暂时无法访问，也没有以往的导入可供参考，无法估计")
        pace = _PACE_OF[contract]
        return _Pace(pace, f"没有以往的导入可供参考，按 XieHe 部署的默认限速（每秒 {pace:g} 张）估计")

    async def _measured(self) -> _Pace | None:
        """Of the newest import with enough images; of one without a known active time only if no other has it."""
        _, views = await self._archive.tasks(0, _TASKS_LOOKED_AT)
        usable = [view for view in views if _is_a_measure(view)]
        known = (view for view in usable if view.record.active_seconds is not None)
        view = next(known, usable[0] if usable else None)
        return None if view is None else _pace_of(view)


def _is_a_measure(view: TaskView) -> bool:
    record = view.record
    real = not record.options.dry_run and record.status is TaskStatus.COMPLETED
    return real and view.counts.frames_uploaded >= _IMAGES_ENOUGH and _active_s(record) is not None


def _pace_of(view: TaskView) -> _Pace:
    record, images = view.record, view.counts.frames_uploaded
    seconds = max(1.0, _active_s(record) or 0.0)
    pauses = "不含暂停" if record.active_seconds is not None else "旧版本的记录，可能含暂停，实际可能更快"
    basis = (
        f"按导入任务 {record.task_id} 的速度（{images} 张用时 {seconds:.0f} 秒，{pauses}，"
        f"即每秒 {images / seconds:.1f} 张）与本次试运行的用时估计"
    )
    return _Pace(images / seconds, basis, record.task_id)


def _active_s(record: TaskRecord) -> float | None:
    """Working time; of a task that an older version began, the whole time, which may hold pauses."""
    if record.active_seconds is not None or record.started_at is None or record.completed_at is None:
        return record.active_seconds
    return (record.completed_at - record.started_at).total_seconds()
