"""Logs one line per outcome: ids, never names, paths or texts of a file."""

from __future__ import annotations

import logging

from domain.outcome_codes import MOVED_OUTSIDE_ROOTS
from models import FileOutcome

_log = logging.getLogger(__name__)


class OutcomeLog:
    """The lines of one task."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._warned = False

    def add(self, outcome: FileOutcome) -> None:
        """One line ``task=.. outcome=.. code=.. sop=.. seconds=.. bytes=..``; the same as fields of a JSON line.

        The first file whose place a link has taken is a warning, too.
        """
        if outcome.code == MOVED_OUTSIDE_ROOTS and not self._warned:
            self._warned = True
            _log.warning("task=%s code=%s: a file or folder became a link to outside", self._task_id, outcome.code)
        if not _log.isEnabledFor(logging.INFO):
            return
        fields: dict[str, str | float | None] = {
            "task": self._task_id,
            "outcome": outcome.kind.value,
            "code": outcome.code,
            "sop": outcome.sop_instance_uid,
            "seconds": round(outcome.duration_seconds, 3),
            "bytes": outcome.bytes_uploaded,
        }
        line = " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())
        _log.info("%s", line, extra=fields)
