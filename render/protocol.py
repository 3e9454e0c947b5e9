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
from dataclasses import dataclass
from types import ModuleType

import errors
import models
from errors import ImportServiceError
from models import ReadReply

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
        check: ``module:function`` to be called once before the first job, raising where the process is of no use.
    """

    entry: str
    memory_bytes: int
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
    """A job's reply; ``rss_bytes`` is the child's resident memory after it, 0 where unknown."""

    reply: ReadReply
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Raised:
    """A job ended in one of our errors, to be raised again in the parent."""

    error: ImportServiceError


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A job met the memory limit."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A job ended in an exception that is none of ours: our own fault. ``place`` is type, file and line; no text."""

    place: str


FromChild = Ready | StartFailed | Done | Raised | OutOfMemory | Defect


def framed(message: object) -> bytes:
    """The message as it goes over a pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def loads_from_child(body: bytes) -> object:
    """Unpickles what a child sent.

    Raises:
        pickle.UnpicklingError: it holds anything but our data types, or is no pickle.
    """
    try:
        return _DataUnpickler(io.BytesIO(body)).load()
    except (AttributeError, EOFError, ImportError, IndexError, TypeError, ValueError) as error:
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


_DATA_TYPES: dict[tuple[str, str], type] = {
    ("datetime", "date"): datetime.date,
    **_classes_of(models),
    **_classes_of(errors),
    **_classes_of(sys.modules[__name__]),
}
