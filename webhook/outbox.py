"""Pending notices: one empty file per task, made while it runs and removed after delivery.

The history holds a notice's content, so that a file name suffices. Making a file is atomic.
"""

from __future__ import annotations

import logging
import os

_log = logging.getLogger(__name__)


class Outbox:
    """A folder of its own below DATA_DIR."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def enqueue(self, task_id: str) -> None:
        """The task's notice is pending from now on, over restarts too."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            os.close(os.open(self._path(task_id), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            _log.error("notice of %s would not survive a restart: %s", task_id, error.strerror)

    def discard(self, task_id: str) -> None:
        """The task's notice is not pending any more."""
        try:
            os.unlink(self._path(task_id))
        except FileNotFoundError:
            return
        except OSError as error:  # a virus scanner may hold it open on Windows
            _log.warning("notice of %s may be repeated after a restart: %s", task_id, error.strerror)

    def pending(self) -> list[str]:
        """Ids of the tasks, oldest first (their ids begin with their time)."""
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
