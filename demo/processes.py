"""The two child processes: the XieHe sandbox and the service, each with a log file, both stopped whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parent.parent
START_WITHIN_S = 240.0
STOP_WITHIN_S = 15.0
_POLL_S = 0.1
_PASSED_ON = frozenset(
    {
        "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH",
        "SYSTEMROOT", "USERPROFILE", "PATHEXT", "COMSPEC",
    }
)  # fmt: skip
"""All that the children see of the environment: settings of a real service must not reach the demonstration's."""
_LOG_LINES_SHOWN = 15


class DemoError(Exception):
    """The demonstration cannot continue; the message is for people."""


@dataclass(frozen=True, slots=True)
class Account:
    """How the service logs in to the sandbox: with the token, or with name and password where it has none."""

    token: str
    user: str
    password: str


@contextmanager
def running_sandbox(contract: int, folder: Path, account: Account) -> Iterator[str]:
    """A sandbox on a free port; its URL."""
    arguments = ["-m", "sandbox", "--contract", str(contract), "--data-dir", str(folder / "xiehe"), "--port", "0"]
    arguments += ["--token", account.token, "--user", account.user, "--password", account.password]
    log = folder / "sandbox.log"
    with _running(arguments, REPOSITORY, {}, log) as process:
        yield _wait(process, log, lambda: _ready_url(log))


@contextmanager
def running_service(backend_url: str, folder: Path, account: Account) -> Iterator[str]:
    """``python main.py`` on a free port, working in ``folder``; its URL."""
    port = _free_port()
    settings = {
        "PORT": str(port),
        "BACKEND_URL": backend_url,
        "API_TOKEN": account.token,
        "BACKEND_USERNAME": account.user,
        "BACKEND_PASSWORD": account.password,
        "DICOM_SOURCE_PATH": str(folder / "dicom"),
        "OUTPUT_DIR": str(folder / "output"),
        "DATA_DIR": str(folder / "data"),
    }
    url = f"http://127.0.0.1:{port}"
    log = folder / "service.log"
    with _running([str(REPOSITORY / "main.py")], folder, settings, log) as process:
        yield _wait(process, log, lambda: url if _answers(f"{url}/health") else None)


@contextmanager
def _running(
    arguments: Sequence[str], folder: Path, settings: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of its own session, so that Ctrl-C reaches the demonstration alone, which stops it in order."""
    environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**environment, **settings, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], str | None]) -> str:
    """What ``ready`` finds, as soon as it finds something.

    Raises:
        DemoError: the process ended or was too slow; with the end of its log.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while (found := ready()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
            raise DemoError("\n".join([f"进程没有启动（{log}）：", *lines]))
        time.sleep(_POLL_S)
    return found


def _ready_url(log: Path) -> str | None:
    """The URL in the sandbox's ready line: ``sandbox ready http://127.0.0.1:12345 contract C4``."""
    for line in log.read_text("utf-8", "replace").splitlines():
        if line.startswith("sandbox ready "):
            return line.split()[2]
    return None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
