"""What goes over the pipes between the service and its render processes: length-prefixed pickles of the values below.

The child is not trusted: it decodes hostile files in native code. So the parent unpickles only the data types of
:mod:`models`, :mod:`errors` and this module, and dates (:func:`loads_from_child`).
"""

from __future__ import annotations

import datetime
import io
import pickle
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any

import errors
import models
from errors import ImportServiceError
from models import ReadReply, ReadRequest

LENGTH = struct.Struct("<I")
"""Prefix of every message: bytes that follow, little endian."""

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A longer reply is taken for nonsense of a broken child."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first message to a child.

    Attributes:
        entry: ``module:function`` taking a ReadRequest and giving a ReadReply.
        memory_bytes: address space that a job may use beyond what the warm process has.
        spent_rss_bytes: resident memory above which the process ends after a job.
        check: ``module:function`` to be called once before the first job, raising where the process is of no use.
    """

    entry: str
    memory_bytes: int
    spent_rss_bytes: int
    check: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has paid its imports and waits for jobs."""


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
    """A job ended in one of our errors, to be raised again in the parent."""

    error: ImportServiceError


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A job met the memory limit; the child ends now."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A job ended in an exception that is none of ours: our own fault. ``place`` is type, file and line; no text."""

    place: str


Outcome = Done | Raised | OutOfMemory | Defect


@dataclass(frozen=True, slots=True)
class Order:
    """A job for a child; ``number`` counts those of one child."""

    number: int
    request: ReadRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the order of that number, and how long it took."""

    number: int
    outcome: Outcome
    seconds: float

    @property
    def last(self) -> bool:
        """Whether the child ends after it."""
        return isinstance(self.outcome, OutOfMemory) or (isinstance(self.outcome, Done) and self.outcome.spent)

    @property
    def sound(self) -> bool:
        """Whether it holds what it claims to; the child is not trusted."""
        if not isinstance(self.seconds, float):
            return False
        match self.outcome:
            case Done(reply=ReadReply(), spent=bool()) | Raised(error=ImportServiceError()):
                return True
            case OutOfMemory() | Defect(place=str()):
                return True
        return False


def framed(message: object) -> bytes:
    """The message as it goes over a pipe."""
    buffer = io.BytesIO()
    buffer.write(_NO_LENGTH)
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(message)
    LENGTH.pack_into(buffer.getbuffer(), 0, buffer.tell() - LENGTH.size)
    return buffer.getvalue()


def loads_from_child(body: bytes) -> object:
    """Unpickles what a child sent.

    Raises:
        pickle.UnpicklingError: it holds anything but our data types, or is no pickle.
    """
    try:
        return _DataUnpickler(io.BytesIO(body)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever strange bytes provoke
        raise pickle.UnpicklingError(f"{type(error).__name__} in a reply") from error


class _DataUnpickler(pickle.Unpickler):
    """Knows the classes that our data modules define, and dates."""

    def find_class(self, module: str, name: str) -> type:
        try:
            return _DATA_TYPES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} in a reply") from None


def _classes_of(module: ModuleType) -> dict[tuple[str, str], type]:
    own = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__)
    return {(module.__name__, value.__name__): value for value in own}


def _reducer_of(data_type: type) -> Callable[[Any], tuple[type, tuple[Any, ...]]]:
    """Pickles a dataclass as a call with its fields: a third of the cost of the state that slots are pickled by."""
    names = [field.name for field in fields(data_type)]
    if len(names) < 2:
        return lambda value: (data_type, tuple(getattr(value, name) for name in names))
    values = attrgetter(*names)
    return lambda value: (data_type, values(value))


_NO_LENGTH = bytes(LENGTH.size)
_DATA_TYPES: dict[tuple[str, str], type] = {
    ("datetime", "date"): datetime.date,
    **_classes_of(models),
    **_classes_of(errors),
    **_classes_of(sys.modules[__name__]),
}
_REDUCERS = {
    data_type: _reducer_of(data_type)
    for data_type in _DATA_TYPES.values()
    if is_dataclass(data_type) and not any(field.kw_only for field in fields(data_type))
}
