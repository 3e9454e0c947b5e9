"""How long an import will take: from the working time of earlier ones, and from which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from importing.dry_run.plan import DryRunPlan, Estimator
from importing.runs.task_views import TaskView
from models import Contract, Counts, ImportOptions, TaskRecord, TaskStatus
from tasks import Progress

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def a_view(name: str, images: int, took_s: float, active_s: float | None, *, dry_run: bool = False) -> TaskView:
    record = TaskRecord(
        name,
        "/srv",
        ImportOptions(dry_run=dry_run),
        TaskStatus.COMPLETED,
        NOON,
        started_at=NOON,
        completed_at=NOON + timedelta(seconds=took_s),
        active_seconds=active_s,
    )
    return TaskView(record, Counts(frames_uploaded=images), (), Progress(100.0, 0.0, None, images, True))


async def plan(dry: TaskView, *earlier: TaskView, bound: float | None = None) -> DryRunPlan:
    async def tasks(offset: int, limit: int) -> tuple[int, list[TaskView]]:
        return len(earlier), list(earlier)

    archive: Any = SimpleNamespace(tasks=tasks)
    client: Any = SimpleNamespace(contract=Contract.C4)
    found = await Estimator(archive, client, bound).plan(dry)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("took_s", "active_s", "seconds"),
    [
        (66, 6.0, 6),  # 60 images in 6 s, and a pause of 60 s
        (6, 6.0, 6),
        (36_006, 6.0, 6),  # paused for a night
        (120, 60.0, 60),
        (61, 0.4, 1),  # below a second nothing is measured
    ],
)
async def test_pauses_of_an_earlier_import_are_no_work(took_s: float, active_s: float, seconds: int) -> None:
    found = await plan(a_view("dry", 60, 1, 1.0, dry_run=True), a_view("import-1", 60, took_s, active_s))
    assert (found.estimated_seconds, found.estimate_task_id) == (seconds, "import-1")
    assert "import-1" in found.estimate_basis
    assert "60 张" in found.estimate_basis
    assert "不含暂停" in found.estimate_basis


async def test_pauses_of_the_dry_run_itself_are_no_rendering() -> None:
    found = await plan(a_view("dry", 60, 3_600, 3.0, dry_run=True), a_view("import-1", 60, 6, 6.0))
    assert found.estimated_seconds == 6


async def test_an_import_without_a_known_active_time_counts_only_if_no_other_has_one() -> None:
    dry, old, new = a_view("dry", 60, 1, 1.0, dry_run=True), a_view("old", 60, 66, None), a_view("new", 60, 66, 6.0)
    both, alone = await plan(dry, old, new), await plan(dry, old)
    assert (both.estimated_seconds, both.estimate_task_id) == (6, "new")
    assert (alone.estimated_seconds, alone.estimate_task_id) == (66, "old")
    assert "可能含暂停" in alone.estimate_basis


async def test_dry_runs_small_and_unfinished_imports_are_no_measure() -> None:
    running = a_view("running", 60, 6, 6.0)
    running = replace(running, record=replace(running.record, status=TaskStatus.RUNNING))
    others = (a_view("dry-0", 60, 1, 1.0, dry_run=True), a_view("small", 19, 1, 1.0), running)
    found = await plan(a_view("dry", 60, 1, 1.0, dry_run=True), *others)
    assert (found.estimated_seconds, found.estimate_task_id) == (12, None)  # 5 images a second: the proxy's limit
    assert (await plan(a_view("dry", 60, 1, 1.0, dry_run=True), *others, bound=10.0)).estimated_seconds == 6
