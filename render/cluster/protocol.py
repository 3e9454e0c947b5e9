"""What a cluster's workers are told and answer, whatever software runs the cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from render.executor import PoolOptions

ENLIST = "render.cluster.worker:enlist"
WORK = "render.cluster.worker:work"
DISMISS = "render.cluster.worker:dismiss"
STAMP = "render.cluster.code_stamp:stamp_bytes"
"""``module:coroutine`` (bytes → bytes) that run on a worker."""


@dataclass(frozen=True, slots=True)
class SharedPathProbe:
    """What a worker must see through the shared storage.

    Attributes:
        folder: where pictures are made; must be writable, and its files must appear on both sides.
        probe: name of a file of ours in ``folder``; its text is its name.
        answer: name of the file that the worker writes beside it.
        paths: must exist.
        same: path and SHA-256 of files whose content must be ours.
    """

    folder: str
    probe: str
    answer: str
    paths: tuple[str, ...] = ()
    same: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerRegistration:
    """Asks a worker to get render processes ready.

    Attributes:
        owner: whose processes they are; another enlistment of the same owner replaces them.
        address: what the cluster calls the worker.
        pool: one process for each thread that the worker offers.
        sight: to be checked first.
    """

    owner: str
    address: str
    pool: PoolOptions
    sight: SharedPathProbe


@dataclass(frozen=True, slots=True)
class WorkersDied:
    """The cluster has given a job up: too many workers died while they had it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A job came to nothing, for no fault of its file: the connection broke, somebody emptied the cluster."""

    reason: str


class ClusterLink(Protocol):
    """A connection to a cluster. ConnectionError says that it is of no more use."""

    async def workers(self) -> Mapping[str, int]:
        """Address of each worker and the number of its threads. Raises ConnectionError."""

    async def call(self, address: str, entry: str, body: bytes) -> bytes:
        """Runs an entry on one worker, beside its jobs.

        Raises:
            ConnectionError: the worker, or the cluster, does not answer.
            RuntimeError: the entry ended in an exception there; names it.
        """

    async def submit(self, entry: str, body: bytes, addresses: Collection[str]) -> bytes | WorkersDied | Lost:
        """Runs an entry as a job on one of the workers; on another one where that dies."""
