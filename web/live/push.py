"""Live push: WebSockets that send the progress of tasks, and the long poll for clients that cannot use them."""

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
from web.api import serializers
from web.api.schemas import TaskStatusResponse, format_time
from web.live.publisher import Broadcaster, LatestValueQueue, TaskUpdate
from web.security.middleware import key_matches

router = APIRouter()

GOING_AWAY = 1001
RATE_LIMITED = 1008
BROKEN = 1011
TOO_MANY_CLIENTS = 1013
UNAUTHORIZED = 4401
NO_SUCH_TASK = 4404
TOO_SLOW = 4408
_COUNTED_OVER_S = 60.0
_STOP_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class PushLimits:
    """How often clients get updates, how long the service waits for them, and how many there may be.

    Attributes:
        gap_s: least time between two updates of one task.
        heartbeat_s: time without an update after which a heartbeat is sent.
        auth_s: time for the client's first message, if the service has a key.
        send_s: time for the client to take a message; a slower one is disconnected.
        clients: at once.
        polls: long polls at once.
        unauthenticated: clients at once that have not sent the key yet; beyond that the oldest is disconnected.
        messages_per_minute: that a client may send; they mean nothing after the first.
    """

    gap_s: float = 0.25
    heartbeat_s: float = 15.0
    auth_s: float = 10.0
    send_s: float = 5.0
    clients: int = 100
    polls: int = 100
    unauthenticated: int = 50
    messages_per_minute: int = 60


class CloseConnection(Exception):  # noqa: N818 - a signal to the handler, not an error
    """Ends a connection with a WebSocket close code and its stable reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _AuthMessage(BaseModel):
    """A client's first message, if the service has a key."""

    type: Literal["auth"]
    key: str


class LivePush:
    """The clients: admits them, sends them updates, disconnects all when the service stops."""

    def __init__(self, registry: TaskRegistry, broadcaster: Broadcaster, key: str | None, limits: PushLimits) -> None:
        self._registry = registry
        self._broadcaster = broadcaster
        self._key = key
        self._limits = limits
        self._connections: set[asyncio.Task[Any] | None] = set()
        self._clients: set[WebSocket] = set()
        self._polls = 0
        self._unauthenticated: dict[WebSocket, asyncio.Event] = {}  # oldest first; the event disconnects one
        self._stopping = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many are admitted."""
        return len(self._clients)

    async def serve(self, socket: WebSocket, task_id: str | None) -> None:
        """Handles one connection: updates of one task, or (None) of all."""
        await socket.accept()
        connection = asyncio.current_task()
        self._connections.add(connection)
        try:
            await self._handle(socket, task_id)
        except CloseConnection as close:
            with suppress(WebSocketDisconnect):
                await socket.close(close.code, close.reason)
        except WebSocketDisconnect:
            pass
        finally:
            self._clients.discard(socket)
            self._connections.discard(connection)

    async def stop(self) -> None:
        """Disconnects all clients, promptly."""
        self._stopping.set()
        if connections := list(filter(None, self._connections)):
            await asyncio.wait(connections, timeout=_STOP_WITHIN_S)

    # --- long polls ------------------------------------------------------------------------------------------------

    async def wait_for_change(self, task_id: str, since: int | None, wait_s: float) -> TaskUpdate:
        """The task once its ``seq`` differs from ``since`` (None: the current one), serialised once for all clients.

        Returns the current state after ``wait_s``, and at once if the task is at rest or the service stops.

        Raises:
            TooManyClientsError: too many long polls wait.
            TaskNotFoundError, HistoryError: there is no such task, or the history cannot be read.
        """
        if self._polls >= self._limits.polls:
            raise TooManyClientsError(f"同时等待变化的请求已达 {self._limits.polls} 个，请稍后再试，或去掉 wait 参数。")
        self._polls += 1
        found: list[TaskUpdate] = []
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await _first_of(self._until_changed(task_id, since, found), self._stopping.wait())
            return found[0] if found else await self._broadcaster.current(task_id)
        finally:
            self._polls -= 1

    async def _until_changed(self, task_id: str, since: int | None, found: list[TaskUpdate]) -> None:
        """Passes over updates that are older than what the client has."""
        with self._broadcaster.subscribe(task_id) as queue:
            update = await self._broadcaster.latest(task_id)
            known = self._current_seq(task_id) if since is None else since
            while not update.at_rest and update.seq <= known <= self._current_seq(task_id):
                update = await queue.get()
        found.append(update)

    def _current_seq(self, task_id: str) -> int:
        """Of a live task; it begins anew after a restart, below what clients have. -1 for a recorded task."""
        task = self._registry.find(task_id)
        return -1 if task is None else task.seq

    # --- WebSockets ------------------------------------------------------------------------------------------------

    async def _handle(self, socket: WebSocket, task_id: str | None) -> None:
        try:
            await _first_of(
                self._send_updates(socket, task_id), _close_after(self._stopping, GOING_AWAY, "service_stopping")
            )
        except TaskNotFoundError as error:
            raise CloseConnection(NO_SUCH_TASK, error.code) from error
        except ImportServiceError as error:
            raise CloseConnection(BROKEN, error.code) from error

    async def _send_updates(self, socket: WebSocket, task_id: str | None) -> None:
        if self._key is not None:
            with self._unauthenticated_place(socket) as displaced:
                close = _close_after(displaced, TOO_MANY_CLIENTS, "too_many_clients")
                await _first_of(self._authenticate(socket, self._key), close)
        if len(self._clients) >= self._limits.clients:
            raise CloseConnection(TOO_MANY_CLIENTS, "too_many_clients")
        self._clients.add(socket)
        updates = self._send_all(socket) if task_id is None else self._send_task(socket, task_id)
        await _first_of(updates, self._limit_messages(socket))

    @contextmanager
    def _unauthenticated_place(self, socket: WebSocket) -> Iterator[asyncio.Event]:
        """Silent clients displace each other, never one that sends the key at once."""
        if len(self._unauthenticated) >= self._limits.unauthenticated:
            self._unauthenticated.pop(next(iter(self._unauthenticated))).set()
        self._unauthenticated[socket] = displaced = asyncio.Event()
        try:
            yield displaced
        finally:
            self._unauthenticated.pop(socket, None)

    async def _authenticate(self, socket: WebSocket, key: str) -> None:
        try:
            async with asyncio.timeout(self._limits.auth_s):
                first = await _receive(socket)
        except TimeoutError:
            raise CloseConnection(UNAUTHORIZED, "key_missing") from None
        if not key_matches(key, _key_in(first)):
            raise CloseConnection(UNAUTHORIZED, "unauthorized")

    async def _limit_messages(self, socket: WebSocket) -> Never:
        """Reads and ignores the client's messages, and notices when it leaves."""
        since, received = time.monotonic(), 0
        while True:
            await _receive(socket)
            if time.monotonic() - since > _COUNTED_OVER_S:
                since, received = time.monotonic(), 0
            received += 1
            if received > self._limits.messages_per_minute:
                raise CloseConnection(RATE_LIMITED, "too_many_messages")

    async def _send_task(self, socket: WebSocket, task_id: str) -> Never:
        with self._broadcaster.subscribe(task_id) as queue:
            update = await self._broadcaster.current(task_id)
            queue.mark_sent(update)
            await self._send(socket, f'{{"type":"snapshot","seq":{update.seq},"task":{update.text}}}')
            while not update.at_rest:
                update = await self._next(socket, queue)
                await self._send(socket, _event(update))
        await self._send(socket, json.dumps({"type": "end", "task_id": task_id}))
        raise CloseConnection(1000, "end")

    async def _send_all(self, socket: WebSocket) -> Never:
        with self._broadcaster.subscribe(None) as queue:
            found = await self._broadcaster.live_tasks()
            for update in found:
                queue.mark_sent(update)
            await self._send(socket, f'{{"type":"snapshot","tasks":[{",".join(update.text for update in found)}]}}')
            while True:
                await self._send(socket, _event(await self._next(socket, queue)))

    async def _next(self, socket: WebSocket, queue: LatestValueQueue) -> TaskUpdate:
        """Waits for the next update; sends heartbeats meanwhile."""
        while True:
            try:
                async with asyncio.timeout(self._limits.heartbeat_s):
                    return await queue.get()
            except TimeoutError:
                now = format_time(datetime.now(UTC))
                await self._send(socket, json.dumps({"type": "heartbeat", "timestamp": now}))

    async def _send(self, socket: WebSocket, text: str) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await socket.send_text(text)
        except TimeoutError:
            raise CloseConnection(TOO_SLOW, "too_slow") from None


@asynccontextmanager
async def open_live_push(service: ImportService, key: str | None, limits: PushLimits) -> AsyncIterator[LivePush]:
    """Live push beside an open service."""
    broadcaster = Broadcaster(service.registry, partial(status_of, service), limits.gap_s)
    push = LivePush(service.registry, broadcaster, key, limits)
    async with service.supervisor.background_task("live_push", broadcaster.run):
        try:
            yield push
        finally:
            await push.stop()


async def status_of(service: ImportService, task_id: str) -> TaskStatusResponse:
    """A task's state, the same for a request, a long poll and a push. Raises TaskNotFoundError, HistoryError."""
    view = await service.view(task_id)
    return serializers.status(view, await service.plan(view))


@router.websocket("/import/ws")
async def watch_all(socket: WebSocket) -> None:
    await _push_of(socket).serve(socket, None)


@router.websocket("/import/{task_id}/ws")
async def watch_one(socket: WebSocket, task_id: str) -> None:
    await _push_of(socket).serve(socket, task_id)


def _push_of(socket: WebSocket) -> LivePush:
    push: LivePush = socket.app.state.live
    return push


async def _close_after(event: asyncio.Event, code: int, reason: str) -> Never:
    await event.wait()
    raise CloseConnection(code, reason)


def _event(update: TaskUpdate) -> str:
    return f'{{"type":"task","task_id":{json.dumps(update.task_id)},"seq":{update.seq},"task":{update.text}}}'


def _key_in(message: str) -> str:
    """The key in a first message; empty if there is none."""
    try:
        return _AuthMessage.model_validate_json(message).key
    except ValidationError:
        return ""


async def _receive(socket: WebSocket) -> str:
    """The client's next message; empty if it is not text. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("text") or ""


async def _first_of(*alternatives: Coroutine[Any, Any, object]) -> None:
    """Runs all until the first one ends, whose error is raised here."""
    tasks = [asyncio.create_task(each) for each in alternatives]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
