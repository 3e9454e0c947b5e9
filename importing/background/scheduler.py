"""Imports that start by themselves: a cron expression, the sources, and a loop that waits for the next time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from errors import ConfigurationError, ImportServiceError, TaskOverlapError
from importing.telemetry import Telemetry
from models import ImportOptions

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""The wall clock may be set, or the machine sleep: the time is compared anew this often."""
SET_BACK_AT_MOST = timedelta(hours=3)
"""A clock that was set back by less does not repeat a time that has been; as cron has it."""
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class ImportSchedule:
    """When to import. ``zone`` None is the host's; only a named one gets cron's own rules for changes of the clock."""

    expression: str
    zone: ZoneInfo | None = None

    @classmethod
    def of(cls, expression: str, timezone: str | None) -> ImportSchedule:
        """From the settings' values.

        Raises:
            ConfigurationError: not a cron expression, or one that never comes round.
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


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how to wait."""

    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """What to import each time."""

    sources: tuple[str, ...]
    options: ImportOptions


class ScheduledImports:
    """Starts an import of each source when its time has come; times that passed while nobody ran are not made up."""

    def __init__(
        self,
        schedule: ImportSchedule,
        order: ScheduledRequest,
        start: Callable[[str, ImportOptions], Awaitable[object]],
        telemetry: Telemetry,
        clock: Clock = Clock(),
    ) -> None:
        self._schedule = schedule
        self._order = order
        self._start = start
        self._telemetry = telemetry
        self._clock = clock
        self._due: list[str] = []
        self._last = datetime.min.replace(tzinfo=UTC)
        self._next = schedule.next_after(clock.now())

    @property
    def next_run(self) -> datetime:
        """In UTC."""
        return self._next

    async def run(self) -> None:
        """Until cancelled. After a defect, a further run starts the sources that were still due."""
        while True:
            while self._due:
                self._telemetry.scheduled(await self._start_one(self._due.pop(0)))
            await self._wait()
            self._due.extend(self._order.sources)

    async def _wait(self) -> None:
        """Until the next time has come, by a clock that may be set meanwhile."""
        while (now := self._clock.now()) < self._next:
            self._next = min(self._next, self._next_after(now))
            await self._clock.sleep(min((self._next - now).total_seconds(), LOOK_EVERY_S))
        self._last = self._next
        self._next = self._next_after(now)

    def _next_after(self, now: datetime) -> datetime:
        set_back = now <= self._last < now + SET_BACK_AT_MOST
        return self._schedule.next_after(self._last if set_back else now)

    async def _start_one(self, source: str) -> str:
        """How it went; whatever stands in the way now may be gone next time."""
        try:
            await self._start(source, self._order.options)
        except TaskOverlapError as error:
            _log.info("scheduled import skipped: task %s still runs", error.task_id)
            return "skipped"
        except ImportServiceError as error:
            _log.error("scheduled import not started: %s", error.code)
            return "failed"
        return "started"
