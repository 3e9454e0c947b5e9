"""uvicorn's WebSocket protocol, made safe against clients that do not read."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 4096
"""A client has nothing to send but its key."""
LINGER_S = 1.0
"""Time for a closed connection to deliver its buffer, and for the client to confirm the close."""
_SEND_BUFFER_BYTES = 128 * 1024
"""The kernel's buffer per client. By default it holds megabytes, which hides that a client does not read."""


class BoundedSocketProtocol(WebSocketsSansIOProtocol):
    """Buffers little for a client that does not read, and disconnects it.

    uvicorn alone closes a connection only after everything is delivered, which such a client prevents for ever. Its
    close message waits for that client, too, and its answers to pings fill memory.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()

    async def send(self, message: Any) -> None:
        if self.close_sent:  # by uvicorn's own time-out, after which it reports our message as a defect
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(LINGER_S, self.transport.abort)
