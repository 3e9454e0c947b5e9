"""Bytes to a server and back, each with its time limit: a socket (with TLS where wanted) on asyncio's transport."""

from __future__ import annotations

import asyncio
import select
import ssl
import sys

import httpx

from domain.descriptors import out_of_descriptors, ran_out

_SECOND_ADDRESS_AFTER_S = 0.25  # RFC 8305 section 5
_UNREAD_BYTES = 256 << 10


class Duplex(asyncio.Protocol):
    """One connection; leaner than asyncio's streams, and it knows whether anything came that nobody asked for.

    At most one ``receive`` and one ``unclogged`` at a time.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._came: list[bytes] = []
        self._came_bytes = 0
        self._over = False
        self._fault: Exception | None = None
        self._clogged = False
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, seconds: float | None) -> Duplex:
        """Connected within so many seconds.

        Raises:
            httpx.ConnectTimeout, httpx.ConnectError: it is not.
            OutOfDescriptorsError: this process can open no connection.
        """
        connecting = asyncio.get_running_loop().create_connection(
            cls, host, port, ssl=tls, happy_eyeballs_delay=_SECOND_ADDRESS_AFTER_S
        )
        try:
            async with asyncio.timeout(seconds):
                _, duplex = await connecting
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"not within {seconds} s") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            if ran_out(error):
                raise out_of_descriptors() from error
            raise httpx.ConnectError(type(error).__name__) from error
        return duplex

    @property
    def at_rest(self) -> bool:
        """Whether it is open, and nothing came that has not been received: neither words nor their end."""
        transport = self._transport
        if self._over or self._came or transport is None or transport.is_closing():
            return False
        carrier = transport.get_extra_info("socket")  # None for a moment where TLS has met an end that we have not
        return carrier is not None and not _readable(carrier.fileno())

    def send(self, data: bytes | memoryview) -> None:
        """Hands it to the transport, which keeps what the network does not take at once.

        Raises:
            ConnectionError: the connection is over.
        """
        if self._over or self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("connection is over")
        self._transport.write(data)

    @property
    def clogged(self) -> bool:
        """Whether so much is waiting to leave that it is better to wait with the next."""
        return self._clogged

    async def unclogged(self, seconds: float | None) -> None:
        """Returns once most of what was waiting has left.

        Raises:
            ConnectionError: the connection ended before.
            httpx.WriteTimeout: not within so many seconds.
        """
        if self._clogged and not self._over:
            self._writing = asyncio.get_running_loop().create_future()
            await _within(seconds, self._writing, httpx.WriteTimeout)
        if self._over:
            raise ConnectionResetError("connection is over")

    async def receive(self, seconds: float | None) -> bytes:
        """What has come; nothing where the server has hung up.

        Raises:
            httpx.ReadTimeout: nothing came within so many seconds.
            httpx.ReadError: the connection broke.
        """
        if not self._came and not self._over:
            self._reading = asyncio.get_running_loop().create_future()
            await _within(seconds, self._reading, httpx.ReadTimeout)
        if not self._came and self._fault is not None:
            raise httpx.ReadError(type(self._fault).__name__) from self._fault
        came = b"".join(self._came)
        self._came.clear()
        if self._came_bytes > _UNREAD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._came_bytes = 0
        return came

    def abort(self) -> None:
        """Ends it at once; what has not left yet is thrown away."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`. Who talks and does not listen is not listened to any longer."""
        self._came.append(data)
        self._came_bytes += len(data)
        if self._came_bytes > _UNREAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        """See :class:`asyncio.Protocol`. The transport closes; who sends may stop, for the server has said its last."""
        self._over = True
        _wake(self._reading)
        _wake(self._writing)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`. What breaks after the server's last word is no fault of its answer."""
        self._fault = None if self._over else exc
        self._over, self._transport = True, None  # a transport that is lost cannot even be aborted
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._clogged = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._clogged = False
        _wake(self._writing)


def _readable(descriptor: int) -> bool:
    """Whether something lies in the socket that the event loop, being busy, has not met yet."""
    if sys.platform == "win32":
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def _within(seconds: float | None, news: asyncio.Future[None], late: type[httpx.TimeoutException]) -> None:
    """As asyncio.timeout, for a future that nobody else waits for, at half the cost."""
    if seconds is None:
        return await news
    timer = asyncio.get_running_loop().call_later(seconds, _give_up, news, late(f"not within {seconds} s"))
    try:
        await news
    finally:
        timer.cancel()


def _give_up(waiting: asyncio.Future[None], late: httpx.TimeoutException) -> None:
    if not waiting.done():
        waiting.set_exception(late)
