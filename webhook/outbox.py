"""Which notices are owed: one empty file per task, made while it runs and removed when its notice is done with.

What a notice says is in the history, so a file's name is all there is to remember, and making it is atomic.
"""

from __future__ import annotations

import logging
import os

_log = logging.getLogger(__name__)


class Outbox:
    """A folder of its own below DATA_DIR."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def owe(self, task_id: str) -> None:
        """From now on a notice of the task is owed, over restarts too."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            os.close(os.open(self._path(task_id), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            _log.error("notice of %s would not survive a restart: %s", task_id, error.strerror)

    def settle(self, task_id: str) -> None:
        """Nothing is owed any more."""
        try:
            os.unlink(self._path(task_id))
        except FileNotFoundError:
            return
        except OSError as error:  # a virus scanner looks into it on Windows, say; the receiver knows a repetition
            _log.warning("notice of %s may be repeated after a restart: %s", task_id, error.strerror)

    def owed(self) -> list[str]:
        """Ids of the tasks, oldest first (their ids begin with their time)."""
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("notices owed from before cannot be read: %s", error.strerror)
            return []

    def _path(self, task_id: str) -> str:
        return os.path.join(self._folder, task_id)
