"""What the service and the workers of a Dask cluster exchange."""

from __future__ import annotations

from dataclasses import dataclass

from render.executor import PoolOptions

PREPARING = "正在准备（若一直如此，请查看该 worker 的日志）"
"""The problem of a worker that has not reported yet."""


@dataclass(frozen=True, slots=True)
class HostSetup:
    """What a worker needs to render for one service.

    Attributes:
        owner: the name of the service's plug-in, of which a worker has one.
        token: the text of the probe, new for each start of the service.
        probe: a file beside the images, which shows a worker that it sees the same storage.
        pool: limits of the processes; their number is that of the worker's threads.
        roots: folders that must not be empty.
        files: path and SHA-256 of files whose content must be equal.
    """

    owner: str
    token: str
    probe: str
    pool: PoolOptions
    roots: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker of the cluster. It may have jobs if ``problem`` is empty."""

    threads: int
    problem: str


class WorkersDiedError(Exception):
    """Dask gave a job up, because too many workers died while they had it."""


class JobLostError(Exception):
    """A job ended without a result, through no fault of its file."""
