"""Notifies another system of a task's end: signed, repeated until accepted, without patient data."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_exponential, wait_random

from domain.version import NAME, VERSION
from webhook.message import Message, TaskEnd, headers_of, message_of
from webhook.outbox import Outbox

_log = logging.getLogger(__name__)

OUTBOX_FOLDER = "webhook-outbox"
_AT_ONCE = 4
_RETRYABLE = frozenset({408, 425, 429})
"""Refusals that may pass, beside all 5xx."""


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The receiver, and how often to retry: the waits between eight attempts add up to about 26 minutes.

    Attributes:
        url: http or https.
        secret: signs each notice.
        data_dir: keeps pending notices over a restart.
        timeout_s: of one attempt, for each of connecting, sending and the answer.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    data_dir: str
    attempts: int = 8
    first_wait_s: float = 15.0
    max_wait_s: float = 600.0
    jitter_s: float = 1.0
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """The result of a notice: ``answer`` is the last status or the name of the fault."""

    taken: bool
    answer: str
    retryable: bool = False

    @property
    def result(self) -> str:
        """``delivered``, ``refused`` (for good), or ``given_up`` (after the last attempt)."""
        return "delivered" if self.taken else "given_up" if self.retryable else "refused"


class Webhook:
    """One receiver. Made by :meth:`open`."""

    def __init__(self, http: httpx.AsyncClient, options: WebhookOptions, now: Callable[[], float]) -> None:
        self._http = http
        self._options = options
        self._now = now
        self._outbox = Outbox(os.path.join(options.data_dir, OUTBOX_FOLDER))
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._waiting = wait_exponential(options.first_wait_s, options.max_wait_s) + wait_random(0, options.jitter_s)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: WebhookOptions, now: Callable[[], float] = time.time) -> AsyncIterator[Webhook]:
        """Nothing is sent yet. ``now`` is the clock of the signatures, seconds since the epoch."""
        async with httpx.AsyncClient(
            trust_env=False,  # no proxy from the environment
            verify=await asyncio.to_thread(ssl.create_default_context) if options.url.startswith("https:") else False,
            follow_redirects=False,
            timeout=options.timeout_s,
            headers={"User-Agent": f"{NAME}/{VERSION}"},
        ) as http:
            yield cls(http, options, now)

    async def enqueue(self, task_id: str) -> None:
        """A task has begun: its notice is pending from now on, over restarts too."""
        await asyncio.to_thread(self._outbox.enqueue, task_id)

    async def pending(self) -> list[str]:
        """Tasks of earlier processes with a pending notice."""
        return await asyncio.to_thread(self._outbox.pending)

    async def discard(self, task_id: str) -> None:
        """A task's notice is not pending any more."""
        await asyncio.to_thread(self._outbox.discard, task_id)

    async def deliver(self, end: TaskEnd) -> WebhookDelivery:
        """Sends a task's end until it is accepted, refused for good, or the attempts are used up.

        A cancelled notice stays pending.
        """
        message, task_id = message_of(end, NAME, VERSION), end.record.task_id
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda delivery: delivery.retryable),
            stop=stop_after_attempt(self._options.attempts),
            wait=self._waiting,
            before_sleep=lambda state: _announce(task_id, state),
            retry_error_callback=_last_delivery,
        )

        async def attempt() -> WebhookDelivery:
            return await self._attempt(message)

        delivery: WebhookDelivery = await retrying(attempt)
        level = logging.INFO if delivery.taken else logging.ERROR
        _log.log(level, "notice=%s %s %s", task_id, delivery.result, delivery.answer)
        await self.discard(task_id)
        return delivery

    async def _attempt(self, message: Message) -> WebhookDelivery:
        headers = headers_of(message, self._options.secret, int(self._now()))
        try:
            async with (
                self._free,
                self._http.stream("POST", self._options.url, content=message.body, headers=headers) as answer,
            ):
                status = answer.status_code  # the body is not read: it may be endless
        except httpx.TransportError as error:
            return WebhookDelivery(taken=False, answer=type(error).__name__, retryable=True)
        except httpx.InvalidURL:
            return WebhookDelivery(taken=False, answer="InvalidURL")
        return WebhookDelivery(httpx.codes.is_success(status), str(status), status >= 500 or status in _RETRYABLE)


def _last_delivery(state: RetryCallState) -> WebhookDelivery:
    assert state.outcome is not None
    delivery: WebhookDelivery = state.outcome.result()
    return delivery


def _announce(task_id: str, state: RetryCallState) -> None:
    wait_s = state.next_action.sleep if state.next_action else 0.0
    answer = _last_delivery(state).answer
    _log.warning("notice=%s attempt %d: %s; again in %.0f s", task_id, state.attempt_number, answer, wait_s)
