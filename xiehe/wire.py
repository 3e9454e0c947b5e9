"""The pool of connections beneath httpx: the same exchange for a third of the CPU that httpx's own pool takes."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator

import httpx

from xiehe.connection import Connection, Origin, origin_of


class Wire(httpx.AsyncBaseTransport):
    """Kept connections; ``async with`` closes them.

    What httpx promises of a transport holds: its timeouts (connect, read, write; the wait for a free connection has no
    limit), the ``target`` extension, and its errors: ConnectError and ConnectTimeout where nothing was sent, any other
    where nobody knows. Each request is sent once; an answer that is not read to its end closes its connection.
    """

    def __init__(self, connections: int, keepalive_s: float, certificates: ssl.SSLContext) -> None:
        self._room = asyncio.Semaphore(connections)
        self._keepalive_s = keepalive_s
        self._certificates = certificates
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        self._closed = False

    async def aclose(self) -> None:
        """Closes the kept connections, and each other one when its exchange is over."""
        self._closed = True
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answers as soon as the head of the response is there."""
        await self._room.acquire()
        connection: Connection | None = None
        try:
            assert isinstance(request.stream, AsyncIterable)
            pieces = aiter(request.stream)
            first = await anext(pieces, b"")  # a disk is waited for before, not while a connection is held for usable
            connection = await self._connection(origin_of(request.url), request)
            await connection.send(request, first, pieces)
            head = await connection.head()
        except BaseException:
            self._leave(connection)
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=_Body(self, connection))

    async def _connection(self, origin: Origin, request: httpx.Request) -> Connection:
        """The one used last, so that those which are too many grow old; or a new one."""
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.usable(self._keepalive_s):
                return connection
            connection.close()
        return await Connection.open(origin, request.extensions["timeout"], self._certificates)

    def _leave(self, connection: Connection | None) -> None:
        """An exchange is over: its connection is kept where it can serve another one."""
        self._room.release()
        if connection is None:
            return
        if connection.rest() and not self._closed:
            self._idle[connection.origin].append(connection)
        else:
            connection.close()


class _Body(httpx.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, wire: Wire, connection: Connection) -> None:
        self._wire: Wire | None = wire
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._connection.body():
            yield piece

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire._leave(self._connection)
