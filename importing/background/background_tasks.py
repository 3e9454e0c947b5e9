"""Background work that is no import: notices of tasks' ends, and the schedule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from config import Settings
from importing.background.scheduler import ImportSchedule, ScheduledImports, ScheduledRequest
from importing.background.supervisor import Supervisor
from importing.background.webhook_notifier import WebhookNotifier
from importing.settings_mapping import default_options, webhook_options
from importing.telemetry import Telemetry
from models import ImportOptions
from webhook import Webhook


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
    return ScheduledImports(schedule, ScheduledRequest(sources, options), start, telemetry)


@asynccontextmanager
async def telling_ends(
    settings: Settings, notices: Callable[[Webhook], WebhookNotifier], supervisor: Supervisor
) -> AsyncIterator[None]:
    """Sends a notice of each task's end to WEBHOOK_URL until the context ends; does nothing if it is not set."""
    options = webhook_options(settings)
    if options is None:
        yield
        return
    async with Webhook.open(options) as webhook, supervisor.running("webhook", notices(webhook).run):
        yield
