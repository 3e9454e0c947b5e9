"""Holds all uploads back while none works, and finds out by single probes when they work again.

XieHe's object storage can be down while log-in and lists work. So the breaker closes only after an upload that worked,
or (C4) a session that could be created and filled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from errors import (
    BackendError,
    BackendUnavailableError,
    CallEvidence,
    UploadRejectedError,
    UploadsHeldError,
    UploadUnavailableError,
)
from models import PauseReason
from tasks import LiveTask

_log = logging.getLogger(__name__)

OF_THE_BACKEND = (PauseReason.BACKEND_UNAVAILABLE, PauseReason.BACKEND_AUTH)
MAX_PROBE_GAP_S = 600.0
QUARANTINED_FILES_ENOUGH = 3
"""So many different files in a row whose uploads fail mean that the files are not the cause."""
LONE_PROBES = 3
"""Failed rounds after which fewer quarantined files are given up, if no session can be probed instead (C1-C3)."""
REFUSED_FOR_GOOD_S = 2 * 3600.0
"""The same if more files are in quarantine."""
POLL_S = 1.0
_UNFINISHED = "XieHe 收到了图像，但接连几个都没有完成确认（上传会话停在 COMPLETING）。"
_COMPLETION = CallEvidence("POST", "/upload/sessions/complete", 409, "COMPLETING")
_WAITED_FOR = (
    "正在等待图像上传恢复（仅登录和列表可用还不够）：每次只试一次，失败后间隔加倍，最长约 10 分钟；点“继续”会立即再试。"
)


@dataclass(eq=False, slots=True)
class Uploader:
    """One image's upload: the failures that it has met so far, and its present round of attempts.

    Attributes:
        pause: shows that the task waits, with the fault and its words.
        failing_since: when its first failed round began. All times are monotonic.
        no_session_probe: the contract of XieHe has no session that could be probed instead.
        began: when the present round began.
        probes: the round is the only one while all other uploads wait.
        probes_session: a session that belongs to no file is tried instead.
        waited: the round had to wait.
    """

    task: LiveTask
    file: str
    pause: Callable[[BackendError, str], None]
    failing_since: float | None = None
    failed_rounds: int = 0
    probed_at: float = -math.inf
    no_session_probe: bool = False
    began: float = -math.inf
    probes: bool = False
    probes_session: bool = False
    attempts_left: float = math.inf
    waited: bool = False

    @property
    def may_probe(self) -> bool:
        """Whether XieHe alone holds its task back."""
        return set(self.task.pause_reasons) <= set(OF_THE_BACKEND)


class OutageBreaker:
    """A circuit breaker for all uploads of a backend; used on the event loop only.

    Attributes:
        is_open: uploads are held back.
        next_at: when the next probe is due (monotonic).
        last_success_at: when an upload or a probed session last worked (monotonic).
    """

    def __init__(self, gap_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.is_open = False
        self.next_at = -math.inf
        self.last_success_at = -math.inf
        self._gap_s = gap_s
        self._monotonic = monotonic
        self._cause: BackendError | None = None
        self._opened_at = -math.inf
        self._wait_s = gap_s
        self._blocked = False
        self._probe: Uploader | None = None
        self._quarantine: dict[str, float] = {}
        self._waiting: list[Uploader] = []
        self._newest_success_began = -math.inf
        self._changed = asyncio.Event()

    # --- what others see and ask for

    @property
    def detail(self) -> str | None:
        """Why uploads are held back, for the operator; None while they are not."""
        return f"{self._cause.detail}{_WAITED_FOR}" if self.is_open and self._cause is not None else None

    def holds_back(self, task_id: str) -> bool:
        """Whether that task has uploads that wait until uploads work."""
        return self.is_open and any(uploader.task.task_id == task_id for uploader in self._waiting)

    def start_half_open(self) -> None:
        """After a restart during an import, the first upload shows whether uploads work before others follow."""
        self.is_open = True
        self._opened_at = self.next_at = self._monotonic()

    def block_probes(self) -> None:
        """Log-in fails, so no probe can succeed."""
        self._blocked = self.is_open

    def unblock_probes(self) -> None:
        """Log-in works again."""
        if self._blocked:
            self.probe_now()

    def probe_now(self) -> None:
        """Makes the next probe due at once."""
        self._blocked = False
        self._wait_s = self._gap_s
        self.next_at = self._monotonic()
        self._announce_change()

    # --- what an upload does

    async def acquire(self, uploader: Uploader) -> None:
        """Waits until a round of attempts may begin; the task shows that it waits. Raises TaskStopped."""
        self._waiting.append(uploader)
        uploader.waited = False
        try:
            while not self._try_acquire(uploader):
                uploader.waited = True
                self._show_waiting(uploader)
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._changed.wait()
                uploader.task.check_alive()
        finally:
            self._waiting.remove(uploader)

    def may_send(self, uploader: Uploader) -> bool:
        """To be asked before each attempt that can leave a row in XieHe."""
        if not uploader.probes:
            return not self.is_open
        uploader.attempts_left -= 1
        return uploader.attempts_left >= 0

    def succeeded(self, uploader: Uploader) -> None:
        """The upload, or a session in its place, worked from beginning to end."""
        self.last_success_at = self._monotonic()
        self._newest_success_began = max(self._newest_success_began, uploader.began)
        if not uploader.probes and uploader.began <= self._opened_at:
            return  # it began before the outage
        if self.is_open:
            _log.info("uploads work again")
        self.is_open = self._blocked = False
        self._probe = None if self._probe is uploader else self._probe
        self._wait_s = self._gap_s
        self._quarantine.clear()
        self._announce_change()

    def failed(self, uploader: Uploader, error: BackendError) -> None:
        """Notes a failed round, which may open the breaker. Raises UploadRejectedError if the file is the cause."""
        if isinstance(error, UploadsHeldError) and not uploader.probes:
            return
        may_be_the_file = isinstance(error, UploadUnavailableError | UploadsHeldError)
        since = uploader.failing_since = uploader.began if uploader.failing_since is None else uploader.failing_since
        uploader.failed_rounds += 1
        if may_be_the_file and (self._newest_success_began > since or self._is_given_up(uploader, since)):
            self.release(uploader)
            raise UploadRejectedError(f"XieHe 能接收其他图像，但始终不接受该图像：{error.detail}")
        self._count(uploader, error, may_be_the_file=may_be_the_file)

    def unconfirmed(self, uploader: Uploader) -> None:
        """XieHe has the bytes and does not complete; several in a row open the breaker."""
        self._count(uploader, BackendUnavailableError(_UNFINISHED, _COMPLETION), may_be_the_file=True)

    def release(self, uploader: Uploader) -> None:
        """The round has ended; a probe without a result lets the next one begin."""
        if self._probe is uploader:
            self._probe = None
            self.next_at = self._monotonic()
            self._announce_change()

    # --- inside

    def _try_acquire(self, uploader: Uploader) -> bool:
        now = self._monotonic()
        if not self.is_open:
            since = self._quarantine.get(uploader.file)
            if since is None:
                uploader.began, uploader.probes, uploader.probes_session = now, False, False
                return True
            if now - since < self._gap_s:
                return False  # others may show meanwhile that uploads work
            self._open_until_success(now)
        if self._probe is not None or self._blocked or now < self.next_at or self._next_to_probe() is not uploader:
            return False
        self._probe = uploader
        uploader.began = uploader.probed_at = now
        uploader.probes = True
        uploader.probes_session = self._cause is not None and not _is_of_completion(self._cause)
        uploader.attempts_left = math.inf if self._cause is None else 1
        return True

    def _next_to_probe(self) -> Uploader | None:
        """Prefers a file that is not in quarantine, then the one whose last probe is longest ago."""
        able = [uploader for uploader in self._waiting if uploader.may_probe]
        return min(able, key=lambda one: (one.file in self._quarantine, one.probed_at), default=None)

    def _show_waiting(self, uploader: Uploader) -> None:
        resting = self.is_open and self._probe is None and (self._blocked or self._monotonic() < self.next_at)
        if resting and self._cause is not None and self.detail is not None:
            uploader.pause(self._cause, self.detail)

    def _is_given_up(self, uploader: Uploader, failing_since: float) -> bool:
        if not uploader.no_session_probe:
            return False
        if len(self._quarantine.keys() | {uploader.file}) >= QUARANTINED_FILES_ENOUGH:
            return self._monotonic() - failing_since >= REFUSED_FOR_GOOD_S
        return uploader.failed_rounds > LONE_PROBES

    def _count(self, uploader: Uploader, error: BackendError, *, may_be_the_file: bool) -> None:
        now = self._monotonic()
        if not isinstance(error, UploadsHeldError):
            self._cause = error
        if may_be_the_file:
            self._quarantine.setdefault(uploader.file, now)
        if self._probe is uploader:
            self._probe = None
            self._wait_s = min(2 * self._wait_s, max(MAX_PROBE_GAP_S, self._gap_s))
            self.next_at = now + self._wait_s
            self._announce_change()
        elif not self.is_open and (not may_be_the_file or len(self._quarantine) >= QUARANTINED_FILES_ENOUGH):
            self._open_until_success(now + self._gap_s)

    def _open_until_success(self, next_at: float) -> None:
        cause = self._cause
        evidence = cause.evidence if cause is not None else None
        _log.warning("uploads are held back until one works: %s", evidence or (cause.code if cause else "-"))
        self.is_open = True
        self._opened_at = self._monotonic()
        self._wait_s = self._gap_s
        self.next_at = next_at
        self._announce_change()

    def _announce_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _is_of_completion(cause: BackendError) -> bool:
    return cause.evidence is not None and cause.evidence.path.endswith("/complete")
