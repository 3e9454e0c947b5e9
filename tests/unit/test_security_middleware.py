"""What the security middleware refuses, and how OpenAPI declares the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from config import Settings
from main import create_app
from web.security.middleware import (
    MAX_BODY_BYTES,
    MAX_QUERY_BYTES,
    PUBLIC_PATHS,
    SecurityMiddleware,
    SecurityOptions,
    allowed_hosts,
)

KEY = "a-service-key-of-32-characters-ab"
OPTIONS = SecurityOptions(None, allowed_hosts((), "127.0.0.1"), frozenset())


async def ask(host: str = "localhost", options: SecurityOptions = OPTIONS, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(SecurityMiddleware(PlainTextResponse("in"), options))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post("/import", headers={"Host": host, **named}, content=b"{}")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8001", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8001", "[::1]:65535"]
)
async def test_names_of_this_machine_are_let_in(host: str) -> None:
    assert (await ask(host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "[::1].evil.com",
        "[::1]evil.com",
        "[::1]@evil.com",
        "[::1]:80@evil.com",
        "[::1",
        "::1",
        "localhost:80@evil.com",
        "localhost:80.evil.com",
        "localhost:evil",
        "localhost:",
        "localhost:123456",
        "localhost:80:80",
        "localhost/evil.com",
        "localhost?evil.com",
        "localhost#evil.com",
        "localhost\\evil.com",
        "localhost.evil.com",
        "user@localhost",
        "evil.com",
        "",
    ],
)
async def test_a_host_that_only_begins_like_ours_is_refused(host: str) -> None:
    answer = await ask(host)
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


async def test_every_name_is_let_in_if_the_operator_says_so() -> None:
    options = SecurityOptions(None, allowed_hosts(("*",), "127.0.0.1"), frozenset())
    assert (await ask("anything.example", options)).status_code == 200


async def test_an_ambiguous_length_is_refused_and_the_connection_closed() -> None:
    answer = await ask(Content_Length="2", Transfer_Encoding="chunked")
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_length")
    assert answer.headers["connection"] == "close"
    assert (await ask(Content_Length="2")).status_code == 200


async def test_pages_can_neither_be_rebased_nor_send_forms() -> None:
    policy = (await ask()).headers["content-security-policy"]
    parts = {part.strip() for part in policy.split(";")}
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= parts


@pytest.mark.parametrize(
    ("query", "body", "code", "title"),
    [
        ("x" * (MAX_QUERY_BYTES + 1), b"{}", "query_too_large", "查询参数过长"),
        ("x", b"{" * (MAX_BODY_BYTES + 1), "body_too_large", "请求体过大"),
    ],
)
async def test_what_is_too_large_is_named(query: str, body: bytes, code: str, title: str) -> None:
    transport = httpx.ASGITransport(SecurityMiddleware(PlainTextResponse("in"), OPTIONS))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post(f"/import?{query}", content=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["title"]) == (413, code, title)


def openapi_of(folder: Path, key: str | None) -> dict[str, Any]:
    settings = Settings(
        _env_file=None,
        backend_url="http://127.0.0.1:9",
        api_token="token",
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        service_api_key=SecretStr(key) if key else None,
    )
    document: dict[str, Any] = create_app(settings).openapi()
    return document


def headers_with_key(scheme: dict[str, str]) -> dict[str, str]:
    return {scheme["name"]: KEY} if scheme["type"] == "apiKey" else {"Authorization": f"{scheme['scheme']} {KEY}"}


async def test_openapi_declares_each_header_that_takes_the_key(tmp_path: Path) -> None:
    document = openapi_of(tmp_path, KEY)
    schemes = document["components"]["securitySchemes"]
    options = replace(OPTIONS, api_key=KEY)
    assert (await ask(options=options)).status_code == 401
    for requirement in document["security"]:
        (name,) = requirement
        headers = headers_with_key(schemes[name])
        assert (await ask(options=options, **headers)).status_code == 200


def test_openapi_declares_public_routes_without_a_key(tmp_path: Path) -> None:
    paths = openapi_of(tmp_path, KEY)["paths"]
    public = {path for path, methods in paths.items() for each in methods.values() if each.get("security") == []}
    assert public == PUBLIC_PATHS & paths.keys() == {"/health"}


def test_openapi_declares_no_key_if_the_service_has_none(tmp_path: Path) -> None:
    document = openapi_of(tmp_path, None)
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
