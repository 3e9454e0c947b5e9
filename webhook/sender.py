"""Tells another system that a task has ended: signed, repeated until it is taken, nothing of a patient in it."""

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
_MAY_PASS = frozenset({408, 425, 429})
"""Refusals that say "later", beside all 5xx."""


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Whom to tell, and how patiently: 15, 30, 60 ... 600 s between eight attempts are about 26 minutes.

    Attributes:
        url: http or https.
        secret: signs each notice.
        data_dir: where what is owed survives a restart.
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
    """How a notice fared: ``said`` is the last status or the name of the fault."""

    taken: bool
    said: str
    can_skip: bool = False

    @property
    def result(self) -> str:
        """``delivered``, ``refused`` (for good), or ``given_up`` (after the last attempt)."""
        return "delivered" if self.taken else "given_up" if self.can_skip else "refused"


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
            trust_env=False,  # notices go where the setting says, not through a proxy of some shell
            verify=await asyncio.to_thread(ssl.create_default_context) if options.url.startswith("https:") else False,
            follow_redirects=False,
            timeout=options.timeout_s,
            headers={"User-Agent": f"{NAME}/{VERSION}"},
        ) as http:
            yield cls(http, options, now)

    async def owe(self, task_id: str) -> None:
        """A task has begun: its end will have to be told, by the next process if need be."""
        await asyncio.to_thread(self._outbox.owe, task_id)

    async def owed(self) -> list[str]:
        """Tasks of earlier processes whose end was not told."""
        return await asyncio.to_thread(self._outbox.owed)

    async def settle(self, task_id: str) -> None:
        """There is nothing (more) to be told of a task."""
        await asyncio.to_thread(self._outbox.settle, task_id)

    async def tell(self, end: TaskEnd) -> WebhookDelivery:
        """Tells a task's end, again and again until it is taken, refused for good, or the attempts are used up.

        Cancelled meanwhile, it stays owed.
        """
        message, task_id = message_of(end, NAME, VERSION), end.record.task_id
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda delivery: delivery.can_skip),
            stop=stop_after_attempt(self._options.attempts),
            wait=self._waiting,
            before_sleep=lambda state: _announce(task_id, state),
            retry_error_callback=_last_delivery,
        )

        async def attempt() -> WebhookDelivery:
            return await self._attempt(message)

        delivery: WebhookDelivery = await retrying(attempt)
        _log.log(logging.INFO if delivery.taken else logging.ERROR, "notice=%s %s %s", *_words(task_id, delivery))
        await self.settle(task_id)
        return delivery

    async def _attempt(self, message: Message) -> WebhookDelivery:
        headers = headers_of(message, self._options.secret, int(self._now()))
        try:
            async with (
                self._free,
                self._http.stream("POST", self._options.url, content=message.body, headers=headers) as answer,
            ):
                status = answer.status_code  # what else it says is not read: it may be endless
        except httpx.TransportError as error:
            return WebhookDelivery(taken=False, said=type(error).__name__, can_skip=True)
        except httpx.InvalidURL:
            return WebhookDelivery(taken=False, said="InvalidURL")
        return WebhookDelivery(httpx.codes.is_success(status), str(status), status >= 500 or status in _MAY_PASS)


def _last_delivery(state: RetryCallState) -> WebhookDelivery:
    assert state.outcome is not None
    delivery: WebhookDelivery = state.outcome.result()
    return delivery


def _announce(task_id: str, state: RetryCallState) -> None:
    wait_s = state.next_action.sleep if state.next_action else 0.0
    said = _last_delivery(state).said
    _log.warning("notice=%s attempt %d: %s; again in %.0f s", task_id, state.attempt_number, said, wait_s)


def _words(task_id: str, delivery: WebhookDelivery) -> tuple[str, str, str]:
    return task_id, delivery.result, delivery.said
