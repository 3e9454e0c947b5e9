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
    """How far a task is.

    Attributes:
        percent: 0-100 of the files that the quick count found, one decimal; None until the count is final. Below 100
            while the task has not ended.
        files_per_second: files really worked on (read, rendered, uploaded) over the last minute of working time.
        eta_seconds: remaining files at that rate, whole seconds; None where it cannot be known.
        total_files: files counted so far.
        total_is_final: the count is complete.
    """

    percent: float | None
    files_per_second: float
    eta_seconds: int | None
    total_files: int
    total_is_final: bool


class ProgressMeter:
    """Counts finished files against the total; its clock stands still while the task does."""

    def __init__(self, clock: Callable[[], float], worked_s: float = 0.0) -> None:
        """``clock`` gives monotonic seconds; ``worked_s`` is the working time under earlier processes."""
        self._clock = clock
        self._running_since: float | None = None
        self._worked_s = worked_s
        self._done = 0
        self._total = 0
        self._total_is_final = False
        self._slots: deque[tuple[float, int]] = deque()

    @property
    def working_seconds(self) -> float:
        """How long the task has worked, without its pauses."""
        return self._working_time()

    def run(self) -> None:
        """The task works from now on."""
        if self._running_since is None:
            self._running_since = self._clock()

    def halt(self) -> None:
        """The task rests from now on."""
        self._worked_s = self._working_time()
        self._running_since = None

    def expect(self, total: int, *, final: bool) -> None:
        """The quick count stands at ``total``."""
        self._total, self._total_is_final = total, final

    def begin_again(self) -> None:
        """The source is gone through anew: what is done will be passed by, and counted, again."""
        self._done = 0

    def advance(self, *, worked: bool) -> None:
        """One more file is done; ``worked`` is False where it was passed by (recorded before, known as imported)."""
        self._done += 1
        if not worked:
            return
        now = self._working_time()
        if self._slots and now - self._slots[-1][0] < _SLOT_S:
            began, files = self._slots.pop()
            self._slots.append((began, files + 1))
        else:
            self._slots.append((now, 1))

    def progress(self, *, ended: bool = False) -> Progress:
        """Where it stands now; an ended task is at 100 percent."""
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
        """Files after the window's first one, by the time since that one was done; at first by a whole second."""
        now = self._working_time()
        while self._slots and now - self._slots[0][0] > _WINDOW_S:
            self._slots.popleft()
        files = sum(files for _, files in self._slots)
        if files < 2:
            return 0.0
        return (files - 1) / max(now - self._slots[0][0], _SLOT_S)

    def _working_time(self) -> float:
        if self._running_since is None:
            return self._worked_s
        return self._worked_s + self._clock() - self._running_since
