"""A Dask cluster on loopback: a scheduler and workers, each a process of its own, as an operator starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.service_process import REPOSITORY, free_port
from tests.waiting import PATIENCE_S

_WORKER = ("--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", "0", "--death-timeout", "240")


class DaskCluster:
    """Ended with SIGKILL, all of it."""

    def __init__(self, folder: Path, **scheduler_settings: object) -> None:
        self.folder = folder
        self._settings = {
            f"DASK_DISTRIBUTED__SCHEDULER__{name.upper()}": str(value) for name, value in scheduler_settings.items()
        }
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = folder / "dask.log"
        self._scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start_scheduler()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill_scheduler()
        for worker in list(self.workers):
            self.kill(worker)

    def start_scheduler(self) -> None:
        """At the same address each time. It is given nothing of ours."""
        self._scheduler = self._start(
            "distributed.cli.dask_scheduler",
            ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-jupyter"],
            path=[],
        )

    def kill_scheduler(self) -> None:
        if self._scheduler is not None:
            self._scheduler.kill()
            self._scheduler.wait(PATIENCE_S)
            self._scheduler = None

    def start_worker(
        self, threads: int = 1, *, code: Path = REPOSITORY, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """A worker that runs the program in ``code``; it waits for the scheduler."""
        worker = self._start(
            "distributed.cli.dask_worker",
            [
                f"tcp://{self.address}",
                "--nthreads",
                str(threads),
                *_WORKER,
                "--local-directory",
                f"{self.folder}/scratch",
            ],
            path=[str(code)],
            cwd=cwd,
        )
        self.workers.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait(PATIENCE_S)
        self.workers.remove(worker)

    def _start(
        self, module: str, arguments: Sequence[str], path: Sequence[str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=cwd or self.folder,
                env=environment | self._settings | {"PYTHONPATH": os.pathsep.join(path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
