"""The floor's processes: as many as the service has, taking files from one common pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from render.worker_environment import ALLOCATOR

_SCRIPT = Path(__file__).with_name("floor_worker.py")
_END_OF_ROUND = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Effort:
    """What a number of files took: wall and CPU seconds, files, pictures."""

    wall_s: float
    cpu_s: float
    files: int

    @property
    def per_second(self) -> float:
        return self.files / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per file."""
        return 1000 * self.cpu_s / self.files


class FloorCrew:
    """Warm processes of ``floor_worker.py``; POSIX only (they inherit a pipe). ``keep`` their pictures, or not."""

    def __init__(self, processes: int, paths: Sequence[Path], output: Path, *, keep: bool = True) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._fate = "keep" if keep else "drop"
        self._jobs_end, self._jobs = os.pipe()
        self._crew = [self._start(number, paths, output) for number in range(processes)]

    def _start(self, number: int, paths: Sequence[Path], output: Path) -> subprocess.Popen[str]:
        arguments = [str(self._jobs_end), self._fate, str(output / f"floor{number}"), *map(str, paths)]
        return subprocess.Popen(
            [sys.executable, str(_SCRIPT), *arguments],
            pass_fds=(self._jobs_end,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ALLOCATOR},
            text=True,
        )

    def __enter__(self) -> Self:
        for worker in self._crew:
            self._line(worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._crew:
            worker.kill()
            worker.wait(10)
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()
        os.close(self._jobs)
        os.close(self._jobs_end)

    def render(self, jobs: Sequence[int]) -> Effort:
        """One round: the files of these numbers, as fast as the crew can."""
        os.write(self._jobs, b"".join(job.to_bytes(4, "little") for job in jobs) + _END_OF_ROUND * len(self._crew))
        began = time.perf_counter()
        for worker in self._crew:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        seconds = [self._line(worker).split() for worker in self._crew]
        wall_s = time.perf_counter() - began
        return Effort(wall_s, sum(float(cpu) for cpu, _ in seconds), len(jobs))

    @staticmethod
    def _line(worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise RuntimeError(f"the floor's process ended with status {worker.wait(10)}")
        return line
