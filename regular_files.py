"""Opening a file where another process may plant something else: a link, a pipe, a device, a folder."""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Windows has neither; there only an administrator makes links, and no pipe is a file."""


def only_regular(path: str, flags: int) -> int:
    """The ``opener`` of :func:`open` for a regular file that is no link. It never waits for a pipe's other end.

    Raises:
        OSError: as open(2); ELOOP if ``path`` is a link, EINVAL if it is anything else than a regular file.
    """
    descriptor = os.open(path, flags | _FLAGS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def regular_size(path: str) -> int:
    """Size in bytes of a regular file that is no link. Raises OSError as :func:`only_regular`."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return status.st_size
