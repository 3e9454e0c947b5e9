"""The service below a sub-path of a proxy: the prefix of each request, and links with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from config import Settings, sub_path_of
from errors import ConfigurationError

FORWARDED_PREFIX = "X-Forwarded-Prefix"
_MOUNTED = frozenset({"static", "openapi.json"})


@dataclass(frozen=True, slots=True)
class SubPathOptions:
    """The sub-path and who may set it.

    Attributes:
        root_path: the prefix of requests without one: empty, or one like ``/dicom``.
        trusted_proxies: addresses and networks whose forwarded headers are used.
        own: first segments of the service's paths. A prefix that begins with one would be ambiguous.
    """

    root_path: str
    trusted_proxies: Collection[str]
    own: frozenset[str]

    @classmethod
    def of(cls, settings: Settings, routes: Iterable[BaseRoute]) -> SubPathOptions:
        """Raises ConfigurationError if ROOT_PATH begins as a route does."""
        own = _MOUNTED | {_first_segment(cast(Any, route).path) for route in routes}
        root_path = settings.root_path or ""
        if root_path and _first_segment(root_path) in own:
            raise ConfigurationError(f"ROOT_PATH={root_path} 与本服务自己的路径冲突：请换一个，例如 /dicom")
        return cls(root_path, settings.trusted_proxy, own)


class SubPath:
    """ASGI middleware around all others: ``root_path`` becomes the prefix, and ``path`` begins with it.

    A proxy may strip the prefix or keep it; the application sees no difference. The forwarded address and scheme of a
    trusted proxy are used, too. Redirects become relative, since a proxy need not forward the name of the host.
    """

    def __init__(self, app: ASGIApp, options: SubPathOptions) -> None:
        self._options = options
        self._forwarding = ProxyHeadersMiddleware(cast(Any, app), list(options.trusted_proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            prefix = self._prefix_of(scope)
            if prefix and scope["path"] == prefix and scope["type"] == "http":
                await RedirectResponse(f"{prefix}/")(scope, receive, send)
                return
            _put_below(scope, prefix)
        await self._forwarding(cast(Any, scope), cast(Any, receive), cast(Any, _with_relative_location(send)))

    def _prefix_of(self, scope: Scope) -> str:
        client = scope.get("client")
        if client is not None and client[0] in self._forwarding.trusted_hosts:
            named = Headers(scope=scope).getlist(FORWARDED_PREFIX)
            prefix = sub_path_of(named[0]) if len(named) == 1 else None
            if prefix is not None and _first_segment(prefix) not in self._options.own:
                return prefix
        return self._options.root_path


def route_path(scope: Scope) -> str:
    """The path below the prefix, as routes are written."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def link(request: Request, path: str) -> str:
    """A path of this service as the caller reaches it."""
    return f"{request.scope.get('root_path', '')}{path}"


def _put_below(scope: Scope, prefix: str) -> None:
    scope["root_path"] = prefix
    if not scope["path"].startswith(f"{prefix}/"):
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode("ascii") + scope.get("raw_path", b"")


def _first_segment(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


def _with_relative_location(send: Send) -> Send:
    async def relative(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "location" in headers:
                headers["location"] = urlsplit(headers["location"])._replace(scheme="", netloc="").geturl()
        await send(message)

    return relative
