"""One HTTP request to XieHe or its storage: log-in, bounded retries, error translation, metering."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import httpx
import tenacity
from tenacity import RetryCallState

from errors import BackendUnavailableError, CallEvidence, ConfigurationError
from xiehe.http.options import ClientOptions, Credentials
from xiehe.http.responses import (
    STORAGE_PATH,
    BackendResponse,
    Delivery,
    ExhaustedError,
    Json,
    TransientError,
    answer_of,
    redirected,
    transient,
    unanswered,
    unreadable,
)
from xiehe.http.tokens import TokenKeeper

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

API_PREFIX = "/api/v1"
_KEEPALIVE_S = 3.0
"""Shorter than uvicorn's 5 s: a request must not meet a connection that the server is closing."""
THROTTLING = frozenset({404, 429, 503})
"""Statuses of a fault by which a proxy may be limiting rates (only a proxy's 404 is a fault)."""
_HEADERS = {"Accept": "application/json", "User-Agent": "dicom-import-service"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``operation`` is its stable name in metrics and logs.

    Attributes:
        target: path below /api/v1, or the whole URL of a part in the object storage (sent verbatim, without a token).
        content: makes the body anew for each attempt; ``headers`` then carry its length.
        wants_json: a success without a JSON object is a fault.
        authorised: carries the token.
    """

    operation: str
    method: str
    target: str
    params: Mapping[str, str] | None = None
    json: Json | None = None
    content: Callable[[], AsyncIterator[bytes]] | None = None
    headers: Mapping[str, str] | None = None
    wants_json: bool = True
    authorised: bool = True

    @property
    def to_storage(self) -> bool:
        """True for a whole URL."""
        return self.target.startswith(("http://", "https://"))

    @property
    def makes_images(self) -> bool:
        """Whether an image can appear because of it, even after its client has given up."""
        return self.operation in ("upload_single", "complete_session")


@dataclass(frozen=True, slots=True)
class HttpClients:
    """One for each server: httpcore looks at every idle connection of a client for each request."""

    backend: httpx.AsyncClient
    storage: httpx.AsyncClient


@asynccontextmanager
async def open_http(options: ClientOptions) -> AsyncIterator[HttpClients]:
    """The connections. They ignore the proxies of the environment (``HTTP_PROXY``, ``.netrc``).

    Their number is unlimited; :class:`Transport` limits the exchanges. httpcore leaks a place of a limited pool for
    each request that is cancelled at the wrong moment (httpcore issue 1093).
    """
    certificates = await asyncio.to_thread(_system_certificates)

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            trust_env=False,
            verify=certificates,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEPALIVE_S),
            timeout=httpx.Timeout(options.read_timeout_s, connect=options.connect_timeout_s, pool=None),
        )

    async with client() as backend, client() as storage:
        yield HttpClients(backend, storage)


@cache
def _system_certificates() -> ssl.SSLContext:
    """Trusts the operating system's store, where a hospital keeps its own authority, or ``SSL_CERT_FILE``."""
    return ssl.create_default_context()


class Transport:
    """Sends calls. ``attempt`` once, ``retried`` and ``send`` within the retry policy."""

    def __init__(self, http: HttpClients, options: ClientOptions, throttled: Callable[[float | None], None]) -> None:
        self._http = http
        self._free = asyncio.Semaphore(2 * options.upload_concurrency + 8)
        self._options = options
        self.policy = options.retry
        self._throttled = throttled
        growing = tenacity.wait_exponential(self.policy.first_wait_s, self.policy.max_wait_s)
        self._backoff = growing + tenacity.wait_random(0, self.policy.jitter_s)
        base_url = _url_of(base_of(options.base_url) + API_PREFIX)
        self._root, self._path = base_url.copy_with(raw_path=b"/"), base_url.raw_path.decode("ascii")
        self._last_doubt_s = time.monotonic()
        self._tokens = TokenKeeper(options.credentials, options.retry, self._log_in)

    @property
    def late_commit_deadline(self) -> float:
        """The monotonic time after which no call with a lost answer can make an image any more.

        At the start the calls of an earlier process count.
        """
        return self._last_doubt_s + self.policy.late_commit_window_s

    def replace_credentials(self, credentials: Credentials) -> None:
        """Uses these from the next request on."""
        self._tokens.replace(credentials)

    async def send(self, call: Call, attempts: int | None = None) -> BackendResponse:
        """The call's answer after bounded retries; refusals (4xx) are answers.

        Raises:
            BackendUnavailableError: no usable answer after all attempts.
            BackendAuthError: token and log-in are refused.
        """
        try:
            return await self.retried(call.operation, lambda: self.attempt(call), attempts=attempts)
        except ExhaustedError as error:
            raise BackendUnavailableError(error.detail, error.evidence) from error.last

    async def retried(
        self,
        operation: str,
        work: Callable[[], Awaitable[_T]],
        *,
        attempts: int | None = None,
        stop: Callable[[RetryCallState], bool] | None = None,
    ) -> _T:
        """Runs ``work`` again as long as it raises TransientError.

        Raises:
            ExhaustedError: after the last attempt.
        """

        async def once() -> _T:
            return await work()  # tenacity awaits only what it recognises as a coroutine function

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=stop or tenacity.stop_after_attempt(attempts or self.policy.attempts),
            wait=self._wait_s,
            before_sleep=lambda state: self._announce(operation, state),
            reraise=True,
        )
        try:
            return await retrying(once)
        except TransientError as fault:
            raise ExhaustedError(fault, retrying.statistics["attempt_number"]) from fault

    async def attempt(self, call: Call) -> BackendResponse:
        """One attempt; a 401 is answered by another token or connection.

        Raises:
            TransientError: it may pass.
            BackendAuthError: token and log-in are refused.
            BackendContractError: a redirect.
            BackendCertificateError: the server cannot be trusted.
            OutOfDescriptorsError: no connection can be opened.
        """
        try:
            answer = await (self._authorised(call) if call.authorised else self._exchange(call, None))
            if 300 <= answer.status < 400 and not call.to_storage:
                raise redirected(answer)
            fault = transient(answer)
            if fault is None and answer.ok and call.wants_json and not isinstance(answer.body, dict):
                fault = unreadable(answer)
            if fault is not None:
                raise fault
        except TransientError as error:
            if error.call.status in THROTTLING:
                self._throttled(error.retry_after_s)
            self._note_doubt(call, error.delivery is Delivery.IN_FLIGHT)
            raise
        except asyncio.CancelledError:
            self._note_doubt(call, True)
            raise
        return answer

    def _note_doubt(self, call: Call, in_doubt: bool) -> None:
        if in_doubt and call.makes_images:
            self._last_doubt_s = time.monotonic()

    async def _authorised(self, call: Call) -> BackendResponse:
        last_token, refusals = "", 0
        while True:
            token = await self._tokens.current()
            answer = await self._exchange(call, token)
            if answer.status != 401:
                self._tokens.accepted(token)
                return answer
            refusals = refusals + 1 if token == last_token else 1
            last_token = token
            await self._tokens.refused(token, refusals, answer.evidence)

    async def _log_in(self, username: str, password: str) -> BackendResponse:
        body = {"username": username, "password": password}
        return await self._exchange(Call("login", "POST", "/auth/login", json=body, authorised=False), None)

    async def _exchange(self, call: Call, token: str | None) -> BackendResponse:
        root, target = self._place_of(call)
        request = _request(call, root, target, token)
        # A path of the storage ends in the file's name, which may be a person's.
        evidence = CallEvidence(call.method, STORAGE_PATH if call.to_storage else target.partition("?")[0])
        began = time.monotonic()
        try:
            response, raw = await self._sent(request, call)
        except (httpx.RequestError, ssl.SSLError) as error:  # httpcore lets TLS faults after the handshake pass as such
            self._options.on_call(call.operation, type(error).__name__, time.monotonic() - began)
            raise unanswered(error, evidence) from error
        seconds = time.monotonic() - began
        self._options.on_call(call.operation, str(response.status_code), seconds)
        return answer_of(response, raw, evidence, seconds)

    async def _sent(self, request: httpx.Request, call: Call) -> tuple[httpx.Response, bytes]:
        async with self._free:
            client = self._http.storage if call.to_storage else self._http.backend
            response = await client.send(request, stream=True)
            try:
                return response, b"" if _leave_unread(response, call) else await _body_of(response)
            finally:
                await asyncio.shield(response.aclose())  # a cancellation in here would leak the connection

    def _place_of(self, call: Call) -> tuple[httpx.URL, str]:
        """The server's root, and the request's target there (RFC 9112 section 3.2)."""
        if call.to_storage:
            scheme, _, rest = call.target.partition("://")
            server, slash, path = rest.partition("/")
            return httpx.URL(f"{scheme}://{server}/"), slash + path
        query = f"?{httpx.QueryParams(call.params)}" if call.params else ""
        return self._root, self._path + call.target + query

    def _wait_s(self, state: RetryCallState) -> float:
        backoff_s = self._backoff(state)
        asked_s = _fault_of(state).retry_after_s
        return backoff_s if asked_s is None else max(backoff_s, min(asked_s, self.policy.max_retry_after_s))

    def _announce(self, operation: str, state: RetryCallState) -> None:
        self._options.on_retry(operation)
        wait_s = state.next_action.sleep if state.next_action else 0.0
        _log.warning(
            "%s: attempt %d failed (%s), again in %.1f s",
            operation,
            state.attempt_number,
            _fault_of(state).call,
            wait_s,
        )


def _url_of(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:  # an international host name that cannot be encoded, for example
        raise ConfigurationError("BACKEND_URL 的主机名或端口无效，应如 http://xiehe.hospital:8000") from error


def base_of(base_url: str) -> str:
    """The deployment's base without ``/api/v1`` and trailing slashes."""
    return base_url.strip().rstrip("/").removesuffix(API_PREFIX).rstrip("/")


def _request(call: Call, root: httpx.URL, target: str, token: str | None) -> httpx.Request:
    """Made by hand: the client's own would add cookies, and change the escapes of a presigned target."""
    headers = {**_HEADERS, **(call.headers or {})}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Request(
        call.method,
        root,
        headers=headers,
        content=call.content() if call.content is not None else None,
        json=call.json,
        extensions={"target": target.encode()},
    )


def _leave_unread(response: httpx.Response, call: Call) -> bool:
    """An unread answer closes its connection.

    After a 401 the next attempt then meets another worker process of XieHe. After an unhandled error (500 text/plain)
    the server may drop the connection under the next request.
    """
    if response.status_code == 401:
        return call.authorised
    return response.status_code == 500 and "json" not in response.headers.get("content-type", "")


async def _body_of(response: httpx.Response) -> bytes:
    if "content-encoding" in response.headers:  # not asked for, but a proxy may
        return await response.aread()
    assert isinstance(response.stream, AsyncIterable)
    return b"".join([piece async for piece in response.stream])  # unlike aread, this leaves the closing to its caller


def _fault_of(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TransientError)  # retry_if_exception_type
    return error
