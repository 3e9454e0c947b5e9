"""A receiver of webhooks on a real port: answers what it was told to, and keeps what it got."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.waiting import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers ``statuses`` in turn, then 204; ``headers`` go with every answer."""

    port: int = 0
    statuses: deque[int] = field(default_factory=deque)
    headers: Mapping[str, str] = field(default_factory=dict)
    got: list[Received] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, request: Received) -> int:
        with self._arrived:
            self.got.append(request)
            self._arrived.notify_all()
            return self.statuses.popleft() if self.statuses else 204

    def wait_for(self, count: int, deadline_s: float = PATIENCE_S) -> list[Received]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.got) >= count, deadline_s), f"only {len(self.got)} arrived"
            return list(self.got)

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        """On a free port the first time, on the same one after that."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(Received(self.path, dict(self.headers.items()), body)))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
