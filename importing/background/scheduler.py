"""Scheduled imports: a cron expression, the sources, and a loop that waits for the next time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from config import Settings
from errors import ConfigurationError, ImportServiceError, TaskOverlapError
from importing.settings_mapping import default_options
from importing.telemetry import Telemetry
from models import ImportOptions

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""The wall clock may be set, and the machine may sleep, so the time is compared this often."""
SET_BACK_AT_MOST = timedelta(hours=3)
"""A clock that was set back by less does not repeat a run, as in cron."""
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class ImportSchedule:
    """When to import. ``zone`` None is the host's; only a named one gets cron's rules for daylight saving."""

    expression: str
    zone: ZoneInfo | None = None

    @classmethod
    def of(cls, expression: str, timezone: str | None) -> ImportSchedule:
        """From the settings' values.

        Raises:
            ConfigurationError: not a cron expression, or one that has no next time.
        """
        schedule = cls(expression, ZoneInfo(timezone) if timezone else None)
        if len(expression.split()) != _FIELDS:
            raise ConfigurationError(f"IMPORT_SCHEDULE 应为五段：分 时 日 月 星期，例如 0 2 * * *；现在是 {expression}")
        try:
            schedule.next_after(datetime.now(UTC))
        except CronSimError as error:
            raise ConfigurationError(f"IMPORT_SCHEDULE 不是有效的 cron 表达式：{expression}（{error}）") from error
        except StopIteration:
            raise ConfigurationError(f"IMPORT_SCHEDULE 永远不会到来：{expression}") from None
        return schedule

    def next_after(self, moment: datetime) -> datetime:
        """The first time after an aware moment, in UTC."""
        local = moment.astimezone(self.zone)
        begin = local if self.zone else local.replace(tzinfo=None)
        return next(CronSim(self.expression, begin)).astimezone(UTC)


def schedule_of(settings: Settings) -> ImportSchedule | None:
    """What IMPORT_SCHEDULE says, None for nothing. Raises ConfigurationError."""
    return ImportSchedule.of(settings.import_schedule, settings.timezone) if settings.import_schedule else None


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how to wait."""

    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


StartImport = Callable[[str], Awaitable[object]]
"""Starts an import of a source."""


class ScheduledImports:
    """Starts an import of each source at each scheduled time. Missed runs are not executed later."""

    def __init__(
        self,
        schedule: ImportSchedule,
        sources: tuple[str, ...],
        start: StartImport,
        telemetry: Telemetry,
        clock: Clock = Clock(),
    ) -> None:
        self._schedule = schedule
        self._sources = sources
        self._start = start
        self._telemetry = telemetry
        self._clock = clock
        self._due: list[str] = []
        self._last = datetime.min.replace(tzinfo=UTC)
        self._next = schedule.next_after(clock.now())

    @classmethod
    def of(
        cls, settings: Settings, start: Callable[[str, ImportOptions], Awaitable[object]], telemetry: Telemetry
    ) -> ScheduledImports | None:
        """From the settings; None if IMPORT_SCHEDULE is not set. Raises ConfigurationError."""
        schedule = schedule_of(settings)
        if schedule is None:
            return None
        options = replace(default_options(settings), description=f"定时导入（{schedule.expression}）")
        sources = settings.import_schedule_path or settings.dicom_source_path
        return cls(schedule, sources, lambda source: start(source, options), telemetry)

    @property
    def next_run(self) -> datetime:
        """The next time, in UTC."""
        return self._next

    async def run(self) -> None:
        """Runs until cancelled. After a defect, a further run starts the sources that are still due."""
        while True:
            while self._due:
                self._telemetry.scheduled(await self._start_one(self._due.pop(0)))
            await self._wait()
            self._due.extend(self._sources)

    async def _wait(self) -> None:
        """Waits for the next time, by a clock that may be set meanwhile."""
        while (now := self._clock.now()) < self._next:
            self._next = min(self._next, self._next_after(now))
            await self._clock.sleep(min((self._next - now).total_seconds(), LOOK_EVERY_S))
        self._last = self._next
        self._next = self._next_after(now)

    def _next_after(self, now: datetime) -> datetime:
        set_back = now <= self._last < now + SET_BACK_AT_MOST
        return self._schedule.next_after(self._last if set_back else now)

    async def _start_one(self, source: str) -> str:
        """Returns the result for the metrics; an error now does not stop later runs."""
        try:
            await self._start(source)
        except TaskOverlapError as error:
            _log.info("scheduled import skipped: task %s still runs", error.task_id)
            return "skipped"
        except ImportServiceError as error:
            _log.error("scheduled import not started: %s", error.code)
            return "failed"
        return "started"
