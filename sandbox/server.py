"""uvicorn, with a ready line and with connections that a fault can close."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.app import create_app
from sandbox.backend import open_backend
from sandbox.options import Options


class CuttableProtocol(H11Protocol):
    """Puts the connection into each request's state, which is how the gate can close it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio sets this on sockets that it opened itself; without it each answer waits 40 ms for the client's ACK.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}


class AnnouncingServer(uvicorn.Server):
    """Prints the ready line once it really listens."""

    def __init__(self, config: uvicorn.Config, ready_line: str, watch_stdin: bool) -> None:
        super().__init__(config)
        self._ready_line = ready_line
        self._watch_stdin = watch_stdin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._watch_stdin:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._stop_at_end_of_stdin)
        sys.stdout.write(self._ready_line + "\n")
        sys.stdout.flush()

    def _stop_at_end_of_stdin(self) -> None:
        """The parent holds the other end: when it dies, however it dies, this process must not stay behind."""
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True


def _listener(options: Options) -> socket.socket:
    try:
        return socket.create_server((options.host, options.port), backlog=1024)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise SystemExit(
            f"✗ 沙箱无法监听 {where}（{error.strerror}）：请换一个端口，--port 或 make sandbox SANDBOX_PORT=8010"
        ) from error


def serve(options: Options) -> None:
    """Until SIGINT, SIGTERM or the end of a watched standard input."""
    listener = _listener(options)
    backend = open_backend(options)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        create_app(backend),
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    ready_line = f"sandbox ready http://{options.host}:{port} contract {options.contract.name}"
    try:
        AnnouncingServer(config, ready_line, options.watch_stdin).run(sockets=[listener])
    finally:
        backend.database.close()
