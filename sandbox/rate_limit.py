"""The deployment's nginx limits, as measured: off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.clock import Clock
from sandbox.contracts import Contract


@dataclass
class Bucket:
    """A leaky bucket as nginx's `limit_req … nodelay`: one request, plus `burst` more than the rate allows."""

    per_second: float
    burst: int
    excess: float = 0.0
    checked: float = 0.0

    def lets_pass(self, now: float) -> bool:
        excess = max(0.0, self.excess - (now - self.checked) * self.per_second)
        self.checked = now
        self.excess = excess
        if excess > self.burst:
            return False
        self.excess += 1.0
        return True


class RateLimiter:
    """C4 (and C3): 20/s, completes 5/s, log-ins 5 a minute → 429. C1 (and C2): 10/s. Per client address.

    Each zone counts alone. C1's configuration says 503, but its error page names a file that is nowhere: 404 HTML.
    """

    def __init__(self, contract: Contract, clock: Clock) -> None:
        self._clock = clock
        self._modern = contract.has_sessions
        self._buckets: dict[tuple[str, str], Bucket] = {}

    @property
    def status(self) -> int:
        return 429 if self._modern else 404

    def lets_pass(self, address: str, operation: str) -> bool:
        if operation in ("put_part", "fetch_object"):
            return True  # the object storage has an address of its own
        zone = operation if operation in ("complete_session", "login") else "all"
        return self._bucket(address, zone).lets_pass(self._clock.now())

    def _bucket(self, address: str, zone: str) -> Bucket:
        return self._buckets.setdefault((address, zone), self._fresh(zone))

    def _fresh(self, zone: str) -> Bucket:
        if not self._modern:
            return Bucket(10.0, 20)
        return {"complete_session": Bucket(5.0, 10), "login": Bucket(5 / 60, 4)}.get(zone, Bucket(20.0, 40))
