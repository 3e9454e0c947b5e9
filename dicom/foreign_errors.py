"""The one place that catches what foreign libraries raise on damaged bytes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from errors import FileError

_OF_THE_FILE_ITSELF = (None, errno.EINVAL)  # the library's own OSError, and a seek to an offset that makes no sense


@contextmanager
def translated(as_file_error: Callable[[], FileError]) -> Iterator[None]:
    """Raises ``as_file_error()`` instead of any error that pydicom, Pillow or a decoder raises.

    FileErrors, MemoryError and errors of the operating system pass.
    """
    try:
        yield
    except (FileError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # damaged bytes provoke any exception; a Rust panic is no Exception
        if isinstance(error, OSError) and error.errno not in _OF_THE_FILE_ITSELF:
            raise
        raise as_file_error() from error
