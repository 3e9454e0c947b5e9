"""Answers in English for callers that ask, Chinese for all others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from web.api.language import EnglishTexts

CHINESE = "没有这个任务：import_x。"
ENGLISH = "There is no task import_x."


async def problem(request: Request) -> JSONResponse:
    body = {"title": "未找到", "detail": CHINESE, "code": "task_not_found", "task_id": "未找到"}
    return JSONResponse(body, 404, media_type="application/problem+json")


async def errors(request: Request) -> JSONResponse:
    return JSONResponse({"errors": [{"file": "/源/未找到", "error": "文件为空（0 字节）", "hint": "无需处理。"}]})


async def stream(request: Request) -> StreamingResponse:
    async def pieces() -> Any:
        yield b'{"detail": "\xe6\x9c\xaa\xe6\x89\xbe\xe5\x88\xb0"}'

    return StreamingResponse(pieces(), media_type="application/json")


async def empty(request: Request) -> Response:
    return Response(status_code=204)


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.send", "text": json.dumps({"pause": {"message": CHINESE}})})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    routes = [Route(f"/{made.__name__}", made) for made in (problem, errors, stream, empty)]
    transport = httpx.ASGITransport(app=EnglishTexts(Starlette(routes=routes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_problem_comes_in_the_language_of_the_request(client: httpx.AsyncClient) -> None:
    answer = await client.get("/problem?lang=en")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json() == {"title": "Not found", "detail": ENGLISH, "code": "task_not_found", "task_id": "未找到"}
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("query", ["", "?lang=zh", "?lang=EN", "?lang=zh&lang=en"])
async def test_any_other_caller_gets_chinese(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/problem{query}", headers={"Accept-Language": "en"})
    assert answer.json()["detail"] == CHINESE


async def test_paths_are_not_translated(client: httpx.AsyncClient) -> None:
    assert (await client.get("/errors?lang=en")).json() == {
        "errors": [{"file": "/源/未找到", "error": "The file is empty (0 bytes)", "hint": "Nothing to do."}]
    }


async def test_a_stream_passes_as_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/stream?lang=en")).json() == {"detail": "未找到"}


async def test_an_answer_without_a_body_passes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/empty?lang=en")).status_code == 204


@pytest.mark.parametrize(("query", "text"), [(b"", CHINESE), (b"lang=en", ENGLISH)])
async def test_pushed_updates_are_translated_too(query: bytes, text: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await EnglishTexts(push)({"type": "websocket", "query_string": query}, receive, send)
    assert json.loads(sent[0]["text"]) == {"pause": {"message": text}}
