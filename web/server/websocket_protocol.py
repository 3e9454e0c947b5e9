"""uvicorn's WebSocket connection, made safe against clients that do not read."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 4096
"""Of what a client sends: nothing but its key is awaited."""
LINGER_S = 1.0
"""How long a closed connection may take to deliver what it still holds, and the client to confirm the end."""
_SEND_BUFFER_BYTES = 128 * 1024
"""The kernel's share per client; by default it would hold megabytes before anyone noticed that nobody reads."""


class BoundedSocketProtocol(WebSocketsSansIOProtocol):
    """Holds little for a client that does not read, and lets go of it for good.

    uvicorn closes a connection only when everything has been delivered, which a client that stays connected and never
    reads puts off for ever; its close message, too, waits for such a client; and it answers pings into its memory.
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
        if self.close_sent:  # by a time-out of uvicorn's own, which it would take for a defect of ours
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
