"""The interface of the local pool and of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from models import ReadReply, ReadRequest
from render.confinement import Confinement


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many processes, and what a job may cost.

    Attributes:
        workers: processes.
        timeout_s: wall-clock seconds that one file may take.
        memory_mb: address space, MiB, that one file may take beyond that of the warm process.
        entry: ``module:function`` that does a job (ReadRequest → ReadReply).
        recycle_rss_mb: a process that holds more resident memory after a job is replaced.
        check: ``module:function`` that a process calls once at its start; raises if a decoder is missing.
        confinement: what a process may reach; None for all that its account may reach.
    """

    workers: int
    timeout_s: float
    memory_mb: int
    entry: str = "dicom_processor:read_file"
    recycle_rss_mb: int = 768
    check: str | None = "dicom_processor:check_decoders"
    confinement: Confinement | None = None


@dataclass(frozen=True, slots=True)
class RenderHealth:
    """Whether rendering works; ``detail`` is Chinese."""

    ready: bool
    workers: int
    alive: int
    detail: str


class RenderExecutor(Protocol):
    """Reads and renders files: the local pool, or a cluster."""

    async def run(self, request: ReadRequest) -> ReadReply:
        """Reads and renders one file. A file's failure is a value in the reply.

        Raises:
            HostError: this machine cannot render now (disk full, processes do not start); no file's fault.
            ServiceStoppingError: the executor is being closed.
        """

    def check(self) -> RenderHealth:
        """Whether rendering works now."""
