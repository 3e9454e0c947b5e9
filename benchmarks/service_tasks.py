"""An import watched from outside without costing it anything worth mentioning."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.integration.service_process import ServiceProcess

_FAR_S, _NEAR_S = 0.25, 0.02
_NEAR = 0.9
_DONE = ("new_images_uploaded", "duplicate_images_skipped", "failed_files")


@dataclass(frozen=True, slots=True)
class Ended:
    """An import that has ended: its progress, and its seconds from just before the POST."""

    progress: dict[str, Any]
    seconds: float


def run_import(service: ServiceProcess, source: object, files: int, deadline_s: float) -> Ended:
    """Imports a tree of that many files; each look is work for the service, so it is looked at seldom until the end.

    Raises:
        RuntimeError: it paused, or takes longer than the deadline.
    """
    service.http.get("/health")  # the connection is open then
    began = time.perf_counter()
    task_id = service.start_import(str(source))
    while (status := service.status(task_id))["status"] not in ("completed", "failed", "cancelled"):
        if status["status"] == "paused" or time.perf_counter() - began > deadline_s:
            raise RuntimeError(f"the import does not end: {status}")
        near = sum(status["progress"][count] for count in _DONE) > _NEAR * files
        time.sleep(_NEAR_S if near else _FAR_S)
    return Ended(status["progress"], time.perf_counter() - began)
