"""The one place that computes percentages, rates and remaining times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 60.0
_SLOT_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A task's progress.

    Attributes:
        percent: 0-100 of the files that the quick count found, one decimal; None until the count is final. Below 100
            while the task has not ended.
        files_per_second: files that were read, rendered or uploaded, over the last minute of working time.
        eta_seconds: remaining files at that rate, whole seconds; None if it is unknown.
        total_files: files counted so far.
        total_is_final: the count is complete.
    """

    percent: float | None
    files_per_second: float
    eta_seconds: int | None
    total_files: int
    total_is_final: bool


class ProgressMeter:
    """Counts finished files against the total. Its clock stops while the task is paused."""

    def __init__(self, clock: Callable[[], float], worked_s: float = 0.0) -> None:
        """``clock`` gives monotonic seconds; ``worked_s`` is the working time under earlier processes."""
        self._clock = clock
        self._running_since: float | None = None
        self._worked_s = worked_s
        self._done = 0
        self._total = 0
        self._total_is_final = False
        self._slots: deque[tuple[float, int]] = deque()

    def run(self) -> None:
        """Starts the clock."""
        if self._running_since is None:
            self._running_since = self._clock()

    def halt(self) -> None:
        """Stops the clock."""
        self._worked_s = self.working_seconds
        self._running_since = None

    def expect(self, total: int, *, final: bool) -> None:
        """The quick count has reached ``total``."""
        self._total, self._total_is_final = total, final

    def begin_again(self) -> None:
        """The source is walked again, so finished files will be counted again."""
        self._done = 0

    def advance(self, *, worked: bool) -> None:
        """Counts a finished file; ``worked`` is False if it was skipped (recorded before, known as imported)."""
        self._done += 1
        if not worked:
            return
        now = self.working_seconds
        if self._slots and now - self._slots[-1][0] < _SLOT_S:
            began, files = self._slots.pop()
            self._slots.append((began, files + 1))
        else:
            self._slots.append((now, 1))

    def progress(self, *, ended: bool = False) -> Progress:
        """The progress now; an ended task is at 100 percent."""
        total = max(self._total, self._done)
        rate = 0.0 if ended or self._running_since is None else self._rate()
        eta = None
        if rate > 0 and self._total_is_final:
            eta = math.ceil((total - self._done) / rate)
        return Progress(self._percent(total, ended), round(rate, 2), eta, total, self._total_is_final)

    def _percent(self, total: int, ended: bool) -> float | None:
        if ended:
            return 100.0
        if not self._total_is_final:
            return None
        return min(99.9, math.floor(1000 * self._done / total) / 10) if total else 0.0

    def _rate(self) -> float:
        """Files after the window's first one, divided by the time since then, at least a second."""
        now = self.working_seconds
        while self._slots and now - self._slots[0][0] > _WINDOW_S:
            self._slots.popleft()
        files = sum(files for _, files in self._slots)
        if files < 2:
            return 0.0
        return (files - 1) / max(now - self._slots[0][0], _SLOT_S)

    @property
    def working_seconds(self) -> float:
        """How long the task has worked, without its pauses."""
        if self._running_since is None:
            return self._worked_s
        return self._worked_s + self._clock() - self._running_since
