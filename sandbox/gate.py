"""In front of the application: journal, latency, rate limits and scripted faults.

Plain ASGI, since a fault has to act below HTTP: it closes the connection that the server put into the request's state.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.backend import Backend, unauthorized
from sandbox.contracts import Refusal, refused
from sandbox.faults import FaultRule
from sandbox.journal import Entry
from sandbox.operations import operation_of
from sandbox.subjects import describe

_UNGATED = ("/sandbox/", "/health", "/info")
_ACTED_OUT_INSIDE = {
    "storage_fault": frozenset(
        {"create_session", "put_part", "complete_session", "upload_single", "download", "fetch_object"}
    ),
    "shuffle_ties": frozenset({"list_images"}),
    "completion_stalls": frozenset({"complete_session"}),
}


@dataclass
class Exchange:
    """One request on its way to the application."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    entry: Entry

    async def work(self) -> None:
        await self.app(self.scope, self.receive, self.send)

    async def work_without_answer(self) -> None:
        """Does the work; no client gets the answer."""

        async def swallow(_: Message) -> None:
            return

        await self.app(self.scope, self.receive, swallow)

    async def answer_after(self, event: Awaitable[None]) -> None:
        """Do the work at once, and give its answer when that has come."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(self.scope, self.receive, keep)
        await event
        for message in messages:
            await self.send(message)

    async def answer(self, response: Response) -> None:
        await response(self.scope, self.receive, self.send)

    async def hang_up(self, reset: bool = False) -> None:
        """Close the connection under HTTP and wait until the server has noticed, so that it answers nothing."""
        transport: asyncio.Transport = self.scope["state"]["transport"]
        if reset:
            # Lingering for no time is what makes the kernel send RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        else:
            transport.close()
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Gate:
    """The outermost ASGI application of the sandbox."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNGATED):
            await self._app(scope, receive, send)
            return
        operation = operation_of(scope["method"], scope["path"])
        entry = self._backend.journal.open(operation, scope["method"], scope["path"])
        scope["sandbox.entry"] = entry
        exchange = Exchange(self._app, scope, receive, _noting_status(send, entry), entry)
        try:
            await self._pass(exchange)
        finally:
            entry.finished = time.time()

    async def _pass(self, exchange: Exchange) -> None:
        limiter = self._backend.limiter
        address = (exchange.scope.get("client") or ("",))[0]
        if limiter is not None and not limiter.lets_pass(address, exchange.entry.operation):
            await exchange.answer(_proxy_page(limiter.status))
            return
        if self._backend.options.latency_ms:
            await asyncio.sleep(self._backend.options.latency_ms / 1000)
        if self._backend.faults.empty:
            await exchange.work()
            return
        await self._with_faults(exchange)

    async def _with_faults(self, exchange: Exchange) -> None:
        headers = dict(exchange.scope["headers"])
        body = await _whole_body(exchange.receive)
        exchange.receive = _replayed(body, exchange.receive)
        query, content_type = exchange.scope["query_string"].decode(), headers.get(b"content-type", b"").decode()
        subject = describe(self._backend.database, exchange.entry, query, content_type, body)
        rule = self._backend.faults.take(exchange.entry.operation, subject, b"authorization" in headers)
        if rule is None:
            await exchange.work()
            return
        exchange.entry.fault = rule.kind
        await self._act(rule, exchange)

    async def _act(self, rule: FaultRule, exchange: Exchange) -> None:
        act = _ACTS.get(rule.kind)
        if act is not None:
            await act(rule, exchange)
        elif rule.kind == "held":
            await self._backend.faults.held()
            await exchange.work()
        elif rule.kind == "held_after":
            await exchange.answer_after(self._backend.faults.held())
        elif rule.kind in ("unauthorized", "random_401"):
            await exchange.answer(self._refused(exchange, unauthorized()))
        elif rule.kind == "revoke":
            self._backend.tokens.revoke_all()
            await exchange.work()
        elif exchange.entry.operation in _ACTED_OUT_INSIDE[rule.kind]:
            exchange.scope["sandbox.fault"] = rule.kind
            await exchange.work()
        else:
            await exchange.answer(self._refused(exchange, Refusal(502, "对象存储服务不可用")))

    def _refused(self, exchange: Exchange, refusal: Refusal) -> Response:
        return refused(self._backend.contract, exchange.entry.method, exchange.entry.path, refusal)


async def _status(rule: FaultRule, exchange: Exchange) -> None:
    await exchange.answer(_scripted(rule))


async def _status_after(rule: FaultRule, exchange: Exchange) -> None:
    await exchange.work_without_answer()
    await exchange.answer(_scripted(rule))


async def _html_error(rule: FaultRule, exchange: Exchange) -> None:
    await exchange.answer(_proxy_page(rule.status, _retry_header(rule)))


async def _redirect(_: FaultRule, exchange: Exchange) -> None:
    await exchange.answer(_proxy_page(301, {"Location": f"https://xiehe.example{exchange.scope['path']}"}))


async def _slow(rule: FaultRule, exchange: Exchange) -> None:
    await asyncio.sleep(rule.seconds)
    await exchange.work()


async def _slow_after(rule: FaultRule, exchange: Exchange) -> None:
    await exchange.answer_after(asyncio.sleep(rule.seconds))


async def _cut_before(_: FaultRule, exchange: Exchange) -> None:
    await exchange.hang_up()


async def _reset(_: FaultRule, exchange: Exchange) -> None:
    await exchange.hang_up(reset=True)


async def _cut_after(_: FaultRule, exchange: Exchange) -> None:
    await exchange.work_without_answer()
    await exchange.hang_up()


_ACTS: dict[str, Callable[[FaultRule, Exchange], Awaitable[None]]] = {
    "status": _status,
    "status_after": _status_after,
    "html_error": _html_error,
    "redirect": _redirect,
    "slow": _slow,
    "slow_after": _slow_after,
    "cut_before": _cut_before,
    "reset": _reset,
    "cut_after": _cut_after,
}


def _scripted(rule: FaultRule) -> Response:
    headers = _retry_header(rule)
    if rule.body is None or isinstance(rule.body, str):
        return Response(rule.body or "", rule.status, headers, media_type="text/plain")
    return JSONResponse(json.loads(json.dumps(rule.body)), rule.status, headers)


def _retry_header(rule: FaultRule) -> dict[str, str]:
    return {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}


def _proxy_page(status: int, headers: dict[str, str] | None = None) -> Response:
    page = f"<html>\r\n<head><title>{status}</title></head>\r\n<body><h1>{status}</h1><hr>nginx</body></html>\r\n"
    return HTMLResponse(page, status, headers)


def _noting_status(send: Send, entry: Entry) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
        await send(message)

    return noting


async def _whole_body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    more = True
    while more:
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.disconnect":
            break
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever the connection brings (which can only be its end)."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
