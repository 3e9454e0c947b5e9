"""An import watched from outside without costing it anything worth mentioning."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from tests.integration.service_process import ServiceProcess

_LOOK_S = 0.25


def ended(service: ServiceProcess, task_id: str, deadline_s: float) -> dict[str, Any]:
    """The task's status once it has ended; looks seldom, since each look is work for the service."""
    deadline = time.monotonic() + deadline_s
    while (status := service.status(task_id))["status"] not in ("completed", "failed", "cancelled"):
        if status["status"] == "paused" or time.monotonic() > deadline:
            raise RuntimeError(f"the import does not end: {status}")
        time.sleep(_LOOK_S)
    return status


def ended_at(status: dict[str, Any]) -> float:
    """When it ended by the service's own clock, which is this machine's; seconds since the epoch."""
    return datetime.fromisoformat(status["completed_at"]).timestamp()
