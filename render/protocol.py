"""Messages between the service and its render processes, each after its length.

A render process decodes hostile files in native code, so a file may take it over. It receives pickles and answers in
JSON, which :mod:`render.replies` checks: no reply makes an object that the service does not expect.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from errors import (
    ConfigurationError,
    DiskFullError,
    HostError,
    ImportServiceError,
    OutOfDescriptorsError,
    OutputUnusableError,
    ServiceStoppingError,
)
from models import ReadReply, ReadRequest
from render.confinement import Confinement, ConfinementState

LENGTH = struct.Struct("<I")
"""Prefix of every message: bytes that follow, little endian."""

MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A longer reply is refused."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first message to a process.

    Attributes:
        entry: ``module:function``, ReadRequest → ReadReply.
        memory_bytes: address space that a job may use beyond that of the warm process.
        spent_rss_bytes: resident memory above which the process ends after a job.
        check: ``module:function`` called once before the first job; it raises if the process is of no use.
        confinement: what the process may reach once it is warm; None for all that its account may reach.
    """

    entry: str
    memory_bytes: int
    spent_rss_bytes: int
    check: str | None = None
    confinement: Confinement | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has paid its imports and waits for jobs."""

    confinement: ConfinementState


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The process cannot work; ``reason`` names the exception."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """A job's reply. If ``spent``, the process ends now because it holds too much memory."""

    reply: ReadReply
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """A job met a fault of the machine, which the service raises; ``code`` is one of RAISED."""

    code: str
    detail: str

    def error(self) -> ImportServiceError:
        """The fault as an exception. Raises KeyError for another code."""
        return RAISED[self.code](self.detail)


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A job met the memory limit; the process ends now."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A job ended in an unforeseen exception. ``place`` is its type, file and line, without its text."""

    place: str


Outcome = Done | Raised | OutOfMemory | Defect


@dataclass(frozen=True, slots=True)
class JobMessage:
    """A job for a process; ``number`` counts the jobs of that process."""

    number: int
    request: ReadRequest


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """The outcome of the job of that number."""

    number: int
    outcome: Outcome

    @property
    def last(self) -> bool:
        """Whether the process ends after it."""
        return isinstance(self.outcome, OutOfMemory) or (isinstance(self.outcome, Done) and self.outcome.spent)


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """The answer of a cluster's worker to a job. With neither ``reply`` nor ``raised``: it takes no jobs now.

    Attributes:
        reply: that of a render process.
        raised: the fault in place of a reply.
        sees_source: whether the worker sees the file.
        mark: what the worker added to the request's ``output_prefix``.
    """

    reply: ReadReply | None = None
    raised: Raised | None = None
    sees_source: bool = True
    mark: str = ""


FAULTS_OF_PROCESSES = (ConfigurationError, DiskFullError, OutputUnusableError, OutOfDescriptorsError)
RAISED_BY_PROCESSES = frozenset(fault.code for fault in FAULTS_OF_PROCESSES)
RAISED: dict[str, type[ImportServiceError]] = {
    fault.code: fault for fault in (*FAULTS_OF_PROCESSES, HostError, ServiceStoppingError)
}
"""What a render process, or a cluster's worker, may answer in place of a reply."""


def framed(message: WorkerSetup | JobMessage) -> bytes:
    """The message as it goes over a pipe to a render process."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def framed_reply(message: Ready | StartFailed | ResultMessage) -> bytes:
    """The message as it goes over a pipe to the service."""
    body = encoded(message.outcome, message.number) if isinstance(message, ResultMessage) else encoded(message)
    return LENGTH.pack(len(body)) + body


def encoded(value: object, *numbers: int) -> bytes:
    """A line with the name of the value's class, and a JSON array of the value and the numbers, in ASCII."""
    return f"{type(value).__name__}\n{_JSON.encode((value, *numbers))}".encode("ascii")


def _plain(value: Any) -> object:
    """A data class or a date in a form that JSON has."""
    if isinstance(value, date):
        return value.isoformat()
    return {field.name: getattr(value, field.name) for field in fields(value) if field.metadata.get("sent", True)}


_JSON = json.JSONEncoder(default=_plain, separators=(",", ":"), check_circular=False)
