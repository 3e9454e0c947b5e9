"""On what it was measured: machine and versions, without names and paths of this machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

_PACKAGES = (
    *("pydicom", "numpy", "Pillow", "imagecodecs", "simplejpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
    *("fastapi", "uvicorn", "httpx", "pydantic"),
)


def description() -> Iterator[tuple[str, str]]:
    """What, and which."""
    yield "date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield "processor", f"{_processor()}, {os.cpu_count()} cores"
    yield "memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "Python", platform.python_version()
    yield "packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    yield "DCMTK", dcmtk_version() or "not installed: its column is empty (Debian's package is dcmtk)"


def load() -> str:
    """How busy the machine is."""
    return ", ".join(f"{value:.2f}" for value in psutil.getloadavg())


def dcmtk_version() -> str | None:
    """Version of ``dcmj2pnm``, None where it is not installed."""
    program = shutil.which("dcmj2pnm")
    if program is None:
        return None
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\d[\w.]*)", printed)
    return found.group(1) if found else "?"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()
