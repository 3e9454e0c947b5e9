"""A client of our own service's HTTP API."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from errors import HistoryError, ServiceRefusedError, ServiceUnreachableError

Json = dict[str, Any]
ANSWER_WITHIN_S = 60.0
CONNECT_WITHIN_S = 5.0
LONG_POLL_S = 20.0
TASKS_SEARCHED = 500


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service is.

    Attributes:
        url: without a trailing slash.
        key: SERVICE_API_KEY, or None.
        chosen: the operator named this URL.
        language: of the texts in answers, ``zh`` or ``en``.
    """

    url: str
    key: str | None = field(repr=False)
    chosen: bool = False
    language: str = "zh"

    @property
    def on_this_machine(self) -> bool:
        """True if a path names the same file for us and for the service."""
        name = urlsplit(self.url).hostname or ""
        try:
            return name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


class ServiceClient:
    """Made by :meth:`open`. Every method raises these errors.

    Raises:
        ServiceUnreachableError: there is no answer.
        ServiceRefusedError: the answer is a problem document, or not our service's.
    """

    def __init__(self, http: httpx.Client, target: Target) -> None:
        self._http = http
        self.target = target

    @classmethod
    @contextmanager
    def open(cls, target: Target) -> Iterator[ServiceClient]:
        """Sends nothing yet. It ignores this machine's proxy variables."""
        headers = {"Accept": "application/json"} | ({"X-API-Key": target.key} if target.key else {})
        timeout = httpx.Timeout(ANSWER_WITHIN_S, connect=CONNECT_WITHIN_S)
        language = {"lang": target.language}
        with httpx.Client(
            base_url=target.url, headers=headers, params=language, timeout=timeout, trust_env=False
        ) as http:
            yield cls(http, target)

    def is_there(self) -> bool:
        """Whether our service answers."""
        try:
            answer = self._success(self._request("GET", "/health", timeout=CONNECT_WITHIN_S))
            return bool(answer.get("status") == "healthy")
        except (ServiceUnreachableError, ServiceRefusedError):
            return False

    def readiness(self) -> Json:
        """The answer of ``GET /health/ready``, also that with status 503."""
        answer = self._request("GET", "/health/ready")
        ready = _json_of(answer)
        if "checks" not in ready:
            raise _refusal(answer)
        return ready

    def get(self, path: str, **query: str | float) -> Json:
        return self._success(self._request("GET", path, params=query))

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._success(self._request("POST", path, json=body))

    def status(self, task_id: str, since: int | None = None) -> Json:
        """The status; with ``since`` as soon as ``seq`` differs from it, or after :data:`LONG_POLL_S`."""
        query: dict[str, float] = {} if since is None else {"wait": LONG_POLL_S, "since": since}
        return self.get(f"/import/{task_id}/status", **query)

    def stats(self, task_id: str) -> Json | None:
        """The task by month and code; None if the history is unusable."""
        try:
            return self.get(f"/import/{task_id}/stats")
        except ServiceRefusedError as error:
            if error.problem != HistoryError.code:
                raise
            return None

    def task_ids(self) -> list[str]:
        """Newest first."""
        return [str(task["task_id"]) for task in self.get("/import/tasks", limit=TASKS_SEARCHED)["tasks"]]

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str | Sequence[str]]) -> Iterator[Iterator[bytes]]:
        """The pieces of a long answer."""
        try:
            with self._http.stream("GET", path, params=dict(query)) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _refusal(answer)
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _success(self, answer: httpx.Response) -> Json:
        if not answer.is_success:
            raise _refusal(answer)
        return _json_of(answer)

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachableError:
        return ServiceUnreachableError(f"{self.target.url}（{type(error).__name__}）")


def _refusal(answer: httpx.Response) -> ServiceRefusedError:
    try:
        problem = _json_of(answer)
        return ServiceRefusedError(str(problem["detail"]), str(problem["code"]))
    except (ServiceRefusedError, KeyError):
        words = f"{answer.request.url.host} 的应答不是本服务的（HTTP {answer.status_code}）：请检查 --url"
        return ServiceRefusedError(words, "not_this_service")


def _json_of(answer: httpx.Response) -> Json:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceRefusedError("应答不是本服务的（不是 JSON 对象）：请检查 --url", "not_this_service")
    return found
