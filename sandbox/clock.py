"""XieHe's clock, which a test may stop: what depends on seconds then depends on no machine's speed."""

from __future__ import annotations

import time


class Clock:
    """Seconds since 1970, for the stored names of C1/C2, the lease of C4 and the rate limits."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._stopped_at: float | None = None

    def now(self) -> float:
        return time.time() + self._ahead_s if self._stopped_at is None else self._stopped_at

    def stop(self) -> None:
        """Stands still until :meth:`run`."""
        self._stopped_at = self.now()

    def let_pass(self, seconds: float) -> None:
        """So many seconds pass at once."""
        self._ahead_s += seconds
        if self._stopped_at is not None:
            self._stopped_at += seconds

    def run(self) -> None:
        """Runs again, from where it stood."""
        self._ahead_s, self._stopped_at = self.now() - time.time(), None
