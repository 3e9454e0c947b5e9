"""The hours in which imports may run, by the wall clock of a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class ActiveHours:
    """From ``begin`` (inclusive) to ``end`` (exclusive), perhaps over midnight; ``zone`` None is the host's."""

    begin: time
    end: time
    zone: tzinfo | None = None

    @classmethod
    def of(cls, hours: tuple[time, time], timezone: str | None) -> ActiveHours:
        """From the settings' values."""
        return cls(*hours, ZoneInfo(timezone) if timezone else None)

    def contains(self, moment: datetime) -> bool:
        """Whether an aware moment is within the active hours."""
        now = moment.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"
