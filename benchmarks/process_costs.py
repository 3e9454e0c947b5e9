"""CPU seconds and memory of processes, read from outside."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_MB = 2**20
_LOOK_S = 0.05


def own_cpu_s(pid: int) -> float:
    """CPU seconds of a process without its children."""
    own = psutil.Process(pid).cpu_times()
    return float(own.user + own.system)


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process, its children of now, and those that it has reaped."""
    parent = psutil.Process(pid)
    own = parent.cpu_times()
    total = float(own.user + own.system + own.children_user + own.children_system)
    for child in parent.children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system
    return total


def machine_cpu_s() -> float:
    """CPU seconds of everything on this machine, interrupts included."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system) + float(
        getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    )


def peak_rss_mb(pid: int) -> float:
    """The most resident memory a process ever had (Linux), or what it has now (elsewhere)."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / _MB
    return float(psutil.Process(pid).memory_info().rss) / _MB


@dataclass(slots=True)
class MemoryWatch:
    """Peaks of a service process and of its children while the block runs."""

    pid: int
    service_mb: float = 0.0
    worker_mb: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while True:
            self._look()
            if self._over.wait(_LOOK_S):
                self._look()
                return

    def _look(self) -> None:
        try:
            children = psutil.Process(self.pid).children()
            self.service_mb = max(self.service_mb, peak_rss_mb(self.pid))
            self.worker_mb = max([self.worker_mb, *(peak_rss_mb(child.pid) for child in children)])
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return  # a worker was replaced between the two looks
