"""uvicorn's HTTP protocol with limits: number of connections, time for a request to arrive, time for an answer to be
read."""

from __future__ import annotations

import asyncio
import socket
import sys
from enum import StrEnum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if sys.platform == "linux":
    import fcntl
    import termios

REQUEST_WITHIN_S = 20.0
"""For a whole request, head and body, from the connection or the request's first byte."""
UNREAD_FOR_S = 30.0
"""The client is disconnected after this time without a byte read."""
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections (httpx 5 s, nginx 60 s), so that the client ends them: a server could end
one while a request is on its way."""
BACKLOG = 64
"""Connections that wait to be accepted. asyncio accepts as many in one turn, before it closes any other."""
MAX_CONNECTIONS = 1000
_ARRIVING = frozenset({h11.IDLE, h11.SEND_BODY})
_UNSENT_BYTES = 128 * 1024
"""The operating system buffers no more of an answer than this beyond what is in flight."""


def connection_limit(descriptors: int) -> int:
    """How many connections may be open: half of the descriptors; the import keeps the other half."""
    return min(MAX_CONNECTIONS, descriptors // 2)


class Closed(StrEnum):
    """Which limit ended a connection."""

    REQUEST_TIMEOUT = "request_timeout"
    UNREAD = "unread"
    LIMIT = "limit"


closed_connections: dict[str, int] = dict.fromkeys(Closed, 0)
"""How many each limit has ended in this process."""


class BoundedHttpProtocol(H11Protocol):
    """One connection; uvicorn's ``limit_concurrency`` limits their number.

    At the limit, a new connection replaces the one that has been idle for longest. Clients that only connect displace
    each other, never one whose request is being answered. If all are being answered, uvicorn answers 503.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle_since: float | None = None
        self._arrival: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._displace_idle()
        super().connection_made(transport)
        _limit_send_buffer(transport)
        self._idle_since = self.loop.time()
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clocks()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # it has become a WebSocket
            return
        if self.conn.their_state in _ARRIVING:
            self._expect_request()
        else:
            self._idle_since = None
            self._stop_arrival()
            if not self.flow.write_paused:
                self._stop_unread()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_has_come():
            self._idle_since = self.loop.time()
            self._expect_request()
        elif self.cycle.response_complete:  # no further request was waiting
            self._idle_since = self.loop.time()
            self._watch_reader()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_clocks()
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread()
        if self.cycle is not None and self.cycle.response_complete:
            self._watch_reader()

    # --- how many ----------------------------------------------------------------------------------------------------

    def _displace_idle(self) -> None:
        if self.limit_concurrency is None or len(self.connections) + 1 < self.limit_concurrency:
            return
        bounded = (each for each in self.connections if isinstance(each, BoundedHttpProtocol))
        idle = [(since, each) for each in bounded if (since := each._idle_since) is not None and not each._is_writing()]
        if idle:
            min(idle, key=lambda pair: pair[0])[1]._displace()

    def _is_writing(self) -> bool:
        """Whether closing the connection would cut off an answer."""
        return self.transport.get_write_buffer_size() > 0

    def _displace(self) -> None:
        """Closes it; the descriptor is free in the event loop's next turn."""
        self.connections.discard(self)
        self._end(Closed.LIMIT)

    def _end(self, reason: Closed) -> None:
        closed_connections[reason] += 1
        self.transport.abort()

    # --- how long ----------------------------------------------------------------------------------------------------

    def _half_has_come(self) -> bool:
        """Whether a pipelined request has begun to arrive, of which perhaps no more data comes."""
        state = self.conn.their_state
        return state is h11.SEND_BODY or (state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _expect_request(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(REQUEST_WITHIN_S, self._end, Closed.REQUEST_TIMEOUT)

    def _watch_reader(self) -> None:
        """Nothing is written meanwhile, so the unread bytes decrease only if the client reads."""
        if self._is_writing() and self._unread is None:
            self._unread = self.loop.call_later(UNREAD_FOR_S, self._check_reader, _unread_bytes(self.transport))

    def _check_reader(self, before: int) -> None:
        self._unread = None
        if _unread_bytes(self.transport) >= before:
            self._end(Closed.UNREAD)
        else:
            self._watch_reader()

    def _stop_clocks(self) -> None:
        self._idle_since = None
        self._stop_arrival()
        self._stop_unread()

    def _stop_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _limit_send_buffer(transport: asyncio.Transport) -> None:
    """The operating system could buffer megabytes, which a slow client needs minutes to read."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the client has not acknowledged: those here and, on Linux, in the kernel (SIOCOUTQ, tcp(7))."""
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux" and (connection := transport.get_extra_info("socket")) is not None:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))  # the same number as SIOCOUTQ
        waiting += int.from_bytes(queued, sys.byteorder)
    return waiting
