"""Holds uploads back while none works, and finds out when they work again, at the cost of one attempt a time.

Log-in and lists tell nothing of uploads: XieHe's object storage can be down while both go on working. So what ends the
pause is an upload that worked, or (C4) a session that could be made and filled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from errors import (
    BackendError,
    BackendUnavailableError,
    CallEvidence,
    UploadRejectedError,
    UploadsHeldError,
    UploadUnavailableError,
)

_log = logging.getLogger(__name__)

MAX_PROBE_GAP_S = 600.0
SUSPECTS_ENOUGH = 3
"""Different files in a row whose uploads fail: then it is no longer the files."""
LONE_PROBES = 3
"""Rounds of attempts of fewer suspects, where nothing but themselves can tell (C1-C3), before they are given up."""
REFUSED_FOR_GOOD_S = 2 * 3600.0
"""The same for more suspects."""
LOOK_S = 1.0
_UNFINISHED = "XieHe 收到了图像，但接连几个都没有完成确认（上传会话停在 COMPLETING）。"
_COMPLETION = CallEvidence("POST", "/upload/sessions/complete", 409, "COMPLETING")
_WAITED_FOR = (
    "正在等待图像上传恢复（仅登录和列表可用还不够）：每次只试一次，失败后间隔加倍，最长约 10 分钟；点“继续”会立即再试。"
)


class Uploader(Protocol):
    """Who wants to upload one picture."""

    @property
    def task_id(self) -> str: ...
    @property
    def file(self) -> str:
        """The picture's source file."""

    @property
    def failures(self) -> UploadFailures: ...
    @property
    def may_probe(self) -> bool:
        """Whether nothing but XieHe holds its task back."""

    def hold(self, error: BackendError, detail: str) -> None:
        """Shows that its task waits."""

    def check(self) -> None:
        """Raises TaskStopped where its task was cancelled, or the service is stopping."""


@dataclass(eq=False, slots=True)
class UploadTurn:
    """Leave to upload, from one failure to the next.

    Attributes:
        began: monotonic time.
        probes: it is the one attempt that is made while all others wait.
        waited: somebody had to wait for it.
        asks_session: a session of no file's can tell as much.
    """

    breaker: OutageBreaker
    uploader: Uploader
    began: float
    probes: bool = False
    waited: bool = False
    asks_session: bool = False
    attempts_left: float = math.inf

    def may_send(self) -> bool:
        """Asked before each attempt that can leave a row in XieHe."""
        if not self.probes:
            return not self.breaker.is_open
        self.attempts_left -= 1
        return self.attempts_left >= 0


@dataclass(slots=True)
class UploadFailures:
    """What one picture's upload has met so far.

    Attributes:
        since: monotonic time at which its first failing attempts began.
        rounds: of attempts that failed.
        tried_at: monotonic time of its last attempt in place of all others.
        none_else_can_tell: XieHe's contract has no session that could be tried in its place.
    """

    since: float | None = None
    rounds: int = 0
    tried_at: float = -math.inf
    none_else_can_tell: bool = False


class OutageBreaker:
    """One for all tasks of a backend; used on the event loop only."""

    def __init__(self, gap_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = gap_s
        self._monotonic = monotonic
        self._cause: BackendError | None = None
        self._open = False
        self._opened_at = -math.inf
        self.next_at = -math.inf
        """When the next attempt is due, while uploads are held back (monotonic)."""
        self._wait_s = gap_s
        self._held = False
        self._probe: UploadTurn | None = None
        self._suspects: dict[str, float] = {}
        self._waiting: list[Uploader] = []
        self._working_since = -math.inf
        self._woken = asyncio.Event()
        self.last_success_at = -math.inf
        """When an upload, or a session tried in its place, last worked (monotonic)."""

    # --- what others see and say

    @property
    def is_open(self) -> bool:
        """True while uploads are held back."""
        return self._open

    @property
    def detail(self) -> str | None:
        """Why uploads are held back, for the operator; None while they are not."""
        return f"{self._cause.detail}{_WAITED_FOR}" if self._open and self._cause is not None else None

    def holds_back(self, task_id: str) -> bool:
        """Whether that task has uploads that wait for others to work."""
        return self._open and any(uploader.task_id == task_id for uploader in self._waiting)

    def start_half_open(self) -> None:
        """After a restart in mid-import: the first upload shows whether they work, before others follow."""
        self._open = True
        self._opened_at = self.next_at = self._monotonic()

    def block_probes(self) -> None:
        """XieHe does not even let us log in: no attempt is worth it."""
        self._held = self._open

    def unblock_probes(self) -> None:
        """It lets us again."""
        if self._held:
            self.probe_now()

    def probe_now(self) -> None:
        """The next attempt is due; the operator asked for it, or the cause may have gone."""
        self._held = False
        self._wait_s = self._gap_s
        self.next_at = self._monotonic()
        self._wake()

    # --- what an upload does

    async def turn(self, uploader: Uploader) -> UploadTurn:
        """Waits for leave to upload; the task shows that it waits.

        Raises:
            TaskStopped: its task was cancelled, or the service is stopping.
        """
        self._waiting.append(uploader)
        waited = False
        try:
            while (turn := self._leave(uploader)) is None:
                waited = True
                if self._rests and self._cause is not None:
                    uploader.hold(self._cause, f"{self._cause.detail}{_WAITED_FOR}")
                await self._until_woken()
                uploader.check()
        finally:
            self._waiting.remove(uploader)
        turn.waited = waited
        return turn

    def worked(self, turn: UploadTurn) -> None:
        """An upload, or a session in its place, came through from beginning to end."""
        self.last_success_at = self._monotonic()
        self._working_since = max(self._working_since, turn.began)
        if not turn.probes and turn.began <= self._opened_at:
            return  # begun when all was well yet
        if self._probe is turn:
            self._probe = None
        if self._open:
            _log.info("uploads work again")
        self._open = self._held = False
        self._wait_s = self._gap_s
        self._suspects.clear()
        self._wake()

    def failed(self, turn: UploadTurn, error: BackendError) -> None:
        """This upload did not come through: whose fault it is.

        Raises:
            UploadRejectedError: the file's alone, since others' uploads work, or after long enough.
        """
        if isinstance(error, UploadsHeldError) and not turn.probes:
            return  # another one found out meanwhile
        failures = turn.uploader.failures
        alone = isinstance(error, UploadUnavailableError | UploadsHeldError)
        failures.since = turn.began if failures.since is None else failures.since
        failures.rounds += 1
        if alone and (self._working_since > failures.since or self._enough_of(turn.uploader)):
            self.left(turn)
            raise UploadRejectedError(f"XieHe 能接收其他图像，但始终不接受该图像：{error.detail}")
        self._suspect(turn, error, alone=alone)

    def unconfirmed(self, turn: UploadTurn) -> None:
        """XieHe has its bytes and does not finish; the file's own, unless it goes so for several in a row."""
        self._suspect(turn, BackendUnavailableError(_UNFINISHED, _COMPLETION), alone=True)

    def left(self, turn: UploadTurn) -> None:
        """It ended without telling anything of XieHe. Nothing happens where its end was told already."""
        if self._probe is turn:
            self._probe = None
            self.next_at = self._monotonic()
            self._wake()

    # --- inside

    @property
    def _rests(self) -> bool:
        return self._open and self._probe is None and (self._held or self._monotonic() < self.next_at)

    def _leave(self, uploader: Uploader) -> UploadTurn | None:
        now = self._monotonic()
        if not self._open:
            since = self._suspects.get(uploader.file)
            if since is None:
                return UploadTurn(self, uploader, now)
            if now - since < self._gap_s:
                return None  # others may show meanwhile that uploads work
            self._trip(self._cause, now)
        if self._probe is not None or self._held or now < self.next_at or self._next_uploader() is not uploader:
            return None
        first = self._cause is None
        session = not first and not _of_completion(self._cause)
        uploader.failures.tried_at = now
        self._probe = UploadTurn(self, uploader, now, True, False, session, math.inf if first else 1)
        return self._probe

    def _next_uploader(self) -> Uploader | None:
        """Who may probe: rather one that is not suspected, and the one whose last try is longest ago."""
        able = [uploader for uploader in self._waiting if uploader.may_probe]
        return min(able, key=lambda one: (one.file in self._suspects, one.failures.tried_at), default=None)

    def _enough_of(self, uploader: Uploader) -> bool:
        failures = uploader.failures
        if not failures.none_else_can_tell or failures.since is None:
            return False
        many = len(self._suspects.keys() | {uploader.file}) >= SUSPECTS_ENOUGH
        lasted = self._monotonic() - failures.since >= REFUSED_FOR_GOOD_S
        return lasted if many else failures.rounds > LONE_PROBES

    def _suspect(self, turn: UploadTurn, error: BackendError, *, alone: bool) -> None:
        if not isinstance(error, UploadsHeldError):
            self._cause = error
        if alone:
            self._suspects.setdefault(turn.uploader.file, self._monotonic())
        if self._probe is turn:
            self._put_off()
        elif not self._open and (not alone or len(self._suspects) >= SUSPECTS_ENOUGH):
            self._trip(self._cause, self._monotonic() + self._gap_s)

    def _trip(self, cause: BackendError | None, next_at: float) -> None:
        evidence = cause.evidence if cause is not None else None
        _log.warning("uploads are held back until one works: %s", evidence or (cause.code if cause else "-"))
        self._open = True
        self._opened_at = self._monotonic()
        self._wait_s = self._gap_s
        self.next_at = next_at
        self._wake()

    def _put_off(self) -> None:
        self._probe = None
        self._wait_s = min(2 * self._wait_s, max(MAX_PROBE_GAP_S, self._gap_s))
        self.next_at = self._monotonic() + self._wait_s
        self._wake()

    def _wake(self) -> None:
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()

    async def _until_woken(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._woken.wait()


def _of_completion(cause: BackendError | None) -> bool:
    evidence = cause.evidence if cause is not None else None
    return evidence is not None and evidence.path.endswith("/complete")
