"""The service in a process of its own, as a user runs it, for tests over real TCP."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import httpx

from tests.integration.warm_start import REPOSITORY, Order, Started, start_cold, start_warm
from tests.waiting import PATIENCE_S, POLL_S, until

__all__ = ["REPOSITORY", "ColdService", "ServiceProcess", "free_port", "until"]

FAST_RETRIES = {"BACKEND_LANDING_SECONDS": "0.5", "BACKEND_PROBE_SECONDS": "0.2"}
FAST_CLIENT = {"first_wait_s": 0.02, "max_wait_s": 0.1, "jitter_s": 0.02, "read_timeout_s": 240}
"""Short waits between attempts. The time-out is long: XieHe may be slow, and completes a call that the client gives up.
"""


class ServiceProcess:
    """``python main.py`` in a folder of its own; settings are given as keyword arguments in lower case."""

    render_processes = 2
    """Where MAX_WORKERS is not among the settings."""

    client_options: Mapping[str, float] = MappingProxyType({})
    """Changes of the fixed options of the XieHe client, see :mod:`tests.integration.service_main`."""

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
        url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=url, trust_env=False, verify=False, timeout=PATIENCE_S)

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
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the service did not come up:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(POLL_S)

    def launch(self) -> Started:
        """Starts without waiting."""
        program = [str(REPOSITORY / "main.py")]
        if self.client_options:
            program = [str(REPOSITORY / "tests/integration/service_main.py"), json.dumps(dict(self.client_options))]
        order = Order(program, self.folder, self.environment())
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
            self._process.wait(PATIENCE_S)
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE_S)
        self._process = None
        return code

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def change(self, **settings: object) -> None:
        """Other settings from the next start on."""
        self._settings |= {name.upper(): str(value) for name, value in settings.items()}

    def change_client(self, **options: float) -> None:
        """Other options of the XieHe client from the next start on."""
        self.client_options = {**self.client_options, **options}

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

    def wait(self, task_id: str, *states: str) -> dict[str, Any]:
        """The status once it is one of ``states`` (default: ended). It hangs where nothing changes any more."""
        states = states or ("completed", "failed", "cancelled")
        deadline, seen = time.monotonic() + PATIENCE_S, None
        while (status := self.status(task_id))["status"] not in states:
            if status["seq"] != seen:
                deadline, seen = time.monotonic() + PATIENCE_S, status["seq"]
            assert time.monotonic() < deadline, f"still {status}\n{self.log.read_text(errors='replace')[-3000:]}"
            time.sleep(POLL_S)
        return status

    def wait_for_rest(self, task_id: str) -> dict[str, Any]:
        """The status once the task has ended and nothing of it is on its way any more."""
        until(lambda: self.status(task_id)["completed_at"] is not None)
        return self.status(task_id)

    def begins_no_file(self) -> None:
        """Returns when no file is under way; each that was has its outcome, or is just getting it."""
        until(lambda: not [line for line in self._inflight() if not line.endswith(" 0.0")])

    def _inflight(self) -> list[str]:
        """Samples of the gauge; one for each stage."""
        lines = self.http.get("/metrics").raise_for_status().text.splitlines()
        return [line for line in lines if line.startswith("dicom_import_inflight{")]

    def run(self, source: Path | str | None = None, **options: Any) -> dict[str, Any]:
        """Imports and returns the final status."""
        return self.wait(self.start_import(source, **options))

    def report(self, task_id: str, **query: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/import/{task_id}/report", params={"format": "json", **query}).raise_for_status()
        rows: list[dict[str, Any]] = answer.json()
        return rows


class ColdService(ServiceProcess):
    """Never forked: started from nothing, as users start it."""

    client_options: Mapping[str, float] = MappingProxyType({})

    _begin = staticmethod(start_cold)


_PORTS_OF_A_WORKER = 2_000
_PORTS_KEPT = 100
_ports = itertools.count(random.randrange(_PORTS_OF_A_WORKER))
_taken: deque[socket.socket] = deque()
"""UDP's ports of the same numbers: another pytest on this machine sees by them which ones are given out already."""


def free_port() -> int:
    """A port that nobody listens at, and that nobody gets by chance before it is used.

    It lies below those that systems give to outgoing connections and to servers that ask for any port, and in a range
    of this pytest worker's own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for number in itertools.islice(_ports, _PORTS_OF_A_WORKER):
        port = 10_000 + worker * _PORTS_OF_A_WORKER + number % _PORTS_OF_A_WORKER
        if _is_ours(port):
            return port
    raise AssertionError("no free port")


def _is_ours(port: int) -> bool:
    """Takes it where nobody has it; for as long as a test may be about to use it."""
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _taken.append(claim)
    if len(_taken) > _PORTS_KEPT:
        _taken.popleft().close()
    return True
