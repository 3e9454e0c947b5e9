"""Clients of the live push that are slow, many, silent or noisy; a real registry and real TCP, and a quicker pace."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from importing.runs.task_views import view_of
from main import uvicorn_config
from models import FileOutcome, ImportOptions, OutcomeKind, TaskResult
from source import overlaps
from tasks import LiveTask, TaskRegistry
from tests.waiting import PATIENCE_S
from web.api import serializers
from web.api.schemas import TaskStatusResponse
from web.live import push as live_push
from web.live.publisher import Broadcaster
from web.live.push import LivePush, PushLimits

KEY = "a-service-key"
NEVER_S = 3_600.0
SEND_S = 15.0
"""Far more than one needs who reads."""


@dataclass
class Scene:
    """A registry, those who may watch it, and the port where they do."""

    registry: TaskRegistry
    push: LivePush
    port: int
    server: uvicorn.Server

    def a_task(self, source: str = "/srv/dicom") -> LiveTask:
        task = self.registry.create(source, source, ImportOptions())
        task.start()
        return task

    def watching(self, task: LiveTask | None = None, **options: Any) -> connect:
        path = "/import/ws" if task is None else f"/import/{task.task_id}/ws"
        quiet: dict[str, Any] = {"ping_interval": None, "close_timeout": 0.1}
        return connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, max_size=None, **quiet, **options)


@asynccontextmanager
async def a_scene(key: str | None = None, **pace: Any) -> AsyncIterator[Scene]:
    registry = TaskRegistry(overlaps)

    async def status_of(task_id: str) -> TaskStatusResponse:
        return serializers.status(view_of(registry.get(task_id)), None)

    wanted = PushLimits(**pace)
    broadcaster = Broadcaster(registry, status_of, wanted.gap_s)
    push = LivePush(registry, broadcaster, key, wanted)
    app = FastAPI()
    app.include_router(live_push.router)
    app.state.live = push
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app))
    spreading = asyncio.create_task(broadcaster.run())
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield Scene(registry, push, listener.getsockname()[1], server)
    finally:
        await push.stop()
        server.should_exit = True
        await serving
        spreading.cancel()
        await asyncio.gather(spreading, return_exceptions=True)


def narrow(scene: Scene) -> socket.socket:
    """A connection in which little fits that has not been read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", scene.port))
    connection.setblocking(False)
    return connection


async def told(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message: dict[str, Any] = json.loads(await client.recv())
    return message


async def code_at_the_end(client: ClientConnection) -> int | None:
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def until_gone(scene: Scene, left: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while scene.push.clients != left:  # noqa: ASYNC110 - nothing else tells that a connection has gone
            await asyncio.sleep(0.01)


async def until_closed(scene: Scene, left: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(scene.server.server_state.connections) != left:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


def a_failure(number: int) -> FileOutcome:
    return FileOutcome(
        source_path=f"/srv/dicom/2024-01/P001/{number}" + "x" * 2_000,
        month="2024-01",
        kind=OutcomeKind.FAILED,
        code="not_dicom",
        detail="不是 DICOM 文件" * 40,
        finished_at=datetime.now(UTC),
    )


async def test_silence_is_broken_by_heartbeats_and_heartbeats_by_news() -> None:
    async with a_scene(heartbeat_s=0.05, gap_s=0.01) as scene:
        task = scene.a_task()
        async with scene.watching(task) as client:
            assert [(await told(client))["type"] for _ in range(3)] == ["snapshot", "heartbeat", "heartbeat"]
            task.add_ignored()
            while (message := await told(client))["type"] == "heartbeat":
                assert set(message) == {"type", "timestamp"}
            assert message["task"]["progress"]["ignored_files"] == 1


async def test_a_client_that_does_not_read_is_dropped_and_holds_nobody_up() -> None:
    async with a_scene(heartbeat_s=0.05, gap_s=0.01, send_s=SEND_S) as scene:
        task = scene.a_task()
        for number in range(100):
            task.add_outcomes([a_failure(number)])
        async with (
            scene.watching(task, sock=narrow(scene)) as deaf,
            scene.watching(task) as listener,
        ):
            deaf.transport.pause_reading()
            last = await told(listener)
            while scene.push.clients == 2:
                task.add_ignored()
                last = await told(listener)
            task.add_ignored()
            while last["type"] == "heartbeat" or last["seq"] != task.seq:
                last = await told(listener)

            assert last["task"]["progress"]["ignored_files"] == task.counts.ignored_files
            await until_closed(scene, 1)
            deaf.transport.resume_reading()
            assert await code_at_the_end(deaf) in (1006, 4408)


async def test_a_flood_of_changes_is_told_slowly_and_to_its_end() -> None:
    async with a_scene(gap_s=0.2) as scene:
        task = scene.a_task()
        async with scene.watching(task) as client:
            began = asyncio.get_running_loop().time()
            seen = [await told(client)]
            for _ in range(50):
                for _ in range(100):
                    task.add_ignored()
                await asyncio.sleep(0.02)
            task.complete(TaskResult.SUCCESS)
            while seen[-1]["type"] != "end":
                seen.append(await told(client))
            seconds = asyncio.get_running_loop().time() - began

    _, *events, _ = seen
    assert len(events) <= seconds / 0.2 + 2
    assert events[-1]["task"]["progress"]["ignored_files"] == 5_000
    assert events[-1]["task"]["status"] == "completed"


async def test_who_says_nothing_is_not_waited_for_where_a_key_is_needed() -> None:
    async with a_scene(key=KEY, auth_s=0.1) as scene, scene.watching() as client:
        assert (await code_at_the_end(client), client.close_reason) == (4401, "key_missing")


async def test_only_so_many_may_watch_at_once() -> None:
    async with a_scene(clients=2) as scene:
        async with scene.watching() as one, scene.watching() as two:
            await told(one)
            await told(two)
            async with scene.watching() as three:
                assert await code_at_the_end(three) == 1013
        await until_gone(scene, 0)
        async with scene.watching() as four:
            assert (await told(four))["type"] == "snapshot"


async def test_silent_strangers_keep_nobody_out_who_has_the_key() -> None:
    async with a_scene(key=KEY, auth_s=NEVER_S, clients=2, unauthenticated=3) as scene, AsyncExitStack() as visits:
        silent = [await visits.enter_async_context(scene.watching()) for _ in range(8)]
        assert [await code_at_the_end(client) for client in silent[:5]] == [1013] * 5

        for _ in range(2):
            keyed = await visits.enter_async_context(scene.watching())
            await keyed.send(json.dumps({"type": "auth", "key": KEY}))
            assert (await told(keyed))["type"] == "snapshot"
        assert scene.push.clients == 2
        async with scene.watching() as one_too_many:
            await one_too_many.send(json.dumps({"type": "auth", "key": KEY}))
            assert await code_at_the_end(one_too_many) == 1013


async def test_a_client_that_vanishes_is_forgotten() -> None:
    async with a_scene(heartbeat_s=NEVER_S) as scene, scene.watching(scene.a_task()) as client:
        await told(client)
        client.transport.abort()
        await until_gone(scene, 0)


@pytest.mark.parametrize(("messages", "size", "code"), [(1, 5_000, 1009), (11, 10, 1008)])
async def test_clients_that_talk_too_much_are_sent_away(messages: int, size: int, code: int) -> None:
    async with a_scene(messages_per_minute=10) as scene, scene.watching() as client:
        await told(client)
        with suppress(ConnectionClosed):
            for _ in range(messages):
                await client.send("x" * size)
        assert await code_at_the_end(client) == code


async def test_what_clients_say_changes_nothing_and_pings_are_answered() -> None:
    async with a_scene() as scene:
        task = scene.a_task()
        async with scene.watching(task) as client:
            await told(client)
            for message in ('{"type":"auth","key":"any"}', "{", b"\xff", '{"type":"cancel"}'):
                await client.send(message)
            async with asyncio.timeout(PATIENCE_S):
                await (await client.ping())
            task.add_ignored()
            assert (await told(client))["seq"] == task.seq


async def test_who_asks_without_reading_the_answers_is_cut_off() -> None:
    """Pongs to a client that does not read would pile up in memory."""
    async with a_scene(heartbeat_s=NEVER_S) as scene, scene.watching(sock=narrow(scene)) as client:
        await told(client)
        client.transport.pause_reading()
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                for number in count():
                    await client.ping(f"{number:0125}")
        await until_gone(scene, 0)
