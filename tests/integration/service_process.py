"""The service in a process of its own, as a user runs it, for tests over real TCP."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.integration.warm_start import REPOSITORY, Order, Started, start_cold, start_warm

__all__ = ["REPOSITORY", "ColdService", "ServiceProcess", "free_port"]
READY_DEADLINE_S = 40.0
END_DEADLINE_S = 60.0
POLL_S = 0.05

FAST_RETRIES = {
    "BACKEND_FIRST_WAIT_SECONDS": "0.02",
    "BACKEND_MAX_WAIT_SECONDS": "0.1",
    "BACKEND_LANDING_SECONDS": "0.5",
    "BACKEND_PROBE_SECONDS": "0.2",
    "BACKEND_TIMEOUT_SECONDS": "5",
}


def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so."""
    deadline = time.monotonic() + END_DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


class ServiceProcess:
    """``python main.py`` in a folder of its own; settings are given as keyword arguments in lower case."""

    render_processes = 2
    """Where MAX_WORKERS is not among the settings."""

    _begin = staticmethod(start_warm)

    def __init__(self, folder: Path, backend_url: str, **settings: object) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.log = folder / "service.log"
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = {
            "PORT": str(self.port),
            "BACKEND_URL": backend_url,
            "OUTPUT_DIR": str(self.output),
            "DATA_DIR": str(folder / "data"),
            "MAX_WORKERS": str(self.render_processes),
            **FAST_RETRIES,
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        self._process: Started | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, verify=False, timeout=30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self.http.close()

    # --- the process

    def start(self) -> None:
        """Starts and waits until ``/health`` answers."""
        self.launch()
        deadline = time.monotonic() + READY_DEADLINE_S
        while not self._answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the service did not come up:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(POLL_S)

    def launch(self) -> Started:
        """Starts without waiting."""
        order = Order([str(REPOSITORY / "main.py")], self.folder, self.environment())
        with self.log.open("ab") as log, open(os.devnull, "rb") as nothing:
            self._process = self._begin(order, nothing.fileno(), log.fileno(), log.fileno())
        return self._process

    def environment(self) -> dict[str, str]:
        """All that the process knows of ours, and the settings."""
        ours = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")}
        return ours | self._settings

    def kill(self) -> None:
        """SIGKILL, as the worst case does it; twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        self._process = None
        return code

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def change(self, **settings: object) -> None:
        """Other settings from the next start on."""
        self._settings |= {name.upper(): str(value) for name, value in settings.items()}

    def _answers(self) -> bool:
        try:
            return self.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    # --- what a user does

    def start_import(self, source: Path | str | None = None, **options: Any) -> str:
        """The id of a new task."""
        body = options if source is None else {"source_path": str(source), **options}
        answer = self.http.post("/import", json=body)
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id

    def status(self, task_id: str) -> dict[str, Any]:
        status: dict[str, Any] = self.http.get(f"/import/{task_id}/status").raise_for_status().json()
        return status

    def wait(self, task_id: str, *states: str, deadline_s: float = END_DEADLINE_S) -> dict[str, Any]:
        """The status once it is one of ``states`` (default: ended)."""
        states = states or ("completed", "failed", "cancelled")
        deadline = time.monotonic() + deadline_s
        while (status := self.status(task_id))["status"] not in states:
            assert time.monotonic() < deadline, f"still {status}\n{self.log.read_text(errors='replace')[-3000:]}"
            time.sleep(POLL_S)
        return status

    def run(self, source: Path | str | None = None, **options: Any) -> dict[str, Any]:
        """Imports and returns the final status."""
        return self.wait(self.start_import(source, **options))

    def report(self, task_id: str, **query: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/import/{task_id}/report", params={"format": "json", **query}).raise_for_status()
        rows: list[dict[str, Any]] = answer.json()
        return rows


class ColdService(ServiceProcess):
    """Never forked: started from nothing, as users start it."""

    _begin = staticmethod(start_cold)


_PORTS_OF_A_WORKER = 2_000
_ports = itertools.count(random.randrange(_PORTS_OF_A_WORKER))


def free_port() -> int:
    """A port that nobody listens at, and that nobody gets by chance before it is used.

    It lies below those that systems give to outgoing connections and to servers that ask for any port, and in a range
    of this pytest worker's own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for number in itertools.islice(_ports, _PORTS_OF_A_WORKER):
        port = 10_000 + worker * _PORTS_OF_A_WORKER + number % _PORTS_OF_A_WORKER
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
