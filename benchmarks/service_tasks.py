"""An import watched from outside without costing it anything worth mentioning."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.integration.service_process import ServiceProcess

_MOST_S, _LEAST_S = 2.0, 0.05
_DONE = ("new_images_uploaded", "duplicate_images_skipped", "failed_files")


@dataclass(frozen=True, slots=True)
class Ended:
    """An import that has ended: its progress, its seconds from just before the POST, and its result."""

    progress: dict[str, Any]
    seconds: float
    result: str


def run_import(
    service: ServiceProcess,
    source: object,
    files: int,
    deadline_s: float,
    started: Callable[[str], None] = lambda task_id: None,
) -> Ended:
    """Imports a tree of that many files. Each look is work for the service, so the next one comes at half of the time
    that the rest will take. ``started`` gets the task's id as soon as there is one.

    Raises:
        RuntimeError: it paused, or takes longer than the deadline.
    """
    service.http.get("/health")  # the connection is open then
    began = time.perf_counter()
    task_id = service.start_import(str(source))
    started(task_id)
    while (status := service.status(task_id))["status"] not in ("completed", "failed", "cancelled"):
        if status["status"] == "paused" or time.perf_counter() - began > deadline_s:
            raise RuntimeError(f"the import does not end: {status}")
        done = sum(status["progress"][count] for count in _DONE)
        rest_s = (files - done) * (time.perf_counter() - began) / max(done, 1)
        time.sleep(max(_LEAST_S, min(rest_s / 2, _MOST_S)))
    return Ended(status["progress"], time.perf_counter() - began, str(status["result"]))
