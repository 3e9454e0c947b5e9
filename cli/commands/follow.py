"""Follows a task to its end by long polling. Waits for a service that restarts."""

from __future__ import annotations

import time

from cli.display.output import Output
from cli.display.progress_view import task_view
from cli.service_client import Json, ServiceClient
from errors import ServiceRefusedError, ServiceUnreachableError

ENDED = frozenset({"completed", "failed", "cancelled"})
POLL_S = 0.25
"""Between two polls: changes may come faster than an operator can read them."""
BUSY_POLL_S = 2.0
"""While the service allows no more long polls."""
SETTLE_WITHIN_S = 30.0
"""A cancelled task finishes the files it had begun; if its service died meanwhile, it never does."""
AWAY_AT_MOST_S = 90.0
"""A service that restarts resumes its tasks."""


def follow(service: ServiceClient, task_id: str, screen: Output) -> Json:
    """Shows each change of a task. Returns its final status.

    Raises:
        ServiceUnreachableError: the service does not come back within :data:`AWAY_AT_MOST_S`.
        ServiceRefusedError: it does not know the task.
    """
    settle_until_s: float | None = None
    with screen.watching(task_view(screen.words)) as show:
        status = _next_status(service, task_id, None)
        show(status)
        while True:
            if status["status"] in ENDED:
                settle_until_s = settle_until_s or time.monotonic() + SETTLE_WITHIN_S
                if status["completed_at"] is not None or time.monotonic() > settle_until_s:
                    return status
            time.sleep(POLL_S)
            before = status.get("seq")
            status = _next_status(service, task_id, before)
            if before is None or status.get("seq") != before:
                show(status)


def _next_status(service: ServiceClient, task_id: str, since: int | None) -> Json:
    deadline = time.monotonic() + AWAY_AT_MOST_S
    while True:
        try:
            return service.status(task_id, since)
        except ServiceUnreachableError:
            if time.monotonic() > deadline:
                raise
            since = None  # a service that comes back counts anew
            time.sleep(POLL_S)
        except ServiceRefusedError as error:
            if error.problem != "too_many_clients" or since is None:
                raise
            since = None
            time.sleep(BUSY_POLL_S)
