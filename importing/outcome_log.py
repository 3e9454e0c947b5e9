"""One log line per outcome: ids, never names, paths or words of a file."""

from __future__ import annotations

import logging

from models import FileOutcome

_log = logging.getLogger(__name__)


def log_outcome(task_id: str, outcome: FileOutcome) -> None:
    """``task=.. outcome=.. code=.. sop=.. seconds=.. bytes=..``; the same as fields of a JSON line."""
    if not _log.isEnabledFor(logging.INFO):
        return
    fields: dict[str, str | float | None] = {
        "task": task_id,
        "outcome": outcome.kind.value,
        "code": outcome.code,
        "sop": outcome.sop_instance_uid,
        "seconds": round(outcome.duration_seconds, 3),
        "bytes": outcome.bytes_uploaded,
    }
    line = " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())
    _log.info("%s", line, extra=fields)
