"""The service as a child of the command line: ends when its standard input does, that is, when its parent goes.

Works alike on every system, also where the parent was killed, and needs no signal from outside. It does what its parent
orders and nothing by itself: no scheduled imports, and tasks that were cut off wait until somebody resumes them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from config import Settings, load_settings
from main import main


def _stop_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    signal.raise_signal(signal.SIGTERM)


def _settings() -> Settings:
    """Those in force; an empty variable could not unset what ``.env`` sets."""
    return load_settings().model_copy(update={"auto_resume": False, "import_schedule": None})


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, name="stop with parent", daemon=True).start()
    raise SystemExit(main(_settings))
