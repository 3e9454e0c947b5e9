"""uvicorn's HTTP connection with limits: how many there are, how long a request may take to arrive, and how long a
client may leave its answer unread."""

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
"""For a whole request, head and body, from the connection or from the request's first byte."""
UNREAD_FOR_S = 30.0
"""After this long without a byte read, the client is disconnected."""
KEEP_ALIVE_S = 75
"""A connection at rest is kept longer than clients keep theirs (httpx 5 s, nginx 60 s): the side that ends it must not
be the one that does not know of the request on its way."""
BACKLOG = 64
"""Calls that wait to be accepted. asyncio accepts as many in one turn, before it closes any other."""
MAX_CONNECTIONS = 1000
_ARRIVING = frozenset({h11.IDLE, h11.SEND_BODY})
_LEFT_UNSENT_BYTES = 128 * 1024
"""The operating system takes no more of an answer than this beyond what is on its way to the client."""


def connection_limit(descriptors: int) -> int:
    """How many connections may be open: half of the descriptors, so that the import keeps the other half."""
    return min(MAX_CONNECTIONS, descriptors // 2)


class Closed(StrEnum):
    """Which limit ended a connection."""

    REQUEST_TIMEOUT = "request_timeout"
    UNREAD = "unread"
    LIMIT = "limit"


closed_connections: dict[str, int] = dict.fromkeys(Closed, 0)
"""How many each limit has ended in this process."""


class BoundedHttpProtocol(H11Protocol):
    """One connection. ``limit_concurrency`` of uvicorn's settings is the limit of all.

    At the limit, a new connection replaces the one that has been without a whole request for longest: clients that
    only connect push each other out, and never one whose request is being answered. If all are being answered, uvicorn
    refuses the new request with 503.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle_since: float | None = None
        self._arrival: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._make_room()
        super().connection_made(transport)
        _leave_little_unsent(transport)
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

    def _make_room(self) -> None:
        if self.limit_concurrency is None or len(self.connections) + 1 < self.limit_concurrency:
            return
        ours = (each for each in self.connections if isinstance(each, BoundedHttpProtocol))
        idle = [(since, each) for each in ours if (since := each._idle_since) is not None and not each._is_writing()]
        if idle:
            min(idle, key=lambda pair: pair[0])[1]._give_way()

    def _is_writing(self) -> bool:
        """Whether an end of the connection would cost the client a part of its answer."""
        return self.transport.get_write_buffer_size() > 0

    def _give_way(self) -> None:
        """Counts no more from now on; the descriptor is closed in the event loop's next turn."""
        self.connections.discard(self)
        self._end(Closed.LIMIT)

    def _end(self, reason: Closed) -> None:
        closed_connections[reason] += 1
        self.transport.abort()

    # --- how long ----------------------------------------------------------------------------------------------------

    def _half_has_come(self) -> bool:
        """Whether a pipelined request has begun to arrive: perhaps no more data comes that would tell."""
        state = self.conn.their_state
        return state is h11.SEND_BODY or (state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _expect_request(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(REQUEST_WITHIN_S, self._end, Closed.REQUEST_TIMEOUT)

    def _watch_reader(self) -> None:
        """Nothing is written while this runs: what is unread gets less only because the client reads."""
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


def _leave_little_unsent(transport: asyncio.Transport) -> None:
    """What waits in the operating system can be megabytes, which a slow client needs minutes for."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, _LEFT_UNSENT_BYTES)


def _unread_bytes(transport: asyncio.Transport) -> int:
    """What the client's system has not taken: what waits here and, on Linux, in our own system (SIOCOUTQ, tcp(7))."""
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux" and (connection := transport.get_extra_info("socket")) is not None:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))  # the same number as SIOCOUTQ
        waiting += int.from_bytes(queued, sys.byteorder)
    return waiting
