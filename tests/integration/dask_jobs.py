"""Jobs for test_dask_executor: those of render_jobs, and some that meet the Dask worker above their process."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

from errors import OutputUnusableError
from models import ReadReply, ReadRequest
from tests.integration import render_jobs


def behave(request: ReadRequest) -> ReadReply:
    """Does what the path's first word says. The reply's hash field holds the process id of the Dask worker."""
    deed, *words = request.path.split(" ")
    if deed == "hold":
        _hold(*words)
    elif deed == "kill-the-worker":
        os.kill(os.getppid(), signal.SIGKILL)
    elif deed == "refuse" and str(os.getppid()) == Path(words[0]).read_text(encoding="utf-8"):
        _write_no_more(os.getppid())
        raise OutputUnusableError("只读")
    elif deed not in ("who", "refuse"):
        return render_jobs.behave(request)
    return ReadReply(ignored="not_dicom", content_sha256=str(os.getppid()))


def _write_no_more(pid: int) -> None:
    """What a Dask worker's own processes say is believed only if it shows to the worker, too."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))


def _hold(log: str, go: str) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{os.getppid()}\n")
    while not Path(go).exists():
        time.sleep(0.01)
