"""Follows a task until it rests: by long polling, through short absences of the service."""

from __future__ import annotations

import time

from cli.display.output import Output
from cli.display.progress_view import task_view
from cli.service_client import Json, ServiceClient
from errors import ServiceRefusedError, ServiceUnreachableError

ENDED = frozenset({"completed", "failed", "cancelled"})
LOOK_EVERY_S = 0.25
"""Answers at the next change may come faster than anybody can read them."""
BUSY_LOOK_EVERY_S = 2.0
"""While as many as the service allows wait for changes."""
SETTLE_WITHIN_S = 30.0
AWAY_AT_MOST_S = 90.0
"""A service that is restarted takes its tasks up again."""


def follow(service: ServiceClient, task_id: str, screen: Output) -> Json:
    """Shows each change of a task. Returns its final status.

    Raises:
        ServiceUnreachableError: the service does not come back within :data:`AWAY_AT_MOST_S`.
        ServiceRefusedError: it does not know the task.
    """
    with screen.watching(task_view(screen.words)) as show:
        status = _patiently(service, task_id, None)
        show(status)
        patience = _Patience()
        while not patience.is_over(status):
            time.sleep(LOOK_EVERY_S)
            before = status.get("seq")
            status = _patiently(service, task_id, before)
            if before is None or status.get("seq") != before:
                show(status)
    return status


class _Patience:
    """A cancelled task finishes what it had begun; one whose service died at that point never comes to rest."""

    def __init__(self) -> None:
        self._until_s: float | None = None

    def is_over(self, status: Json) -> bool:
        if status["status"] not in ENDED:
            return False
        if self._until_s is None:
            self._until_s = time.monotonic() + SETTLE_WITHIN_S
        return status["completed_at"] is not None or time.monotonic() > self._until_s


def _patiently(service: ServiceClient, task_id: str, since: int | None) -> Json:
    deadline = time.monotonic() + AWAY_AT_MOST_S
    while True:
        try:
            return service.status(task_id, since)
        except ServiceUnreachableError:
            if time.monotonic() > deadline:
                raise
            since = None  # a service that comes back counts anew
            time.sleep(LOOK_EVERY_S)
        except ServiceRefusedError as error:
            if error.problem != "too_many_clients" or since is None:
                raise
            since = None
            time.sleep(BUSY_LOOK_EVERY_S)
