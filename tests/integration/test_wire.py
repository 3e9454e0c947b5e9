"""The connections beneath the client: against servers that hang up, stall, answer early, or speak oddly."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.waiting import PATIENCE_S
from xiehe.wire import Wire

CERTIFICATE = Path(__file__).with_name("localhost.pem")
SHORT_S = 0.3
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WAITS = {"connect": PATIENCE_S, "read": PATIENCE_S, "write": PATIENCE_S, "pool": None}


class Server:
    """Counts connections; ``serve`` does the talking, and what it was asked stands in ``heads``."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def request(self, reader: asyncio.StreamReader) -> None:
        """Reads one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length:")]
        self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))


Talk = Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await talk(server, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    server.url = f"{scheme}://localhost:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


async def politely(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request of a connection."""
    while True:
        await server.request(reader)
        writer.write(OK)


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A wire that trusts the test's certificate only."""
    trusted = ssl.create_default_context(cafile=CERTIFICATE)
    async with Wire(connections=4, keepalive_s=PATIENCE_S, certificates=trusted) as opened:
        yield opened


async def exchange(wire: Wire, url: str, *, read: bool = True, **about: object) -> tuple[int, bytes]:
    method, content = str(about.pop("method", "GET")), about.pop("content", None)
    extensions = {"timeout": {**WAITS, **about.pop("waits", {})}, **about}  # type: ignore[dict-item]
    request = httpx.Request(method, url, content=content, extensions=extensions)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE_S):
        response = await wire.handle_async_request(request)
        try:
            return response.status_code, await response.aread() if read else b""
        finally:
            await response.aclose()


async def test_a_connection_serves_one_exchange_after_the_other(wire: Wire) -> None:
    async with serving(politely) as server:
        for _ in range(3):
            assert await exchange(wire, server.url + "/a?b=1") == (200, b"ok")
        assert server.connections == 1
        assert {head.splitlines()[0] for head in server.heads} == {"GET /a?b=1 HTTP/1.1"}


async def test_exchanges_side_by_side_have_connections_of_their_own_up_to_the_bound(wire: Wire) -> None:
    running, most = 0, 0
    full = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        while True:
            await server.request(reader)
            running += 1
            most = max(most, running)
            if running == 4:
                full.set()
            await full.wait()
            running -= 1
            writer.write(OK)

    async with serving(talk) as server:
        answers = await asyncio.gather(*(exchange(wire, server.url) for _ in range(9)))
        assert answers == [(200, b"ok")] * 9
        assert (server.connections, most) == (4, 4)


async def test_the_target_goes_out_as_it_was_given(wire: Wire) -> None:
    target = b"/bucket/%E6%9D%8E%2f+a.jpg?X-Sig=%2B%2f==&u"
    async with serving(politely) as server:
        await exchange(wire, server.url + "/x", target=target)
        assert server.heads[0].split(" ")[1] == target.decode()


async def test_a_large_body_arrives_whole(wire: Wire) -> None:
    content = bytes(range(256)) * 8192
    async with serving(politely) as server:
        assert await exchange(wire, server.url, method="PUT", content=content) == (200, b"ok")
        assert server.bodies == [content]


async def test_a_server_that_hung_up_between_two_exchanges_is_met_on_a_new_connection(wire: Wire) -> None:
    gone = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with serving(talk) as server:
        assert await exchange(wire, server.url) == (200, b"ok")
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        assert await exchange(wire, server.url) == (200, b"ok")
        assert server.connections == 2


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", OK + b"more"]
)
async def test_a_connection_that_is_to_end_or_says_too_much_is_not_kept(wire: Wire, words: bytes) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            writer.write(words)

    async with serving(talk) as server:
        for _ in range(2):
            assert await exchange(wire, server.url) == (200, b"ok")
        assert server.connections == 2


@pytest.mark.parametrize("then_it_hangs_up", [False, True])
async def test_what_a_server_says_between_two_exchanges_is_not_taken_for_the_next_answer(
    wire: Wire, then_it_hangs_up: bool
) -> None:
    answered, said = asyncio.Event(), asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await answered.wait()
        if not said.is_set():
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnobody's")
            said.set()
        if not then_it_hangs_up:
            await reader.read()

    async with serving(talk) as server, serving(politely) as other:
        assert await exchange(wire, server.url) == (200, b"ok")
        answered.set()
        await asyncio.wait_for(said.wait(), PATIENCE_S)
        assert await exchange(wire, other.url) == (200, b"ok"), "so that the words have arrived by now"
        assert await exchange(wire, server.url) == (200, b"ok")
        assert server.connections == 2


@contextmanager
def two_talks_in_a_thread(first: Callable[[socket.socket], None], tls: ssl.SSLContext | None) -> Iterator[str]:
    """A server that answers one request on each of two connections, whatever the event loop does; its URL.

    ``first`` goes on with the first connection, and ends it.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def met() -> socket.socket:
        plain, _ = listener.accept()
        talker = plain if tls is None else tls.wrap_socket(plain, server_side=True)
        talker.recv(65536)
        talker.sendall(OK)
        return talker

    def serve() -> None:
        with met() as talker:
            first(talker)
        with listener, met():
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http{'' if tls is None else 's'}://localhost:{listener.getsockname()[1]}"
    thread.join(PATIENCE_S)


async def test_words_that_the_event_loop_has_not_met_yet_are_not_taken_for_the_next_answer(wire: Wire) -> None:
    answered, said = threading.Event(), threading.Event()

    def say_too_much(talker: socket.socket) -> None:
        answered.wait(PATIENCE_S)
        talker.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnobody's")
        said.set()

    with two_talks_in_a_thread(say_too_much, None) as url:
        assert await exchange(wire, url) == (200, b"ok")
        answered.set()
        assert said.wait(PATIENCE_S), "the event loop stands still meanwhile"
        assert await exchange(wire, url) == (200, b"ok")


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("turns", range(6))
async def test_a_reset_at_rest_is_met_on_a_new_connection_at_any_moment(
    wire: Wire, tls: ssl.SSLContext, turns: int, encrypted: bool
) -> None:
    answered, broken = threading.Event(), threading.Event()

    def reset(talker: socket.socket) -> None:
        answered.wait(PATIENCE_S)
        talker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        talker.close()
        broken.set()

    with two_talks_in_a_thread(reset, tls if encrypted else None) as url:
        assert await exchange(wire, url) == (200, b"ok")
        answered.set()
        assert broken.wait(PATIENCE_S), "the event loop stands still meanwhile"
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await exchange(wire, url) == (200, b"ok")


async def test_an_answer_that_is_not_read_ends_its_connection(wire: Wire) -> None:
    async with serving(politely) as server:
        assert await exchange(wire, server.url, read=False) == (200, b"")
        assert await exchange(wire, server.url) == (200, b"ok")
        assert server.connections == 2


async def test_interim_answers_chunks_and_bodies_until_the_end_are_understood(wire: Wire) -> None:
    words = [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ]

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in words:
            await server.request(reader)
            writer.write(answer)

    async with serving(talk) as server:
        for _ in words:
            assert await exchange(wire, server.url) == (200, b"ok")


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", b"SSH-2.0-OpenSSH\r\n\r\n"]
)
async def test_an_answer_that_breaks_off_leaves_everything_open(wire: Wire, words: bytes) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(words)

    async with serving(talk) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange(wire, server.url, method="POST", content=b"{}")
        assert len(server.heads) == 1, "sent once"


async def test_a_silent_server_is_not_waited_for_longer_than_told(wire: Wire) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        await reader.read()

    async with serving(talk) as server:
        with pytest.raises(httpx.ReadTimeout):
            await exchange(wire, server.url, waits={"read": SHORT_S})


async def test_a_server_that_does_not_take_the_body_is_not_waited_for_longer_than_told(wire: Wire) -> None:
    over = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()

    async with serving(talk) as server:
        with pytest.raises(httpx.WriteTimeout):
            await exchange(wire, server.url, method="PUT", content=bytes(64 << 20), waits={"write": SHORT_S})
        over.set()


async def test_an_answer_given_before_the_body_is_read_counts(wire: Wire) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await reader.read()

    async with serving(talk) as server:
        assert await exchange(wire, server.url, method="PUT", content=bytes(1 << 20)) == (413, b"")


@pytest.mark.parametrize("it_reads_on", [True, False])
async def test_an_answer_counts_whose_server_says_no_more_and_perhaps_reads_on(wire: Wire, it_reads_on: bool) -> None:
    over = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.write_eof()
        await (reader.read() if it_reads_on else over.wait())

    async with serving(talk) as server:
        assert await exchange(wire, server.url, method="PUT", content=bytes(64 << 20)) == (413, b"")
        over.set()


async def test_after_a_reset_the_rest_of_the_body_is_not_asked_for(wire: Wire) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    reset, asked = threading.Event(), 0

    def serve() -> None:
        with listener, listener.accept()[0] as talker:
            talker.recv(65536)
            talker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.set()

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        yield b"begin"
        assert reset.wait(PATIENCE_S), "the event loop stands still meanwhile"
        for _ in range(100):
            asked += 1
            yield bytes(4 << 20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://localhost:{listener.getsockname()[1]}"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await exchange(wire, url, method="PUT", content=body())
    assert asked < 10
    thread.join()


async def test_who_talks_and_does_not_listen_fills_no_memory(wire: Wire) -> None:
    said = 0

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            writer.write(bytes(1 << 20))
            await writer.drain()
            said += 1

    async with serving(talk) as server:
        with pytest.raises(httpx.WriteTimeout):
            await exchange(wire, server.url, method="PUT", content=bytes(64 << 20), waits={"write": SHORT_S})
    assert said < 32, "what the two sockets hold"


async def test_a_long_answer_arrives_whole(wire: Wire) -> None:
    content = bytes(range(256)) * 32_768

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await writer.drain()

    async with serving(talk) as server:
        assert await exchange(wire, server.url) == (200, content)


async def test_where_nobody_listens_nothing_was_sent(wire: Wire) -> None:
    async with serving(politely) as server:
        pass
    with pytest.raises(httpx.ConnectError):
        await exchange(wire, server.url)
    with pytest.raises(httpx.ConnectError):
        await exchange(wire, f"http://{'a' * 64}.invalid/")


async def test_what_http_cannot_say_is_not_sent(wire: Wire) -> None:
    async with serving(politely) as server:
        with pytest.raises(httpx.LocalProtocolError):
            await exchange(wire, server.url, target=b"/a b\r\nX: y")
        assert server.heads == []


async def test_over_tls_it_is_the_same(wire: Wire, tls: ssl.SSLContext) -> None:
    content = bytes(range(256)) * 8192
    async with serving(politely, tls) as server:
        assert await exchange(wire, server.url, method="PUT", content=content) == (200, b"ok")
        assert await exchange(wire, server.url) == (200, b"ok")
        assert (server.bodies, server.connections) == ([content, b""], 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_that_does_not_hold_is_told_before_anything_is_sent(tls: ssl.SSLContext, host: str) -> None:
    """Neither that of an unknown authority, nor a known one's for another host."""
    trusted = ssl.create_default_context(cafile=None if host == "localhost" else CERTIFICATE)
    async with serving(politely, tls) as server, Wire(4, PATIENCE_S, trusted) as wire:
        with pytest.raises(httpx.ConnectError):
            await exchange(wire, server.url.replace("localhost", host), method="POST", content=b"{}")
        assert server.heads == []


async def test_a_closed_wire_keeps_no_connection_that_comes_back_late(wire: Wire) -> None:
    hung_up = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await reader.read()
        hung_up.set()

    async with serving(talk) as server:
        late = await wire.handle_async_request(httpx.Request("GET", server.url, extensions={"timeout": WAITS}))
        await wire.aclose()
        await late.aread()
        await late.aclose()
        await asyncio.wait_for(hung_up.wait(), PATIENCE_S)


async def test_a_cancelled_exchange_gives_its_place_back(wire: Wire) -> None:
    all_there = asyncio.Event()

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        if len(server.heads) == 4:
            all_there.set()
        if len(server.heads) <= 4:
            await reader.read()
        writer.write(OK)

    async with serving(talk) as server:
        stuck = [asyncio.create_task(exchange(wire, server.url)) for _ in range(4)]
        await asyncio.wait_for(all_there.wait(), PATIENCE_S)
        for task in stuck:
            task.cancel()
        ends = await asyncio.gather(*stuck, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 4
        assert await exchange(wire, server.url) == (200, b"ok")
