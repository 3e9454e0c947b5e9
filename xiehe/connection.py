"""One HTTP/1.1 connection: h11 speaks the protocol, a duplex carries it, httpx's errors tell what went wrong."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11
import httpx

from xiehe.duplex import Duplex

_PIECE_BYTES = 256 << 10
_SHORT_BYTES = 64 << 10
_PACKETS_A_TURN = 4  # asyncio complains of five into a connection that has broken
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
Waits = Mapping[str, float | None]


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host (in ASCII) and port."""
    return url.scheme, url.raw_host.decode("ascii"), url.port or _DEFAULT_PORTS[url.scheme]


@dataclass(slots=True)
class Connection:
    """One exchange at a time.

    Attributes:
        waits: how long to wait for each ``read`` and ``write``, seconds; of the exchange under way.
        rested_since: monotonic time of the last exchange's end.
    """

    origin: Origin
    _duplex: Duplex
    waits: Waits
    rested_since: float = 0.0
    _state: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    @classmethod
    async def open(cls, origin: Origin, waits: Waits, certificates: ssl.SSLContext) -> Connection:
        """Connect within ``waits["connect"]``.

        Raises:
            httpx.ConnectTimeout, httpx.ConnectError: nothing was sent.
        """
        scheme, host, port = origin
        tls = certificates if scheme == "https" else None
        return cls(origin, await Duplex.open(host, port, tls, waits["connect"]), waits)

    def usable(self, keepalive_s: float) -> bool:
        """Whether another request may be sent into it.

        Not where the server has hung up or is about to; nor where it has said something since, which would be taken
        for the next answer.
        """
        return self._duplex.at_rest and time.monotonic() - self.rested_since < keepalive_s

    def rest(self) -> bool:
        """Gets ready for the next exchange; False where there can be none."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        self.rested_since = time.monotonic()
        return not self._state.trailing_data[0]

    def close(self) -> None:
        """At once; what has not left yet is thrown away."""
        self._duplex.abort()

    async def send(self, request: httpx.Request, first: bytes, rest: AsyncIterator[bytes]) -> None:
        """Head and body; the head and the first piece leave before anything is waited for.

        A server may answer and hang up before it has read all; then its answer, if any, is what counts.

        Raises:
            httpx.WriteTimeout: a piece did not leave in time.
            httpx.LocalProtocolError: this cannot be said in HTTP.
        """
        self.waits = request.extensions["timeout"]
        try:
            await self._say(request, first, rest)
        except ConnectionResetError:
            pass  # the duplex's
        except h11.ProtocolError as error:
            raise httpx.LocalProtocolError(type(error).__name__) from error  # h11's words may quote what was sent

    async def _say(self, request: httpx.Request, first: bytes, rest: AsyncIterator[bytes]) -> None:
        await self._write(self._said(_head_of(request)) + self._said(h11.Data(data=first)))
        async for piece in rest:
            await asyncio.sleep(0)  # as below
            await self._write(self._said(h11.Data(data=piece)))
        await self._write(self._said(h11.EndOfMessage()))

    def _said(self, event: h11.Event) -> list[bytes]:
        return self._state.send_with_data_passthrough(event) or []

    async def _write(self, parts: Sequence[bytes]) -> None:
        for number, packet in enumerate(_packets_of(parts), 1):
            self._duplex.send(packet)
            if number % _PACKETS_A_TURN == 0:
                await asyncio.sleep(0)  # where neither disk nor network makes us wait; an end may have come meanwhile
            if self._duplex.clogged:
                await self._duplex.unclogged(self.waits["write"])

    async def head(self) -> h11.Response:
        """The head of the final answer.

        Raises:
            httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError: nobody knows what became of the request.
        """
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 100, 103: the answer is still to come
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """The pieces of the answer's body. Raises as :meth:`head`."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _event(self) -> Any:
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self._duplex.receive(self.waits["read"]))
        except h11.ProtocolError as error:
            raise httpx.RemoteProtocolError(type(error).__name__) from error  # h11's words may quote what came
        return event


def _head_of(request: httpx.Request) -> h11.Request:
    target = request.extensions.get("target", request.url.raw_path)
    return h11.Request(method=request.method, target=target, headers=request.headers.raw)


def _packets_of(parts: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes: short parts together, for h11 says each line of a head by itself; long ones in pieces.

    No piece is so long that it could not leave in the time of one.
    """
    short: list[bytes] = []
    for part in parts:
        if len(part) <= _SHORT_BYTES:
            short.append(part)
            continue
        yield b"".join(short)
        short.clear()
        whole = memoryview(part)
        yield from (whole[offset : offset + _PIECE_BYTES] for offset in range(0, len(whole), _PIECE_BYTES))
    yield b"".join(short)
