"""Clients that only connect, send half a request, or leave their answers unread."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import Response, StreamingResponse
from websockets.asyncio.client import connect

import web.server.http_protocol
from main import uvicorn_config
from tests.waiting import PATIENCE_S, async_until, leaping
from web.server.http_protocol import Closed, closed_connections, connection_limit

if sys.platform == "linux":
    import fcntl
    import termios

LIMIT = 8
BODY = b"x" * (16 * 1024 * 1024)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALVES = (
    b"",
    b"GET / HTT",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    GET + b"GET / HTT",
    GET + b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345",
)


def an_app() -> FastAPI:
    app = FastAPI()
    app.state.held, app.state.go = [], asyncio.Event()

    @app.api_route("/", methods=["GET", "POST"])
    async def whole(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.get("/held")
    async def held() -> Response:
        app.state.held.append(True)
        await app.state.go.wait()
        return Response("late")

    @app.get("/large")
    async def large() -> Response:
        return Response(BODY)

    @app.get("/stream")
    async def stream() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(BODY), 1 << 16):
                yield BODY[start : start + (1 << 16)]

        return StreamingResponse(pieces())

    @app.websocket("/ws")
    async def echo(client: WebSocket) -> None:
        await client.accept()
        while True:
            await client.send_text(await client.receive_text())

    return app


class Scene:
    def __init__(self, app: FastAPI, server: uvicorn.Server, port: int) -> None:
        self.app, self.server, self.port = app, server, port

    async def call(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that is known to the server, with some bytes on the way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def ask(self, data: bytes = GET) -> bytes:
        reader, writer = await self.call(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read()
        finally:
            writer.close()

    async def hold(self, count: int) -> list[asyncio.Task[bytes]]:
        """So many requests, all of which are being answered until ``go`` is set."""
        late = [asyncio.create_task(self.ask(GET.replace(b"/ ", b"/held "))) for _ in range(count)]
        async with asyncio.timeout(PATIENCE_S):
            while len(self.app.state.held) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return late

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.server.server_state.connections) != count:  # noqa: ASYNC110 - uvicorn says nothing
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_scene(limit: int = LIMIT) -> AsyncIterator[Scene]:
    app = an_app()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app, limit))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield Scene(app, server, listener.getsockname()[1])
    finally:
        app.state.go.set()
        server.should_exit = server.force_exit = True
        await serving


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server hung up."""
    came = b""
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                came += piece
    return came


@pytest.mark.parametrize("half", HALVES)
async def test_a_request_that_does_not_arrive_whole_is_given_up(half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.server.http_protocol, "REQUEST_WITHIN_S", 0.2)
    async with a_scene() as scene:
        reader, writer = await scene.call(half)
        before = dict(closed_connections)
        came = await ended(reader)
        writer.close()

        assert came.count(b"HTTP/1.1 200") == half.count(GET)
        assert closed_connections == {**before, Closed.REQUEST_TIMEOUT: before[Closed.REQUEST_TIMEOUT] + 1}
        assert (await scene.ask()).startswith(b"HTTP/1.1 200")


def test_a_connection_at_rest_outlives_what_clients_and_proxies_keep() -> None:
    """httpx ends its own after 5 s, nginx after 60 s; a server that ends it first may lose a request."""
    kept_by_clients = max(httpx.Limits().keepalive_expiry or 0, 60)
    assert uvicorn_config(an_app()).timeout_keep_alive > kept_by_clients


async def test_drips_do_not_extend_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.server.http_protocol, "REQUEST_WITHIN_S", 0.3)
    async with a_scene() as scene:
        reader, writer = await scene.call(b"GET / HTTP/1.1\r\n")
        end = asyncio.create_task(ended(reader))
        with suppress(ConnectionError):
            while not end.done():
                writer.write(b"X-Drip: 1\r\n")
                await asyncio.sleep(0.02)
        assert await end == b""


async def test_websockets_and_answers_under_way_have_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.server.http_protocol, "REQUEST_WITHIN_S", 0.1)
    async with a_scene() as scene, connect(f"ws://127.0.0.1:{scene.port}/ws", proxy=None) as client:
        late = asyncio.create_task(scene.ask(GET.replace(b"/ ", b"/held ")))
        await asyncio.sleep(0.5)  # longer than a request may take
        await client.send("still here")
        scene.app.state.go.set()

        async with asyncio.timeout(PATIENCE_S):
            assert await client.recv() == "still here"
            assert (await late).endswith(b"late")


@pytest.mark.parametrize("half", HALVES[:4])
async def test_idle_connections_give_way_to_new_ones(half: bytes) -> None:
    async with a_scene() as scene:
        before = closed_connections[Closed.LIMIT]
        idle = [await scene.call(half) for _ in range(3 * LIMIT)]
        for _ in range(2 * LIMIT):
            assert (await scene.ask()).startswith(b"HTTP/1.1 200")
        assert len(scene.server.server_state.connections) <= LIMIT
        assert closed_connections[Closed.LIMIT] > before
        for _, writer in idle:
            writer.close()


async def test_idle_connections_never_push_out_an_answer_under_way() -> None:
    async with a_scene() as scene:
        late = await scene.hold(LIMIT - 2)
        idle = [await scene.call(b"GET") for _ in range(3 * LIMIT)]
        assert (await scene.ask()).startswith(b"HTTP/1.1 200")
        scene.app.state.go.set()

        assert all(answer.endswith(b"late") for answer in await asyncio.gather(*late))
        for _, writer in idle:
            writer.close()


async def test_more_requests_at_once_than_connections_are_refused_in_words() -> None:
    async with a_scene() as scene:
        late = await scene.hold(LIMIT - 1)
        assert (await scene.ask()).startswith(b"HTTP/1.1 503")
        scene.app.state.go.set()
        assert all(answer.endswith(b"late") for answer in await asyncio.gather(*late))


@pytest.mark.parametrize("path", [b"/large", b"/stream"])
async def test_a_client_that_reads_nothing_is_disconnected(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.server.http_protocol, "UNREAD_FOR_S", 0.2)
    before = closed_connections[Closed.UNREAD]
    async with a_scene() as scene:
        with ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", scene.port))
                await asyncio.get_running_loop().sock_sendall(client, GET.replace(b"/ ", path + b" "))
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b"H"  # and no further one
            await scene.until_open(0)
            assert closed_connections[Closed.UNREAD] == before + 3


@pytest.mark.parametrize("path", [b"/large", b"/stream"])
async def test_a_client_that_reads_slowly_gets_all(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.server.http_protocol, "UNREAD_FOR_S", 0.5)
    async with a_scene() as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, limit=65536)
        writer.write(GET.replace(b"/ ", path + b" ").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        came = 0
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(1 << 19):
                came += len(piece)
                await asyncio.sleep(0.01)
        writer.close()
    assert came > len(BODY)


async def some(client: socket.socket, count: int) -> bytes:
    """So many bytes, or what there is until the end."""
    came = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(came) < count and (piece := await asyncio.get_running_loop().sock_recv(client, count - len(came))):
            came += piece
    return came


def unread(scene: Scene) -> int:
    """Bytes of all answers that the clients' systems have not taken."""
    found = 0
    for each in scene.server.server_state.connections:
        queued = fcntl.ioctl(each.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        found += each.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)
    return found


async def until_less(scene: Scene, before: int) -> None:
    await async_until(lambda: unread(scene) < before)


async def until_full(scene: Scene) -> None:
    """The operating system takes no more of the answers: all there is to read is in its buffers."""
    sizes: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(sizes) < 3 or len({*sizes[-3:]}) > 1:
            await asyncio.sleep(0.01)
            sizes.append(unread(scene))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much its socket still holds")
@pytest.mark.parametrize("step", [1 << 18, 1 << 19])
async def test_what_the_operating_system_still_holds_counts_as_read_when_it_gets_less(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less is read than makes the socket writable again, and long before the next check."""
    leap = leaping(monkeypatch)
    async with a_scene() as scene:
        with socket.create_connection(("127.0.0.1", scene.port)) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(client, GET.replace(b"/ ", b"/large "))
            came = await some(client, 1)
            for _ in range(8):
                await until_full(scene)
                before = unread(scene)
                assert before, "disconnected"
                came += await some(client, step)
                await until_less(scene, before)
                await leap(web.server.http_protocol.UNREAD_FOR_S + 1)
            rest = await some(client, len(BODY) - len(came))
            assert len(came + rest) == len(BODY)


async def test_an_answer_that_is_still_read_gives_no_way() -> None:
    async with a_scene() as scene:
        reader, writer = await scene.call(GET.replace(b"/ ", b"/large "))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await until_full(scene)
        idle = [await scene.call(b"") for _ in range(3 * LIMIT)]
        assert (await scene.ask()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(len(BODY)) == BODY
        for _, each in [(reader, writer), *idle]:
            each.close()


async def test_a_pipelined_request_whose_body_never_comes_gives_way() -> None:
    async with a_scene() as scene:
        halves = [await scene.call(HALVES[-1]) for _ in range(LIMIT - 2)]
        for reader, _ in halves:
            await reader.readuntil(b"\r\n\r\n0")
        for _ in range(2 * LIMIT):
            assert (await scene.ask()).startswith(b"HTTP/1.1 200")
        idle = [await scene.call(b"") for _ in range(2 * LIMIT)]
        async with asyncio.timeout(PATIENCE_S):
            assert [await reader.read() for reader, _ in halves] == [b""] * len(halves)
        for _, writer in [*halves, *idle]:
            writer.close()


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(256, 128), (1024, 512), (2000, 1000), (4096, 1000), (65_536, 1000)]
)
def test_connections_get_half_of_the_descriptors_at_most(descriptors: int, connections: int) -> None:
    assert connection_limit(descriptors) == connections
