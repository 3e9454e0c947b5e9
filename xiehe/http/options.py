"""What the XieHe client is told from outside, and the small values it answers with beside those of models.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from models import Contract, UploadRequest

Buffer = bytes | bytearray

OnBegin = Callable[[str | None], Awaitable[None]]
"""Awaited before anything is sent that can become an image; told the session's id where there is one (C3, C4)."""

MaySend = Callable[[], bool]
"""Asked before each attempt that can leave traces in XieHe; where it says no, UploadsHeldError is raised."""

MIN_ATTEMPTS = 5
"""Each request gets at least this many attempts (semantics.md, Tasks)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove who we are: the token first, the account where there is no token or it is refused."""

    api_token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        token = (self.api_token or "").strip().removeprefix("Bearer ").strip()
        object.__setattr__(self, "api_token", token or None)

    @property
    def can_log_in(self) -> bool:
        """True where user name and password are both set."""
        return bool(self.username and self.password)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long the client tries; seconds throughout.

    Attributes:
        attempts: per request, at least 5.
        first_wait_s, max_wait_s: exponential back-off between attempts.
        jitter_s: up to this much is added to each wait.
        max_retry_after_s: a longer Retry-After is cut to this.
        late_commit_window_s: how long an upload whose answer was lost may still take effect.
        look_every_s: longest pause between two looks at the patient's list while waiting for that.
        lease_total_s: how long a C4 completion is repeated once XieHe said 409 (its lease of 60 s, and two minutes).
        same_name_gap_s: C1/C2, pause between two uploads of one stored name (the stored path is name + whole second).
        list_reads: readings of a list that does not add up before giving up.
        auth_attempts: 401s in a row for one token before it is held for bad or expired.
        auth_patience: as ``auth_attempts`` for a token that XieHe has accepted or just issued (workers with different
            keys refuse 62-78 % of the requests).
        auth_wait_s: longest pause between two tries after a 401.
        login_gap_s: at least this long between two log-ins (nginx allows 5 a minute).
    """

    attempts: int = MIN_ATTEMPTS
    first_wait_s: float = 0.5
    max_wait_s: float = 20.0
    jitter_s: float = 0.5
    max_retry_after_s: float = 120.0
    late_commit_window_s: float = 30.0
    look_every_s: float = 3.0
    lease_total_s: float = 180.0
    same_name_gap_s: float = 1.05
    list_reads: int = 12
    auth_attempts: int = 5
    auth_patience: int = 30
    auth_wait_s: float = 0.3
    login_gap_s: float = 15.0

    def __post_init__(self) -> None:
        if self.attempts < MIN_ATTEMPTS:
            raise ValueError(f"attempts must be at least {MIN_ATTEMPTS}")


def _ignored(*_: object) -> None:
    """Default of the callbacks."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Everything :meth:`api_client.XieHeClient.open` needs.

    Attributes:
        base_url: of the deployment, with or without a trailing ``/api/v1``.
        upload_concurrency: uploads in flight at most; the adaptive limit stays below.
        uploads_per_second: upper bound of uploads begun, or None for the adaptive one alone.
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
        reachable: XieHe answered.
        contract: the contract it speaks, where known.
        token_accepted: None where that could not be asked.
        code, detail: of the error that stands in the way, Chinese; None where all is well.
    """

    reachable: bool
    contract: Contract | None
    token_accepted: bool | None
    code: str | None = None
    detail: str | None = None

    @property
    def ready(self) -> bool:
        """True where an import can work."""
        return self.code is None


@dataclass(frozen=True, slots=True)
class UploadIntent:
    """An upload begun by an earlier process (or attempt) whose end is unknown.

    Attributes:
        request: what was to be uploaded; the file need not be there any more.
        size_bytes: size of the file then, or None where unknown.
        session_id: the last value ``on_begin`` was told, or None.
        known_ids: images of the patient known before that upload.
        age_s: seconds since its session was begun, which count for what is waited for it.
    """

    request: UploadRequest
    size_bytes: int | None
    session_id: str | None
    known_ids: frozenset[int] = frozenset()
    age_s: float = 0.0
