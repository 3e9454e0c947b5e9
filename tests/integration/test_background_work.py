"""A defect in one background job of an open service: the others go on, and readiness says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from config import Settings
from history import TaskBreakdown
from import_service import ImportService
from importing.background.supervisor import JobState
from importing.background.webhook_notifier import WebhookNotifier
from importing.runs.task_views import TaskArchive, TaskView, view_of
from importing.telemetry import NullTelemetry
from main import create_app
from models import ImportOptions, TaskResult, TaskStatus
from source import overlaps
from tasks import TaskRegistry
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.waiting import PATIENCE_S
from web.api import serializers
from web.live.publisher import Broadcaster
from webhook import TaskEnd, Webhook, WebhookDelivery

BEYOND_ALL_DATES = 10**8
"""Days. More than there are in the calendar, so that the job that removes old tasks ends by a defect each time."""


@asynccontextmanager
async def a_service(xiehe: SandboxProcess, folder: Path, **settings: Any) -> AsyncIterator[FastAPI]:
    chosen = Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        max_workers=1,
        backend_first_wait_seconds=0.02,
        backend_max_wait_seconds=0.1,
        backend_probe_seconds=0.1,
        backend_landing_seconds=0.5,
    )
    app = create_app(chosen.model_copy(update={"history_days": BEYOND_ALL_DATES, **settings}))
    async with app.router.lifespan_context(app):
        yield app


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - a state is no event
            await asyncio.sleep(0.02)


def states(service: ImportService) -> dict[str, JobState]:
    return {job.name: job.state for job in service.supervisor.jobs()}


async def readiness(app: FastAPI) -> tuple[int, dict[str, Any]]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get("/health/ready")
    return answer.status_code, answer.json()


async def test_pauses_are_lifted_and_recorded_though_another_job_fails(
    xiehe_today: SandboxProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", xiehe_today.token)  # the pause watch reads the settings again
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    async with a_service(xiehe_today, tmp_path) as app:
        service: ImportService = app.state.service
        await until(lambda: states(service)["prune_history"] is JobState.WAITING)
        xiehe_today.stop()
        task_id = (await service.start(str(source), ImportOptions())).record.task_id
        await until(lambda: service.registry.get(task_id).status is TaskStatus.PAUSED)
        async with asyncio.timeout(PATIENCE_S):
            while (await service._tools.history.get_task(task_id)).status is not TaskStatus.PAUSED:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        xiehe_today.start()
        await until(lambda: service.registry.get(task_id).at_rest)
        record = service.registry.get(task_id).record

    assert (record.status, record.result) == (TaskStatus.COMPLETED, TaskResult.SUCCESS)
    defects = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert defects
    assert all("job=prune_history" in each.getMessage() for each in defects)
    assert "OverflowError" in caplog.text


async def test_readiness_lists_the_jobs_and_is_503_while_one_is_down(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    async with a_service(xiehe_today, tmp_path, import_schedule="0 2 * * *", dicom_source_path=(str(tmp_path),)) as app:
        service: ImportService = app.state.service
        await until(lambda: states(service)["prune_history"] is JobState.WAITING)
        down, told = await readiness(app)

    jobs = {job["name"]: job for job in told["background"]}
    assert down == 503
    assert told["status"] == "not_ready"
    assert set(jobs) == {
        "pause_watch", "record_changes", "record_active_time", "prune_history", "check_history", "upload_recovery",
        "schedule", "live_push",
    }  # fmt: skip
    assert [name for name, job in jobs.items() if job["state"] == "waiting"] == ["prune_history"]
    assert set(jobs["prune_history"]) == {"name", "state", "since", "restarts"}
    (check,) = (check for check in told["checks"] if check["name"] == "background")
    assert not check["ok"]
    assert "prune_history" in check["detail"]


async def test_readiness_is_200_while_all_jobs_run(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    async with a_service(xiehe_today, tmp_path, history_days=30) as app:
        status, told = await readiness(app)
    assert (status, told["status"]) == (200, "ready")
    assert {job["state"] for job in told["background"]} == {"running"}


async def test_a_further_run_of_the_live_push_tells_what_changed_meanwhile() -> None:
    registry, fails = TaskRegistry(overlaps), True

    async def status_of(task_id: str) -> Any:
        if fails:
            raise RuntimeError
        return serializers.status(view_of(registry.get(task_id)), None)

    broadcaster = Broadcaster(registry, status_of, 0)
    task = registry.create("/srv/dicom", "/srv/dicom", ImportOptions())
    with broadcaster.subscribe(task.task_id) as queue:
        with pytest.raises(RuntimeError):
            await broadcaster.run()
        task.start()
        fails = False
        running = asyncio.create_task(broadcaster.run())
        async with asyncio.timeout(PATIENCE_S):
            news = await queue.get()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert news.seq == task.seq


async def test_a_further_run_of_the_notices_sends_what_a_defect_cut_off_and_nothing_twice() -> None:
    registry, webhook = TaskRegistry(overlaps), AWebhook()
    archive = cast(TaskArchive, AnArchive(registry))
    notices = WebhookNotifier(registry, archive, cast(Webhook, webhook), NullTelemetry())
    first, second = (registry.create(path, path, ImportOptions()) for path in ("/a", "/b"))
    webhook.fails_for = {second.task_id}
    running = asyncio.create_task(notices.run())
    await until(lambda: webhook.pending_ids == {first.task_id, second.task_id})
    for count, task in enumerate((first, second), start=1):
        task.cancel()
        task.settle()
        await until(partial(webhook.was_asked, count))
    with pytest.raises(ExceptionGroup):
        await running
    webhook.fails_for = set()
    running = asyncio.create_task(notices.run())
    await until(lambda: second.task_id in webhook.sent)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert webhook.sent == [first.task_id, second.task_id]


class AWebhook:
    """Takes notices at once; ends by a defect for those in ``fails_for``."""

    def __init__(self) -> None:
        self.pending_ids: set[str] = set()
        self.fails_for: set[str] = set()
        self.asked: list[str] = []
        self.sent: list[str] = []

    def was_asked(self, times: int) -> bool:
        return len(self.asked) == times

    async def enqueue(self, task_id: str) -> None:
        self.pending_ids.add(task_id)

    async def pending(self) -> list[str]:
        return sorted(self.pending_ids)

    async def drop(self, task_id: str) -> None:
        self.pending_ids.discard(task_id)

    async def deliver(self, end: TaskEnd) -> WebhookDelivery:
        self.asked.append(end.record.task_id)
        if end.record.task_id in self.fails_for:
            raise RuntimeError
        self.sent.append(end.record.task_id)
        await self.drop(end.record.task_id)
        return WebhookDelivery(accepted=True, answer="204")


class AnArchive:
    """Knows the live tasks."""

    def __init__(self, registry: TaskRegistry) -> None:
        self._registry = registry

    async def view(self, task_id: str) -> TaskView:
        return view_of(self._registry.get(task_id))

    async def breakdown(self, _: str) -> TaskBreakdown:
        return TaskBreakdown()
