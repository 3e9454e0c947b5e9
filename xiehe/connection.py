"""One HTTP/1.1 connection: h11 speaks the protocol, asyncio's streams carry it, httpx's errors tell what went wrong."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import h11
import httpx

_T = TypeVar("_T")
_PIECE_BYTES = 256 << 10
_READ_BYTES = 64 << 10
_SECOND_ADDRESS_AFTER_S = 0.25  # RFC 8305 section 5
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
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
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
        connecting = asyncio.open_connection(host, port, ssl=tls, happy_eyeballs_delay=_SECOND_ADDRESS_AFTER_S)
        try:
            reader, writer = await _within(waits["connect"], connecting, httpx.ConnectTimeout)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            raise httpx.ConnectError(type(error).__name__) from error
        return cls(origin, reader, writer, waits)

    def usable(self, keepalive_s: float) -> bool:
        """Whether another request may be sent into it: the server has not hung up, and it is not about to."""
        hung_up = self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()
        return not hung_up and time.monotonic() - self.rested_since < keepalive_s

    def rest(self) -> bool:
        """Gets ready for the next exchange; False where there can be none."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        self.rested_since = time.monotonic()
        return not self._state.trailing_data[0]

    def close(self) -> None:
        """At once; what has not left yet is thrown away."""
        self.writer.transport.abort()

    async def send(self, request: httpx.Request) -> None:
        """Head and body.

        A server may answer and hang up before it has read all; then its answer, if any, is what counts.

        Raises:
            httpx.WriteTimeout: a piece did not leave in time.
            httpx.LocalProtocolError: this cannot be said in HTTP.
        """
        self.waits = request.extensions["timeout"]
        with suppress(OSError), _protocol(httpx.LocalProtocolError):
            unsent = self._said(_head_of(request))
            async for piece in _pieces_of(request):
                await self._write([*unsent, *self._said(h11.Data(data=piece))])
                unsent = []
            await self._write([*unsent, *self._said(h11.EndOfMessage())])

    def _said(self, event: h11.Event) -> Sequence[bytes]:
        return self._state.send_with_data_passthrough(event) or ()

    async def _write(self, parts: Sequence[bytes]) -> None:
        small = sum(map(len, parts)) <= _READ_BYTES
        for part in [b"".join(parts)] if small else parts:  # head and body of a small request in one packet
            if part:
                self.writer.write(part)
        await _within(self.waits["write"], self.writer.drain(), httpx.WriteTimeout)

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
        with _protocol(httpx.RemoteProtocolError):
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self._read())
        return event

    async def _read(self) -> bytes:
        """What has come; nothing where the server has hung up."""
        try:
            return await _within(self.waits["read"], self.reader.read(_READ_BYTES), httpx.ReadTimeout)
        except OSError as error:
            raise httpx.ReadError(type(error).__name__) from error


def _head_of(request: httpx.Request) -> h11.Request:
    target = request.extensions.get("target", request.url.raw_path)
    return h11.Request(method=request.method, target=target, headers=request.headers.raw)


async def _pieces_of(request: httpx.Request) -> AsyncIterator[bytes]:
    """The body, of which no piece is so long that it could not leave in the time of one."""
    assert isinstance(request.stream, AsyncIterable)
    async for piece in request.stream:
        whole = memoryview(piece)
        for offset in range(0, len(whole), _PIECE_BYTES):
            yield whole[offset : offset + _PIECE_BYTES]  # type: ignore[misc]  # h11 and asyncio take any buffer


async def _within(seconds: float | None, work: Awaitable[_T], late: type[httpx.TimeoutException]) -> _T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise late(f"not within {seconds} s") from error


@contextmanager
def _protocol(kind: type[httpx.ProtocolError]) -> Iterator[None]:
    """Without h11's words, which may quote what was sent."""
    try:
        yield
    except h11.ProtocolError as error:
        raise kind(type(error).__name__) from error
