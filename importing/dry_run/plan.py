"""The plan that a dry run shows: the sums, and how long the real import would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from api_client import XieHeClient
from importing.runs.task_views import TaskArchive, TaskView
from models import Contract, TaskRecord, TaskStatus

_TASKS_LOOKED_AT = 50
_IMAGES_ENOUGH = 20
"""A task with fewer new images says nothing about a pace."""
_PACE_OF = {Contract.C1: 10.0, Contract.C2: 10.0, Contract.C3: 5.0, Contract.C4: 5.0}
"""Images per second that the proxy of a XieHe deployment lets through."""


@dataclass(frozen=True, slots=True)
class DryRunPlan:
    """What the real import would do. ``estimate_task_id`` is the import whose pace was taken."""

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


@dataclass(frozen=True, slots=True)
class _Pace:
    """Images per second, None if unknown; how that is known (Chinese), and the import that was measured."""

    images_per_second: float | None
    basis: str
    task_id: str | None = None


class Estimator:
    """Estimates from the pace of earlier imports, or from the limits of XieHe's proxy."""

    def __init__(self, archive: TaskArchive, client: XieHeClient, uploads_per_second: float | None) -> None:
        self._archive = archive
        self._client = client
        self._limit = uploads_per_second

    async def plan(self, view: TaskView) -> DryRunPlan | None:
        """The plan of a dry run, None for an import."""
        record, counts = view.record, view.counts
        if not record.options.dry_run:
            return None
        rendering_s, pace = _active_s(record), _Pace(None, "试运行结束后给出")
        if record.status is TaskStatus.COMPLETED and rendering_s is not None:
            pace = await self._pace()
        seconds = None
        if pace.images_per_second is not None:  # the slower of rendering, as this run measured it, and uploading
            seconds = math.ceil(max(rendering_s or 0.0, counts.frames_uploaded / pace.images_per_second, 1))
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
            estimated_seconds=seconds,
            estimate_basis=pace.basis,
            estimate_task_id=pace.task_id,
        )

    async def _pace(self) -> _Pace:
        """Of the newest comparable import, else of the settings, else of XieHe's proxy."""
        measured = await self._measured()
        if measured is not None:
            return _pace_of(measured, self._limit or math.inf)
        if self._limit is not None:
            return _Pace(self._limit, f"按 UPLOADS_PER_SECOND={self._limit:g} 与本次试运行的用时估计")
        contract = self._client.contract
        if contract is None:
            return _Pace(None, "XieHe 暂时无法访问，也没有以往的导入可供参考，无法估计")
        pace = _PACE_OF[contract]
        return _Pace(pace, f"没有以往的导入可供参考，按 XieHe 部署的默认限速（每秒 {pace:g} 张）估计")

    async def _measured(self) -> TaskView | None:
        """The newest import with enough images; one without a known active time only if no other has it."""
        _, views = await self._archive.tasks(0, _TASKS_LOOKED_AT)
        usable = [view for view in views if _is_comparable(view)]
        known = (view for view in usable if view.record.active_seconds is not None)
        return next(known, usable[0] if usable else None)


def _is_comparable(view: TaskView) -> bool:
    record = view.record
    real = not record.options.dry_run and record.status is TaskStatus.COMPLETED
    return real and view.counts.frames_uploaded >= _IMAGES_ENOUGH and _active_s(record) is not None


def _pace_of(view: TaskView, limit: float) -> _Pace:
    record, images = view.record, view.counts.frames_uploaded
    seconds = max(1.0, _active_s(record) or 0.0)
    pauses = "不含暂停" if record.active_seconds is not None else "旧版本的记录，可能含暂停，实际可能更快"
    basis = (
        f"按导入任务 {record.task_id} 的速度（{images} 张用时 {seconds:.0f} 秒，{pauses}，"
        f"即每秒 {images / seconds:.1f} 张）与本次试运行的用时估计"
    )
    return _Pace(min(images / seconds, limit), basis, record.task_id)


def _active_s(record: TaskRecord) -> float | None:
    """Working time; of a task that an older version began, the whole time, which may hold pauses."""
    if record.active_seconds is not None or record.started_at is None or record.completed_at is None:
        return record.active_seconds
    return (record.completed_at - record.started_at).total_seconds()
