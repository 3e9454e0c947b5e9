"""What the XieHe client takes, and the small values it returns beside those of models.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from models import Contract

OnBegin = Callable[[str | None], Awaitable[None]]
"""Awaited before anything is sent that can become an image; gets the session's id if there is one (C3, C4)."""

MaySend = Callable[[], bool]
"""Called before each attempt that can leave traces in XieHe; if it returns False, UploadsHeldError is raised."""

ATTEMPTS = 5
"""Of each request (semantics.md, Tasks)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The token is used first; the account if there is no token or XieHe refuses it."""

    api_token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        token = (self.api_token or "").strip().removeprefix("Bearer ").strip()
        object.__setattr__(self, "api_token", token or None)

    @property
    def can_log_in(self) -> bool:
        """Whether user name and password are both set."""
        return bool(self.username and self.password)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long the client tries; seconds throughout. Tests and rigs change it.

    Attributes:
        attempts: per request.
        first_wait_s, max_wait_s: exponential back-off between attempts.
        jitter_s: up to this much is added to each wait.
        max_retry_after_s: a longer Retry-After is cut to this.
        late_commit_window_s: how long an upload with a lost answer may still take effect.
        look_every_s: longest pause between two looks at the patient's list while waiting for that.
        lease_total_s: how long a C4 completion is repeated after a 409 (its lease of 60 s, and two minutes).
        same_name_gap_s: C1/C2, pause between two uploads of one stored name (the stored path is name + whole second).
        auth_wait_s: longest pause between two tries after a 401.
        login_gap_s: at least this long between two log-ins (nginx allows 5 a minute).
    """

    attempts: int = ATTEMPTS
    first_wait_s: float = 0.5
    max_wait_s: float = 20.0
    jitter_s: float = 0.5
    max_retry_after_s: float = 120.0
    late_commit_window_s: float = 30.0
    look_every_s: float = 3.0
    lease_total_s: float = 180.0
    same_name_gap_s: float = 1.05
    auth_wait_s: float = 0.3
    login_gap_s: float = 15.0


def _ignored(*_: object) -> None:
    """Default of the callbacks."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Everything :meth:`api_client.XieHeClient.open` needs.

    Attributes:
        base_url: of the deployment, with or without a trailing ``/api/v1``.
        upload_concurrency: uploads in flight at most.
        uploads_per_second: upper bound of uploads begun; XieHe's 429 and 503 lower it. None for no bound.
        on_call: gets ``(operation, status, seconds)`` after each HTTP exchange; status is the number or the name of
            the fault.
        on_retry: gets the operation before each repetition.
    """

    base_url: str
    credentials: Credentials
    retry: RetryPolicy = RetryPolicy()
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    upload_concurrency: int = 4
    uploads_per_second: float | None = None
    on_call: Callable[[str, str, float], None] = _ignored
    on_retry: Callable[[str], None] = _ignored


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """What :meth:`api_client.XieHeClient.check` found.

    Attributes:
        contract: the contract it speaks, if known.
        code, detail: of the error that prevents imports, Chinese; None if there is none.
    """

    contract: Contract | None
    code: str | None = None
    detail: str | None = None

    @property
    def ready(self) -> bool:
        """Whether an import can work."""
        return self.code is None
