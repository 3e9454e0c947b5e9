"""Tells a file that XieHe refuses from a XieHe that refuses every file; one breaker per run.

It counts refusals (4xx, a verdict about the file). :mod:`importing.uploads.outage_breaker` counts failed uploads.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from domain import outcome_codes as codes
from models import FileOutcome, OutcomeKind

REJECTIONS_IN_A_ROW = 3
REFUSED_FOR_GOOD_S = 2 * 3600.0
"""A file that XieHe has refused for so long is given up, even if it took nothing else meanwhile."""
REFUSES_ALL = "XieHe 接连拒绝不同文件的上传，而其他请求正常；请查看 XieHe 日志"


class RejectionBreaker:
    """Remembers what one run was refused since XieHe last took an image."""

    def __init__(self, last_success_at: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_success_at = last_success_at
        self._in_a_row: dict[str, float] = {}
        self._refused_since: dict[str, float] = {}
        self._taken_at = 0.0

    def note(self, outcome: FileOutcome) -> bool:
        """True if several different files in a row were refused by now; the count restarts then."""
        if outcome.kind is OutcomeKind.UPLOADED:
            self._in_a_row.clear()
            self._taken_at = self._monotonic()
        if outcome.code != codes.UPLOAD_REJECTED:
            return False
        now, last_success_at = self._monotonic(), self._last_success_at()
        self._refused_since.setdefault(outcome.source_path, now)
        self._in_a_row = {path: at for path, at in self._in_a_row.items() if at > last_success_at}
        self._in_a_row[outcome.source_path] = now
        if len(self._in_a_row) < REJECTIONS_IN_A_ROW:
            return False
        self._in_a_row.clear()
        return True

    def refuses_all(self, outcome: FileOutcome) -> bool:
        """True if XieHe took nothing since it first refused this file, and several others with it."""
        taken_at = max(self._taken_at, self._last_success_at())
        since = self._refused_since.get(outcome.source_path, taken_at)
        together = sum(moment > taken_at for moment in self._refused_since.values())
        lasts = self._monotonic() - since < REFUSED_FOR_GOOD_S
        return since > taken_at and together >= REJECTIONS_IN_A_ROW and lasts
