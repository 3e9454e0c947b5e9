"""Which token to send, and what a 401 means. Log-ins are few, one at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from errors import BackendAuthError, BackendContractError, CallEvidence
from xiehe.http.options import Credentials, RetryPolicy
from xiehe.http.responses import BackendResponse, Delivery, TransientError, payload_of, transient

_log = logging.getLogger(__name__)

LogIn = Callable[[str, str], Awaitable[BackendResponse]]

_REFUSALS = 5
"""401s in a row for one token before it counts as bad or expired."""
_REFUSALS_OF_A_GOOD_TOKEN = 30
"""The same for a token that XieHe has accepted or issued: its workers may have different keys."""
_NO_CREDENTIALS = "没有可用的 XieHe 凭据：请设置 API_TOKEN，或同时设置 BACKEND_USERNAME 与 BACKEND_PASSWORD。"
_MALFORMED = "API_TOKEN 含有空格或非 ASCII 字符，不是有效的令牌：请重新复制 API_TOKEN。"
_LOG_IN_REFUSED = "XieHe 拒绝登录：请检查 BACKEND_USERNAME 与 BACKEND_PASSWORD，并确认该账号可用。"


class TokenKeeper:
    """Holds the token in use.

    A refresh is never used: on C1/C2 a refreshed token has lost superuser rights.
    """

    def __init__(self, credentials: Credentials, policy: RetryPolicy, log_in: LogIn) -> None:
        self._credentials = credentials
        self._policy = policy
        self._log_in = log_in
        self._token = credentials.api_token
        self._proven = False
        self._issued = False
        self._lock = asyncio.Lock()
        self._last_log_in_s = -float("inf")
        self._refusal: CallEvidence | None = None

    def replace(self, credentials: Credentials) -> None:
        """Uses these from now on; forgets earlier refusals."""
        self._credentials = credentials
        self._refusal = None
        self._last_log_in_s = -float("inf")
        self._take(credentials.api_token, issued=False)

    async def current(self) -> str:
        """The token to send; logs in if there is none yet.

        Raises:
            BackendAuthError: no account to log in with, or it is refused.
            TransientError: the log-in failed.
        """
        if self._token is None:
            await self._renew(None)
        if self._token is None:
            raise BackendAuthError(_NO_CREDENTIALS)
        if not self._token.isascii() or not self._token.isprintable() or " " in self._token:
            raise BackendAuthError(_MALFORMED)
        return self._token

    def accepted(self, token: str) -> None:
        """XieHe took this token."""
        if token == self._token:
            self._proven = True

    async def refused(self, token: str, refusals: int, evidence: CallEvidence) -> None:
        """XieHe answered 401 to this token, for the ``refusals``-th time in one call.

        Returns if the call should be repeated, on a new connection or with another token.

        Raises:
            BackendAuthError: repeating is pointless.
            TransientError: the log-in failed.
        """
        if token != self._token:
            return
        expiry = token_expiry(token)
        expired = expiry is not None and expiry <= time.time()
        bad = expired or refusals >= _REFUSALS
        if bad and self._may_log_in():
            await self._renew(token)
        elif expired or refusals >= self._patience():
            raise BackendAuthError(self._words(expiry, expired), evidence)
        else:
            await asyncio.sleep(self._policy.auth_wait_s * random.uniform(0.2, 1.0))

    def _patience(self) -> int:
        return _REFUSALS_OF_A_GOOD_TOKEN if self._proven or self._issued else _REFUSALS

    def _may_log_in(self) -> bool:
        rested = time.monotonic() - self._last_log_in_s >= self._policy.login_gap_s
        return self._credentials.can_log_in and rested

    async def _renew(self, token: str | None) -> None:
        """Logs in, unless another call did so in the meantime."""
        async with self._lock:
            if self._token != token:
                return
            if not self._credentials.can_log_in:
                raise BackendAuthError(_NO_CREDENTIALS)
            if not self._may_log_in() and self._refusal is not None:
                raise BackendAuthError(_LOG_IN_REFUSED, self._refusal)
            credentials = self._credentials
            fresh = await self._logged_in(credentials)
            if credentials is self._credentials:
                self._take(fresh, issued=True)

    async def _logged_in(self, credentials: Credentials) -> str:
        answer = await self._answer_of_log_in(credentials)
        self._last_log_in_s = time.monotonic()
        self._refusal = answer.evidence if answer.status in (400, 401, 403, 422) else None
        if self._refusal is not None:
            raise BackendAuthError(_LOG_IN_REFUSED, self._refusal)
        token = payload_of(answer).get("access_token")
        if not isinstance(token, str) or not token:
            raise BackendContractError(f"XieHe 登录应答中没有 access_token（{answer.evidence}）", answer.evidence)
        _log.info("logged in to XieHe")
        return token

    async def _answer_of_log_in(self, credentials: Credentials) -> BackendResponse:
        """A fault here leaves no doubt about the call that needed the token: XieHe refused it."""
        try:
            answer = await self._log_in(credentials.username or "", credentials.password or "")
            fault = transient(answer)
            if fault is not None:
                raise fault
        except TransientError as error:
            raise TransientError(error.call, Delivery.NOT_SENT, error.retry_after_s) from error
        return answer

    def _take(self, token: str | None, *, issued: bool) -> None:
        self._token = token
        self._issued = issued
        self._proven = False

    def _words(self, expiry: float | None, expired: bool) -> str:
        if self._refusal is not None:
            return _LOG_IN_REFUSED
        if self._issued:
            return (
                "XieHe 登录成功，但随后拒绝了新令牌：请检查该账号的权限，以及 XieHe 各进程是否使用同一个 SECRET_KEY。"
            )
        if expired and expiry is not None:
            moment = datetime.fromtimestamp(expiry, UTC).strftime("%Y-%m-%d %H:%M UTC")
            return (
                f"API_TOKEN 已于 {moment} 过期：请更换 API_TOKEN，"
                "或设置 BACKEND_USERNAME 与 BACKEND_PASSWORD 以便自动登录。"
            )
        return (
            "XieHe 拒绝了 API_TOKEN（看不出已过期，可能填写有误、已被吊销或属于另一套系统）："
            "请更换 API_TOKEN，或设置 BACKEND_USERNAME 与 BACKEND_PASSWORD。"
        )


def token_expiry(token: str) -> float | None:
    """``exp`` of a JWT (RFC 7519 4.1.4), read without verifying it; None for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) and not isinstance(expiry, bool) else None
