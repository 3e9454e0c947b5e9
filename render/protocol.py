"""What goes over the pipes between the service and its render processes, each message after its length.

A render process decodes hostile files in native code, so it may be taken over. It gets pickles from the service and
answers in JSON, which :mod:`render.replies` checks: no reply makes an object that the service has not asked for.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from operator import attrgetter
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
from models import Area, ReadReply, ReadRequest, RenderOptions
from render.confinement import Confinement, ConfinementState

LENGTH = struct.Struct("<I")
"""Prefix of every message: bytes that follow, little endian."""

MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A longer reply is taken for nonsense of a broken child."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first message to a child.

    Attributes:
        entry: ``module:function`` taking a ReadRequest and giving a ReadReply.
        memory_bytes: address space that a job may use beyond what the warm process has.
        spent_rss_bytes: resident memory above which the process ends after a job.
        check: ``module:function`` to be called once before the first job, raising where the process is of no use.
        confinement: what the process may reach once it is warm; None for all that its account may.
    """

    entry: str
    memory_bytes: int
    spent_rss_bytes: int
    check: str | None = None
    confinement: Confinement | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has paid its imports and waits for jobs."""

    confinement: ConfinementState


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The child cannot work at all; ``reason`` names the exception."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """A job's reply. ``spent``: the child ends now, since it holds too much memory."""

    reply: ReadReply
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """A job ended in a fault of the machine, to be raised again in the parent; ``code`` is one of RAISED."""

    code: str
    detail: str

    def error(self) -> ImportServiceError:
        """The fault. Raises KeyError for another code."""
        return RAISED[self.code](self.detail)


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A job met the memory limit; the child ends now."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A job ended in an exception that is none of ours: our own fault. ``place`` is type, file and line; no text."""

    place: str


Outcome = Done | Raised | OutOfMemory | Defect


@dataclass(frozen=True, slots=True)
class JobMessage:
    """A job for a child; ``number`` counts those of one child."""

    number: int
    request: ReadRequest


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """What came of the order of that number, and how long it took."""

    number: int
    outcome: Outcome
    seconds: float

    @property
    def last(self) -> bool:
        """Whether the child ends after it."""
        return isinstance(self.outcome, OutOfMemory) or (isinstance(self.outcome, Done) and self.outcome.spent)


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What a worker answers to a job; neither ``reply`` nor ``raised``: it has no processes of ours.

    Attributes:
        address: what the cluster calls the worker.
        sees_source: whether the file could be seen there.
        reply: as that of a render process.
        raised: the fault in place of a reply.
        mark: what the worker has added to the request's ``output_prefix``.
    """

    address: str
    sees_source: bool
    reply: ReadReply | None = None
    raised: Raised | None = None
    mark: str = ""


FAULTS_OF_PROCESSES = (ConfigurationError, DiskFullError, OutputUnusableError, OutOfDescriptorsError)
RAISED_BY_PROCESSES = frozenset(fault.code for fault in FAULTS_OF_PROCESSES)
RAISED: dict[str, type[ImportServiceError]] = {
    fault.code: fault for fault in (*FAULTS_OF_PROCESSES, HostError, ServiceStoppingError)
}
"""What a render process, or a cluster's worker, may say in place of a reply."""


def framed(message: WorkerSetup | JobMessage) -> bytes:
    """The message as it goes over a pipe to a render process."""
    buffer = io.BytesIO()
    buffer.write(_NO_LENGTH)
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(message)
    LENGTH.pack_into(buffer.getbuffer(), 0, buffer.tell() - LENGTH.size)
    return buffer.getvalue()


def framed_reply(message: Ready | StartFailed | ResultMessage) -> bytes:
    """The reply as it goes over a pipe."""
    if isinstance(message, ResultMessage):
        body = encoded(message.outcome, message.number, message.seconds)
    else:
        body = encoded(message)
    return LENGTH.pack(len(body)) + body


def encoded(value: object, *numbers: float) -> bytes:
    """The name of the value's class in a line of its own, and a JSON array of the value and the numbers, in ASCII."""
    return f"{type(value).__name__}\n{_JSON.encode((value, *numbers))}".encode("ascii")


def _plain(value: Any) -> object:
    """What JSON has no form for: data classes and dates."""
    return value.isoformat() if isinstance(value, date) else _fields_of(value.__class__)(value)


@cache
def _fields_of(data_type: Any) -> Callable[[object], dict[str, object]]:
    names = [field.name for field in fields(data_type) if field.metadata.get("sent", True)]
    if len(names) < 2:
        return lambda value: {name: getattr(value, name) for name in names}
    values = attrgetter(*names)
    return lambda value: dict(zip(names, values(value), strict=True))


def _reducer_of(data_type: Any) -> Callable[[Any], tuple[type, tuple[Any, ...]]]:
    """Pickles a dataclass as a call with its fields: a third of the cost of the state that slots are pickled by."""
    values = attrgetter(*(field.name for field in fields(data_type)))
    return lambda value: (data_type, values(value))


_NO_LENGTH = bytes(LENGTH.size)
_REDUCERS: dict[type, Callable[[Any], tuple[type, tuple[Any, ...]]]] = {
    data_type: _reducer_of(data_type) for data_type in (Area, JobMessage, ReadRequest, RenderOptions)
}
_JSON = json.JSONEncoder(default=_plain, separators=(",", ":"), check_circular=False)
