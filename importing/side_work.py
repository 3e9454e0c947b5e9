"""What runs beside the tasks and is nobody's import: notices of their ends, and the schedule."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace

from config import Settings
from importing.end_notices import EndNotices
from importing.import_schedule import ImportSchedule, ScheduledImports, ScheduledOrder
from importing.service_settings import default_options, webhook_options
from importing.task_views import TaskArchive
from importing.telemetry import Telemetry
from models import ImportOptions
from task_registry import TaskRegistry
from webhook import Webhook

_log = logging.getLogger(__name__)


def schedule_of(settings: Settings) -> ImportSchedule | None:
    """What IMPORT_SCHEDULE says, None for nothing. Raises ConfigurationError where it cannot be understood."""
    return ImportSchedule.of(settings.import_schedule, settings.timezone) if settings.import_schedule else None


def scheduled_imports(
    settings: Settings, start: Callable[[str, ImportOptions], Awaitable[object]], telemetry: Telemetry
) -> ScheduledImports | None:
    """The imports that IMPORT_SCHEDULE asks for. Raises ConfigurationError."""
    schedule = schedule_of(settings)
    if schedule is None:
        return None
    options = replace(default_options(settings), description=f"定时导入（{schedule.expression}）")
    sources = settings.import_schedule_path or settings.dicom_source_path
    return ScheduledImports(schedule, ScheduledOrder(sources, options), start, telemetry)


@asynccontextmanager
async def telling_ends(
    settings: Settings, registry: TaskRegistry, archive: TaskArchive, telemetry: Telemetry
) -> AsyncIterator[None]:
    """Tells WEBHOOK_URL of each task's end, as long as the context lasts; where it is not set, nobody is told."""
    options = webhook_options(settings)
    if options is None:
        yield
        return
    async with (
        Webhook.open(options) as webhook,
        beside(EndNotices(registry, archive, webhook, telemetry).run(), "end notices"),
    ):
        yield


@asynccontextmanager
async def beside(work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    """Runs endless work until the context ends; a defect in it is logged at once and harms nothing else."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_say_if_it_broke)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say_if_it_broke(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s ended by a defect: %s", task.get_name(), type(error).__name__)
