"""English answers for callers that ask with ``lang=en``; Chinese otherwise, whatever a browser prefers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Query
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.messages import english
from web.api.report_writer import Cell, ReportPage

TEXTS = frozenset({"detail", "error", "estimate_basis", "hint", "message", "reason", "result_detail", "title"})
"""JSON fields whose text is for operators."""
_JSON = ("application/json", "application/problem+json")


class Language(StrEnum):
    """Languages of the texts in answers."""

    CHINESE = "zh"
    ENGLISH = "en"


def asked_language(
    connection: HTTPConnection,
    lang: Annotated[Language, Query(description="说明文字的语言：zh 或 en")] = Language.CHINESE,
) -> None:
    """Declares ``lang`` for a route, and keeps it in the connection's state. An unknown language is refused."""
    connection.state.language = lang


async def in_language(request: HTTPConnection, pages: AsyncIterator[ReportPage]) -> AsyncIterator[ReportPage]:
    """The pages of a report in the language of its request."""
    async for page in pages:
        yield _translated_page(page) if request.state.language is Language.ENGLISH else page


def _translated_page(page: ReportPage) -> ReportPage:
    rows = ([_cell(column, cell) for column, cell in zip(page.columns, row, strict=True)] for row in page.rows)
    return replace(page, rows=rows)


class EnglishTexts:
    """ASGI middleware: translates the texts of JSON answers and of pushed updates for ``lang=en``.

    An answer of unknown length is a stream and passes as it is; a report translates its own rows.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and _wants_english(scope):
            send = _translating_updates(send)
        elif scope["type"] == "http" and _wants_english(scope):
            send = _TranslatedAnswer(send)
        await self._app(scope, receive, send)


def in_english(value: Any) -> Any:
    """A JSON value with the texts of :data:`TEXTS` in English."""
    if isinstance(value, list):
        return [in_english(item) for item in value]
    if isinstance(value, dict):
        return {key: _text(item) if key in TEXTS else in_english(item) for key, item in value.items()}
    return value


def _text(value: Any) -> Any:
    return english(value) if isinstance(value, str) else in_english(value)


def _cell(column: str, cell: Cell) -> Cell:
    if isinstance(cell, tuple):
        return tuple(replace(warning, message=english(warning.message)) for warning in cell)
    return english(cell) if column in TEXTS and isinstance(cell, str) else cell


def _wants_english(scope: Scope) -> bool:
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("lang", [])
    return asked == [Language.ENGLISH.value]


def _translated(text: str | bytes) -> str:
    return json.dumps(in_english(json.loads(text)), ensure_ascii=False, separators=(",", ":"))


def _translating_updates(send: Send) -> Send:
    async def translated(message: Message) -> None:
        if message["type"] == "websocket.send" and message.get("text"):
            message = {**message, "text": _translated(message["text"])}
        await send(message)

    return translated


class _TranslatedAnswer:
    """Holds a JSON answer back until its body is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_whole_json(message):
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
        else:
            await self._send(message)

    async def _finish(self, start: Message) -> None:
        body = _translated(self._body).encode() if self._body else b""
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-length"] = str(len(body))
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _is_whole_json(start: Message) -> bool:
    headers = Headers(raw=list(start["headers"]))
    return "content-length" in headers and headers.get("content-type", "").startswith(_JSON)
