"""``python -m benchmarks.crowd_clients``: many clients of the service in one process, made as cheap as they can be.

It writes ``ready``; then one line of JSON on standard input is the :class:`Order`. The end of standard input ends the
crowd; then a line of JSON on standard output says what it met (:class:`Met`). Each client is one socket of one event
loop and repeats one request.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Self

from domain.descriptors import raise_limit

SLOW_LINE_BYTES_S = 262_144
"""2 Mbit/s: how fast a report or a picture is read."""
HELD_S = 40.0
"""After this long a client that reads nothing calls again; the service closes its call after 30 s."""
POLL_WAIT_S = 30
AGAIN_AFTER_S = 0.5
_REFUSED_FOR_S = 5.0
_PIECE_BYTES = 65_536
_UNREAD_BYTES = 4_096
_HOST = "127.0.0.1"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many clients of each kind.

    Attributes:
        idle: half of them send half a request, the others one request on a connection that they keep.
        sockets: WebSockets that never read.
        polls: long polls, each asked again as soon as it is answered.
        reports: downloads of a report over a slow line.
        viewers: readers of full-size pictures; half of them read over a slow line, the others never read.
    """

    idle: int = 400
    sockets: int = 100
    polls: int = 100
    reports: int = 20
    viewers: int = 20


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to call.

    Attributes:
        port: of the service, on this machine.
        running: path of the status of the task that is polled.
        report: path of the report that is downloaded.
        pictures: paths of the pictures that are looked at.
    """

    port: int
    running: str
    report: str
    pictures: tuple[str, ...]
    crowd: Crowd

    @classmethod
    def from_json(cls, line: str) -> Self:
        fields = json.loads(line)
        return cls(**{**fields, "pictures": tuple(fields["pictures"]), "crowd": Crowd(**fields["crowd"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Met:
    """What the clients met.

    Attributes:
        answers: how often each kind of client (``poll``) met each end: a status, ``closed`` by the service, ``left`` by
            the client, ``there`` at the end of the crowd, or an error's name.
        read_mb: that were read.
        cpu_s: CPU seconds of the crowd's process since the order.
    """

    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    read_mb: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def from_json(cls, line: str) -> Self:
        return cls(**json.loads(line))


class _Clients:
    """All clients of one order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._pictures = 0
        self.ends: dict[str, Counter[str]] = {}
        self.read_bytes = 0

    def all(self) -> Iterator[Coroutine[None, None, None]]:
        crowd, kept = self._order.crowd, request("/health")
        half = kept[: len(kept) // 2]
        for kind, count, visit in (
            ("half a request", crowd.idle // 2, lambda: self._read(half)),
            ("idle", crowd.idle - crowd.idle // 2, lambda: self._read(kept)),
            ("WebSocket", crowd.sockets, lambda: self._hold(websocket_request("/import/ws"))),
            ("poll", crowd.polls, self._poll),
            ("report", crowd.reports, lambda: self._read(request(self._order.report, "close"))),
            ("picture", crowd.viewers - crowd.viewers // 2, lambda: self._read(self._next_picture())),
            ("unread picture", crowd.viewers // 2, lambda: self._hold(self._next_picture())),
        ):
            for _ in range(count):
                yield self._again(kind, visit)

    async def _again(self, kind: str, visit: Callable[[], Awaitable[str]]) -> None:
        """Visits until cancelled."""
        ends = self.ends.setdefault(kind, Counter())
        while True:
            try:
                ends[await visit()] += 1
            except OSError as error:
                ends[type(error).__name__] += 1
            except asyncio.CancelledError:
                ends["there"] += 1
                raise
            await asyncio.sleep(AGAIN_AFTER_S)

    def _next_picture(self) -> bytes:
        self._pictures += 1
        return request(self._order.pictures[self._pictures % len(self._order.pictures)], "close")

    async def _read(self, content: bytes) -> str:
        """Reads over a slow line until the service closes the connection; the status, or ``closed``."""
        status = "closed"
        async with self._call(content, _PIECE_BYTES) as call:
            while piece := await self._loop.sock_recv(call, _PIECE_BYTES):
                self.read_bytes += len(piece)
                if status == "closed":
                    status = status_of(piece)
                await asyncio.sleep(len(piece) / SLOW_LINE_BYTES_S)
        return status

    async def _hold(self, content: bytes) -> str:
        """Reads nothing, whatever comes."""
        async with self._call(content, _UNREAD_BYTES):
            await asyncio.sleep(HELD_S)
        return "left"

    async def _poll(self) -> str:
        """Asks again on the same connection when an answer is there; the end of the last one."""
        async with self._call(self._question(0), _PIECE_BYTES) as call:
            while answer := await self._answer(call):
                self.ends["poll"][status_of(answer)] += 1
                seq = live_seq(answer)
                if seq is None:
                    await asyncio.sleep(_REFUSED_FOR_S)
                await self._loop.sock_sendall(call, self._question(seq or 0))
        return "closed"

    def _question(self, since: int) -> bytes:
        return request(f"{self._order.running}?wait={POLL_WAIT_S}&since={since}")

    async def _answer(self, call: socket.socket) -> bytes:
        """One whole answer; empty if the service closed the connection instead."""
        answer = b""
        while not is_whole(answer):
            piece = await self._loop.sock_recv(call, _PIECE_BYTES)
            if not piece:
                return b""
            answer += piece
        self.read_bytes += len(answer)
        return answer

    @asynccontextmanager
    async def _call(self, content: bytes, buffer_bytes: int) -> AsyncIterator[socket.socket]:
        """A connection on which the request has been sent; the kernel takes ``buffer_bytes`` of what is not read."""
        with socket.socket() as call:
            call.setblocking(False)
            call.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            await self._loop.sock_connect(call, (_HOST, self._order.port))
            await self._loop.sock_sendall(call, content)
            yield call


def request(path: str, connection: str = "keep-alive", **headers: str) -> bytes:
    """A whole GET request; ``_`` in the headers' names means ``-``."""
    lines = {"Host": _HOST, "Connection": connection, **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def websocket_request(path: str) -> bytes:
    """The opening handshake of RFC 6455 section 4.1, with the key of its example."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    return request(path, "Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13", Sec_WebSocket_Key=key)


def status_of(answer: bytes) -> str:
    """The status code that an answer begins with, e.g. ``200``."""
    found = _STATUS.match(answer)
    return found.group(1).decode() if found else "no HTTP"


def is_whole(answer: bytes) -> bool:
    """Whether head and body have come; answers to polls have a Content-Length."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    found = _LENGTH.search(head + b"\r\n")
    return bool(blank) and len(body) >= (int(found.group(1)) if found else 0)


def live_seq(answer: bytes) -> int | None:
    """``seq`` of the task in an answer; None if the task has ended or the answer is a refusal."""
    if status_of(answer) != "200":
        return None
    task = json.loads(answer.partition(b"\r\n\r\n")[2])
    return int(task["seq"]) if task["completed_at"] is None else None


async def _main() -> None:
    raise_limit()
    print("ready", flush=True)
    order = Order.from_json(await asyncio.to_thread(sys.stdin.readline))
    before_s = time.process_time()
    clients = _Clients(order)
    async with asyncio.TaskGroup() as group:
        visits = [group.create_task(visit) for visit in clients.all()]
        await asyncio.to_thread(sys.stdin.read)
        for visit in visits:
            visit.cancel()
    answers = {kind: dict(ends) for kind, ends in clients.ends.items()}
    met = Met(answers, clients.read_bytes / 2**20, time.process_time() - before_s)
    print(json.dumps(asdict(met)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
