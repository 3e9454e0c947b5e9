"""Current values for the metrics."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from importing.background.supervisor import Supervisor
from importing.runs.run_context import ImportTools
from importing.telemetry import Gauges
from tasks import TaskRegistry


def gauges_of(
    tools: ImportTools, registry: TaskRegistry, supervisor: Supervisor, next_scheduled: datetime | None
) -> Gauges:
    alive = [task.record for task in registry.live() if not task.status.ended]
    render, limiter = tools.renderer.check(), tools.client.limiter
    return Gauges(
        tasks=Counter(record.status for record in alive),
        paused=Counter(record.pause_reason for record in alive if record.pause_reason is not None),
        render_workers=render.workers,
        render_alive=render.alive,
        uploads_per_second=limiter.per_second,
        uploads_at_once=limiter.concurrency_limit,
        background_restarts={job.name: job.restarts for job in supervisor.jobs()},
        next_scheduled_s=None if next_scheduled is None else next_scheduled.timestamp(),
        history_damaged=tools.history.damaged,
    )
