"""Live push: WebSockets that tell how tasks go on, and the long poll for those who cannot have one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Never

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from errors import ImportServiceError, TaskNotFoundError, TooManyClientsError
from import_service import ImportService, TaskRegistry
from web.api.schemas import format_time
from web.live.publisher import Broadcaster, LatestValueQueue, TaskUpdate
from web.live.task_state import status_of
from web.security.middleware import key_matches

router = APIRouter()

GOING_AWAY = 1001
TOO_TALKATIVE = 1008
BROKEN = 1011
TOO_MANY_CLIENTS = 1013
UNAUTHORIZED = 4401
NO_SUCH_TASK = 4404
TOO_SLOW = 4408
_COUNTED_OVER_S = 60.0
_STOP_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often clients are told something, and how long they are waited for.

    Attributes:
        gap_s: least time between two tellings of one task.
        heartbeat_s: silence after which a sign of life is sent.
        auth_s: time for the client's first message, where a key is needed.
        send_s: time for the client to take a message; who needs longer is dropped.
        clients: at once.
        polls: long polls at once.
        strangers: at once, who have not shown the key yet; beyond that the one who has waited longest has to go.
        messages_per_minute: that a client may send; they mean nothing after the first.
    """

    gap_s: float = 0.25
    heartbeat_s: float = 15.0
    auth_s: float = 10.0
    send_s: float = 5.0
    clients: int = 100
    polls: int = 100
    strangers: int = 50
    messages_per_minute: int = 60


class CloseConnection(Exception):  # noqa: N818 - a signal to the conversation, not an error
    """The conversation is over, for this reason (a WebSocket close code and its stable word)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _AuthMessage(BaseModel):
    """A client's first message, where the service has a key."""

    type: Literal["auth"]
    key: str


class LivePush:
    """Those who watch: lets them in, keeps each conversation, ends all when the service stops."""

    def __init__(self, registry: TaskRegistry, fan_out: Broadcaster, key: str | None, pace: Pace) -> None:
        self._registry = registry
        self._fan_out = fan_out
        self._key = key
        self._pace = pace
        self._visits: set[WebSocket] = set()
        self._clients: set[WebSocket] = set()
        self._polls = 0
        self._strangers: dict[WebSocket, asyncio.Event] = {}  # longest waiting first; set to send one away
        self._stopping = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def clients(self) -> int:
        """How many have been let in."""
        return len(self._clients)

    async def serve(self, socket: WebSocket, task_id: str | None) -> None:
        """One client's whole visit: one task's news, or (None) those of all."""
        await socket.accept()
        self._visits.add(socket)
        self._empty.clear()
        try:
            await self._converse(socket, task_id)
        except CloseConnection as goodbye:
            with suppress(WebSocketDisconnect):
                await socket.close(goodbye.code, goodbye.reason)
        except WebSocketDisconnect:
            pass  # the client has gone, and everything of its visit with it
        finally:
            self._clients.discard(socket)
            self._visits.discard(socket)
            if not self._visits:
                self._empty.set()

    async def changed(self, task_id: str, since: int | None, wait_s: float) -> TaskUpdate:
        """The task once its ``seq`` differs from ``since`` (None: from now's), as it was serialised for all clients.

        As it stands when time is up; at once if it is at rest, or the service stops.

        Raises:
            TooManyClientsError: so many wait already.
            TaskNotFoundError, HistoryError: there is no such task, or nobody can say.
        """
        if self._polls >= self._pace.polls:
            raise TooManyClientsError(f"同时等待变化的请求已达 {self._pace.polls} 个，请稍后再试，或去掉 wait 参数。")
        self._polls += 1
        found: list[TaskUpdate] = []
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await _first_of(self._until_changed(task_id, since, found), self._stopping.wait())
            return found[0] if found else await self._fan_out.news_of(task_id)
        finally:
            self._polls -= 1

    async def _until_changed(self, task_id: str, since: int | None, found: list[TaskUpdate]) -> None:
        """What was told last may be older than what the client knows; such news is passed over."""
        with self._fan_out.mailbox(task_id) as mailbox:
            news = await self._fan_out.newest(task_id)
            known = self._seq_now(task_id) if since is None else since
            while not news.at_rest and news.seq <= known <= self._seq_now(task_id):
                news = await mailbox.take()
        found.append(news)

    def _seq_now(self, task_id: str) -> int:
        """Of a living task; after a restart it begins anew, below what clients know. -1 for what the history has."""
        try:
            return self._registry.get(task_id).seq
        except TaskNotFoundError:
            return -1

    async def stop(self) -> None:
        """Sends everyone away, promptly."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._empty.wait()

    async def _converse(self, socket: WebSocket, task_id: str | None) -> None:
        try:
            await _first_of(self._talk(socket, task_id), self._until_stop())
        except TaskNotFoundError as error:
            raise CloseConnection(NO_SUCH_TASK, error.code) from error
        except ImportServiceError as error:
            raise CloseConnection(BROKEN, error.code) from error

    async def _until_stop(self) -> Never:
        await self._stopping.wait()
        raise CloseConnection(GOING_AWAY, "service_stopping")

    async def _talk(self, socket: WebSocket, task_id: str | None) -> None:
        if self._key is not None:
            with self._strangers_place(socket) as asked_to_go:
                await _first_of(self._authenticate(socket, self._key), _until_asked(asked_to_go))
        self._let_in(socket)
        told = self._tell_all(socket) if task_id is None else self._tell_one(socket, task_id)
        await _first_of(told, self._listen(socket))

    @contextmanager
    def _strangers_place(self, socket: WebSocket) -> Iterator[asyncio.Event]:
        """Silent ones, however many, push each other out and never one who shows the key at once."""
        if len(self._strangers) >= self._pace.strangers:
            self._strangers.pop(next(iter(self._strangers))).set()
        self._strangers[socket] = asked_to_go = asyncio.Event()
        try:
            yield asked_to_go
        finally:
            self._strangers.pop(socket, None)

    def _let_in(self, socket: WebSocket) -> None:
        if len(self._clients) >= self._pace.clients:
            raise CloseConnection(TOO_MANY_CLIENTS, "too_many_clients")
        self._clients.add(socket)

    async def _authenticate(self, socket: WebSocket, key: str) -> None:
        try:
            async with asyncio.timeout(self._pace.auth_s):
                first = await _receive(socket)
        except TimeoutError:
            raise CloseConnection(UNAUTHORIZED, "key_missing") from None
        if not key_matches(key, _key_in(first)):
            raise CloseConnection(UNAUTHORIZED, "unauthorized")

    async def _listen(self, socket: WebSocket) -> Never:
        """Hears the client out, to no effect, and notices when it leaves."""
        since, heard = time.monotonic(), 0
        while True:
            await _receive(socket)
            if time.monotonic() - since > _COUNTED_OVER_S:
                since, heard = time.monotonic(), 0
            heard += 1
            if heard > self._pace.messages_per_minute:
                raise CloseConnection(TOO_TALKATIVE, "too_many_messages")

    async def _tell_one(self, socket: WebSocket, task_id: str) -> Never:
        with self._fan_out.mailbox(task_id) as mailbox:
            news = await self._fan_out.news_of(task_id)
            mailbox.note_told(news)
            await self._send(socket, f'{{"type":"snapshot","seq":{news.seq},"task":{news.text}}}')
            while not news.at_rest:
                news = await self._next(socket, mailbox)
                await self._send(socket, _event(news))
        await self._send(socket, json.dumps({"type": "end", "task_id": task_id}))
        raise CloseConnection(1000, "end")

    async def _tell_all(self, socket: WebSocket) -> Never:
        with self._fan_out.mailbox(None) as mailbox:
            found = await self._fan_out.live_news()
            for news in found:
                mailbox.note_told(news)
            await self._send(socket, f'{{"type":"snapshot","tasks":[{",".join(news.text for news in found)}]}}')
            while True:
                await self._send(socket, _event(await self._next(socket, mailbox)))

    async def _next(self, socket: WebSocket, mailbox: LatestValueQueue) -> TaskUpdate:
        """The next news; while there are none, a sign of life now and then."""
        while True:
            try:
                async with asyncio.timeout(self._pace.heartbeat_s):
                    return await mailbox.take()
            except TimeoutError:
                now = format_time(datetime.now(UTC))
                await self._send(socket, json.dumps({"type": "heartbeat", "timestamp": now}))

    async def _send(self, socket: WebSocket, text: str) -> None:
        try:
            async with asyncio.timeout(self._pace.send_s):
                await socket.send_text(text)
        except TimeoutError:
            raise CloseConnection(TOO_SLOW, "too_slow") from None


@asynccontextmanager
async def open_live_push(service: ImportService, key: str | None, pace: Pace) -> AsyncIterator[LivePush]:
    """Live push beside an open service."""
    fan_out = Broadcaster(service.registry, partial(status_of, service), pace.gap_s)
    push = LivePush(service.registry, fan_out, key, pace)
    async with service.supervisor.running("live_push", fan_out.run):
        try:
            yield push
        finally:
            await push.stop()


@router.websocket("/import/ws")
async def watch_all(socket: WebSocket) -> None:
    await _push_of(socket).serve(socket, None)


@router.websocket("/import/{task_id}/ws")
async def watch_one(socket: WebSocket, task_id: str) -> None:
    await _push_of(socket).serve(socket, task_id)


async def _until_asked(asked_to_go: asyncio.Event) -> Never:
    await asked_to_go.wait()
    raise CloseConnection(TOO_MANY_CLIENTS, "too_many_clients")


def _push_of(socket: WebSocket) -> LivePush:
    push: LivePush = socket.app.state.live
    return push


def _event(news: TaskUpdate) -> str:
    return f'{{"type":"task","task_id":{json.dumps(news.task_id)},"seq":{news.seq},"task":{news.text}}}'


def _key_in(message: str) -> str:
    """The key that a first message gives; empty where it is none."""
    try:
        return _AuthMessage.model_validate_json(message).key
    except ValidationError:
        return ""


async def _receive(socket: WebSocket) -> str:
    """The client's next message; empty where it is not text. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("text") or ""


async def _first_of(*ways: Coroutine[Any, Any, object]) -> None:
    """Takes several ways at once until one of them has come to its end; its error is raised here."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
