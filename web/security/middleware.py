"""Checks of each request: service key, Host, Origin, sizes. Adds security headers. Plain ASGI."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.api.problem_details import problem
from web.dashboard import prefers_page
from web.server.sub_path import route_path

API_KEY_HEADER = "X-API-Key"
PUBLIC_PATHS = frozenset({"/health", "/dashboard"})
"""Answered without a key: liveness, and the dashboard's static page."""
PUBLIC_PREFIXES = ("/static/",)
MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_BYTES = 4096
_Refusal = tuple[int, str, str]
"""Status, code and detail."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRIVATE_NETWORK = "Access-Control-Allow-Private-Network"
WEBSOCKET_NOT_ALLOWED = 4403
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][@:/?#\\]+))(?::[0-9]{1,5})?")
"""RFC 9112 section 3.2: a name or an address, perhaps a port, nothing more."""
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What is allowed.

    Attributes:
        api_key: None if the service has no key (it is bound to loopback then).
        hosts: names that the Host header may hold, without a port; ``*`` for any.
        origins: other web pages that may change something here, as browsers name them.
    """

    api_key: str | None
    hosts: frozenset[str]
    origins: frozenset[str]


def allowed_hosts(configured: Iterable[str], host: str) -> frozenset[str]:
    """ALLOWED_HOSTS, or by default the loopback names and HOST (against DNS rebinding by web pages elsewhere)."""
    names = frozenset(name.lower().strip("[]") for name in configured)
    return names or frozenset({*_LOOPBACK_NAMES, host.lower().strip("[]")})


def allowed_origins(configured: Iterable[str]) -> frozenset[str]:
    """CORS_ORIGINS as browsers write them."""
    return frozenset(origin.lower().rstrip("/") for origin in configured)


class SecurityMiddleware:
    """ASGI middleware; refuses with problem documents."""

    def __init__(self, app: ASGIApp, options: SecurityOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (refusal := self._refusal(scope, headers)) is not None:
            await _refuse(scope, receive, _with_headers(send), refusal)
        else:
            await self._app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> _Refusal | None:
        if not self._host_allowed(headers.get("host", "")):
            return 421, "host_not_allowed", "请求的主机名不在 ALLOWED_HOSTS 之内"
        if not self._origin_allowed(scope, headers):
            return 403, "origin_not_allowed", "该网页的来源不被接受：如需从其他地址的网页操作，请把它加入 CORS_ORIGINS"
        if (refusal := _length_refusal(scope, headers)) is not None:
            return refusal
        if not self._has_key(scope, headers):
            return 401, "unauthorized", "需要密钥：请在 X-API-Key 或 Authorization: Bearer 中给出 SERVICE_API_KEY"
        return None

    def _host_allowed(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        return "*" in self._options.hosts or (found is not None and (found[1] or found[2]) in self._options.hosts)

    def _origin_allowed(self, scope: Scope, headers: Headers) -> bool:
        """Other web pages may neither change anything nor open a WebSocket.

        Otherwise a page could start an import if the service has no key: such a POST needs no CORS preflight.
        """
        if scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
            return True
        host = headers.get("host", "")
        return all(
            origin.lower() in self._options.origins or _same_origin(origin, host)
            for origin in headers.getlist("origin")
        )

    def _has_key(self, scope: Scope, headers: Headers) -> bool:
        if self._options.api_key is None or scope["type"] == "websocket":  # a WebSocket's first message holds the key
            return True
        path = route_path(scope)
        if scope["method"] == "OPTIONS" or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
            return True
        if path == "/" and prefers_page(headers.get("accept", "")):
            return True
        return key_matches(self._options.api_key, given_key(headers))


class CrossOrigin(CORSMiddleware):
    """Starlette's CORS, but a refused preflight grants no access to the private network."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code != 200 and _PRIVATE_NETWORK in answer.headers:
            del answer.headers[_PRIVATE_NETWORK]
        return answer


def _same_origin(origin: str, host: str) -> bool:
    """Same name and port; the scheme may differ, since a proxy in front may speak TLS."""
    try:
        page, ours = urlsplit(origin.lower()), urlsplit(f"//{host.lower()}")
        default = _DEFAULT_PORTS[page.scheme]
        ports = (page.port or default, ours.port or default)
        return page.hostname is not None and page.hostname == ours.hostname and ports[0] == ports[1]
    except (KeyError, ValueError):  # another scheme, "null", or no port
        return False


def given_key(headers: Headers) -> str:
    """The key in a request's headers; empty if there is none."""
    bearer = headers.get("authorization", "")
    return headers.get(API_KEY_HEADER, "") or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")


def key_matches(key: str, given: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(key.encode(), given.encode("utf-8", "surrogateescape"))


def _length_refusal(scope: Scope, headers: Headers) -> _Refusal | None:
    if "content-length" in headers and "transfer-encoding" in headers:
        return 400, "ambiguous_length", "请求同时含有 Content-Length 和 Transfer-Encoding，长度不明确，不予处理"
    if len(scope.get("query_string", b"")) > MAX_QUERY_BYTES:
        return 413, "query_too_large", f"查询参数不能超过 {MAX_QUERY_BYTES} 字节"
    if _declared_length(headers) > MAX_BODY_BYTES:
        return 413, "body_too_large", f"请求体不能超过 {MAX_BODY_BYTES} 字节"
    return None


def _declared_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdigit() and len(text) < 16 else MAX_BODY_BYTES + 1


def declare_key(openapi: dict[str, Any]) -> None:
    """Adds to an OpenAPI document which headers take the key, and which routes need none."""
    openapi.setdefault("components", {})["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
    openapi["security"] = [{"ApiKey": []}, {"Bearer": []}]
    for path in PUBLIC_PATHS & openapi["paths"].keys():
        for operation in openapi["paths"][path].values():
            operation["security"] = []


def _limited(receive: Receive) -> Receive:
    """Ends the request if its body exceeds the limit, since no length need be declared."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            return {"type": "http.disconnect"}
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: _Refusal) -> None:
    status, code, detail = refusal
    if scope["type"] == "websocket":  # accepted first: browsers report a close code only of open connections
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": WEBSOCKET_NOT_ALLOWED, "reason": code})
        return
    answer = problem(status, code, detail, instance=scope["path"])
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if code == "ambiguous_length":  # the end of the body is unknown
        answer.headers["Connection"] = "close"
    await answer(scope, receive, send)
