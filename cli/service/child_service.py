"""A service that the command line starts for itself, where none owns DATA_DIR: a child process on a loopback port."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.service.client import ServiceClient, Target
from errors import OwnServiceError

_REPOSITORY = Path(__file__).resolve().parents[2]
_READY_WITHIN_S = 90.0
_STOP_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.05
_LOG_LINES_SHOWN = 5
_KEY_BYTES = 24


@dataclass(frozen=True, slots=True)
class OwnService:
    """The running child."""

    client: ServiceClient
    process: subprocess.Popen[bytes]
    log: Path

    def require_alive(self) -> None:
        """Raises OwnServiceError where it has died; tells the end of its log."""
        if (code := self.process.poll()) is None:
            return
        lines = self.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
        told = "\n".join([f"自行启动的服务已退出（退出码 {code}），日志：{self.log}", *lines])
        raise OwnServiceError(told)


@contextmanager
def own_service() -> Iterator[OwnService]:
    """Starts it with the settings in force, waits until it answers, and stops it at the end.

    Raises:
        OwnServiceError: it does not come up.
    """
    port, key = _free_port(), secrets.token_urlsafe(_KEY_BYTES)
    log = _log_file()
    with _running(port, key, log) as process, ServiceClient.open(Target(f"http://127.0.0.1:{port}", key)) as client:
        service = OwnService(client, process, log)
        _wait_until_ready(service)
        yield service


@contextmanager
def _running(port: int, key: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The child in a process group of its own, so that Ctrl-C reaches us alone and the task can be ended in order."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.service.child_main"],
            env=_environment(port, key),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            **_apart(),
        )
    try:
        yield process
    finally:
        _stop(process)


def _environment(port: int, key: str) -> dict[str, str]:
    """Ours, with what makes the child nobody's business but ours: its key is made up and known to us alone."""
    paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {name: value for name, value in os.environ.items() if name.upper() not in _OVERRIDDEN}
    return ours | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SERVICE_API_KEY": key,
        "ALLOWED_HOSTS": "127.0.0.1",
    }


_OVERRIDDEN = frozenset({"HOST", "PORT", "SERVICE_API_KEY", "ALLOWED_HOSTS"})
"""Names of settings count in any case, so an inherited ``port`` must not stand beside our ``PORT``."""


def _apart() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Closing its standard input ends it in order; see ``child_main``."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_WITHIN_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _wait_until_ready(service: OwnService) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not service.client.is_there():
        service.require_alive()
        if time.monotonic() > deadline:
            raise OwnServiceError(f"自行启动的服务在 {_READY_WITHIN_S:.0f} 秒内没有就绪，日志：{service.log}")
        time.sleep(_LOOK_EVERY_S)


def _log_file() -> Path:
    """One per command, private to this account; kept, since it tells what went wrong."""
    descriptor, path = tempfile.mkstemp(prefix="dicom-import-", suffix=".log")
    os.close(descriptor)
    return Path(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
