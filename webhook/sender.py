"""Notifies another system of a task's end: signed, repeated until it is accepted, without patient data."""

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
"""Statuses that ask for a later attempt, beside all 5xx."""


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Where to deliver, and how often: 15, 30, 60 ... 600 s between eight attempts are about 26 minutes.

    Attributes:
        url: http or https.
        secret: signs each notice.
        data_dir: holds pending notices over a restart.
        timeout_s: for one attempt, each of connecting, sending and the answer.
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
    """How a delivery ended: ``answer`` is the last status or the name of the fault."""

    accepted: bool
    answer: str
    retryable: bool = False

    @property
    def result(self) -> str:
        """``delivered``, ``refused`` (for good), or ``given_up`` (after the last attempt)."""
        return "delivered" if self.accepted else "given_up" if self.retryable else "refused"


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
        """Opens the HTTP client. ``now`` is the clock of the signatures, seconds since the epoch."""
        async with httpx.AsyncClient(
            trust_env=False,  # notices go where the setting says, not through a proxy of some shell
            verify=await asyncio.to_thread(ssl.create_default_context) if options.url.startswith("https:") else False,
            follow_redirects=False,
            timeout=options.timeout_s,
            headers={"User-Agent": f"{NAME}/{VERSION}"},
        ) as http:
            yield cls(http, options, now)

    async def enqueue(self, task_id: str) -> None:
        """A task has begun: its end must be delivered, after a restart too."""
        await asyncio.to_thread(self._outbox.add, task_id)

    async def pending(self) -> list[str]:
        """Tasks whose end is not delivered yet."""
        return await asyncio.to_thread(self._outbox.pending)

    async def drop(self, task_id: str) -> None:
        """Nothing of a task is to be delivered any more."""
        await asyncio.to_thread(self._outbox.remove, task_id)

    async def deliver(self, end: TaskEnd) -> WebhookDelivery:
        """Repeats until the notice is accepted, refused for good, or out of attempts. Cancelled, it stays pending."""
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
        _log.log(logging.INFO if delivery.accepted else logging.ERROR, "notice=%s %s %s", *_words(task_id, delivery))
        await self.drop(task_id)
        return delivery

    async def _attempt(self, message: Message) -> WebhookDelivery:
        headers = headers_of(message, self._options.secret, int(self._now()))
        try:
            async with (
                self._free,
                self._http.stream("POST", self._options.url, content=message.body, headers=headers) as answer,
            ):
                status = answer.status_code  # the body is not read, since it may be endless
        except httpx.TransportError as error:
            return WebhookDelivery(accepted=False, answer=type(error).__name__, retryable=True)
        except httpx.InvalidURL:
            return WebhookDelivery(accepted=False, answer="InvalidURL")
        return WebhookDelivery(httpx.codes.is_success(status), str(status), status >= 500 or status in _RETRYABLE)


def _last_delivery(state: RetryCallState) -> WebhookDelivery:
    assert state.outcome is not None
    delivery: WebhookDelivery = state.outcome.result()
    return delivery


def _announce(task_id: str, state: RetryCallState) -> None:
    wait_s = state.next_action.sleep if state.next_action else 0.0
    answer = _last_delivery(state).answer
    _log.warning("notice=%s attempt %d: %s; again in %.0f s", task_id, state.attempt_number, answer, wait_s)


def _words(task_id: str, delivery: WebhookDelivery) -> tuple[str, str, str]:
    return task_id, delivery.result, delivery.answer
