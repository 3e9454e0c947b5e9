"""Pending notices: one empty file per task, created while it runs and removed after its notice.

The history holds what a notice says, so the file's name suffices, and its creation is atomic.
"""

from __future__ import annotations

import logging
import os

_log = logging.getLogger(__name__)


class Outbox:
    """A folder below DATA_DIR."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def add(self, task_id: str) -> None:
        """Adds a task's notice, which survives restarts."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            os.close(os.open(self._path(task_id), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            _log.error("notice of %s would not survive a restart: %s", task_id, error.strerror)

    def remove(self, task_id: str) -> None:
        """Removes a task's notice."""
        try:
            os.unlink(self._path(task_id))
        except FileNotFoundError:
            return
        except OSError as error:  # a virus scanner looks into it on Windows, say; the receiver knows a repetition
            _log.warning("notice of %s may be repeated after a restart: %s", task_id, error.strerror)

    def pending(self) -> list[str]:
        """The tasks' ids, oldest first, since an id begins with its time."""
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("pending notices cannot be read: %s", error.strerror)
            return []

    def _path(self, task_id: str) -> str:
        return os.path.join(self._folder, task_id)
