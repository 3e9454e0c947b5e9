"""What a dry run tells before anything is written: the sums, and how long the real import would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from api_client import XieHeClient
from importing.task_views import TaskArchive, TaskView
from models import Contract, Counts, TaskStatus

_TASKS_LOOKED_AT = 50
_IMAGES_ENOUGH = 20
"""A task with fewer new images says nothing about a pace."""
_PACE_OF = {Contract.C1: 10.0, Contract.C2: 10.0, Contract.C3: 5.0, Contract.C4: 5.0}
"""Images per second that the proxy of a XieHe deployment lets through, where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that the real import would take, None where it cannot be known, and why so (Chinese)."""

    seconds: int | None
    basis: str


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
        """The slower of rendering, as this run measured it, and uploading."""
        record, images = view.record, view.counts.frames_uploaded
        if record.status is not TaskStatus.COMPLETED or record.started_at is None or record.completed_at is None:
            return Estimate(None, "试运行结束后给出")
        rendering = (record.completed_at - record.started_at).total_seconds()
        pace, basis = await self._pace()
        if pace is None:
            return Estimate(None, basis)
        return Estimate(math.ceil(max(rendering, images / pace, 1)), basis)

    async def _pace(self) -> tuple[float | None, str]:
        """Images per second, and where that is known from."""
        bound = self._uploads_per_second
        measured = await self._measured()
        if measured is not None:
            pace = measured if bound is None else min(measured, bound)
            return pace, f"按最近一次导入的速度（每秒 {measured:.1f} 张）与本次试运行的用时估计"
        if bound is not None:
            return bound, f"按 UPLOADS_PER_SECOND={bound:g} 与本次试运行的用时估计"
        contract = self._client.contract
        if contract is None:
            return None, "XieHe 暂时无法访问，也没有以往的导入可供参考，无法估计"
        return _PACE_OF[
            contract
        ], f"没有以往的导入可供参考，按 XieHe 部署的默认限速（每秒 {_PACE_OF[contract]:g} 张）估计"

    async def _measured(self) -> float | None:
        """Images per second of the newest import that had enough of them."""
        _, views = await self._archive.tasks(0, _TASKS_LOOKED_AT)
        for view in views:
            record, images = view.record, view.counts.frames_uploaded
            real = not record.options.dry_run and record.status is TaskStatus.COMPLETED
            if real and images >= _IMAGES_ENOUGH and record.started_at and record.completed_at:
                return images / max(1.0, (record.completed_at - record.started_at).total_seconds())
        return None
