"""Opens files and folders safely, though another process may replace them by a link, a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from models import Area

if sys.platform == "darwin":
    import fcntl

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK
"""Windows has neither flag; only its administrators make links, and its pipes are no files."""
_FOLDER = os.O_RDONLY | _NONBLOCK | getattr(os, "O_DIRECTORY", 0)
_PATH_BYTES = 1024  # MAXPATHLEN of macOS, which F_GETPATH asks for


class OutsideError(OSError):
    """The file or folder is outside the area that may be read."""


def inside(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or below it; both absolute, resolved and in one case."""
    if path == folder:
        return True
    return path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def check_within(real_path: str, area: Area, path: str = "") -> None:
    """Raises OutsideError unless a resolved path may be read; ``path`` hints by name under which root it is."""
    cased = os.path.normcase(real_path)
    excluded = any(inside(cased, os.path.normcase(folder)) for folder in area.excluded)
    if excluded or (area.roots and not _in_any(real_path, area.roots, path)):
        raise OutsideError(errno.EPERM, "outside the folders that may be read")


def only_within(path: str, flags: int, area: Area) -> int:
    """An ``opener`` of :func:`open`: opens a regular file of an area, also through links, and checks the open file.

    Raises:
        OutsideError: the file is outside the area.
        OSError: as open(2); EINVAL if it is no regular file; BlockingIOError if another program has a lease on it.
    """
    return _regular(_opened(path, flags | _NONBLOCK, area), path)


@contextmanager
def scan_within(path: str, area: Area) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Lists a folder of an area, checked once it is open. Use entries before the context ends.

    ``DirEntry.path`` is only the name, except on Windows.

    Raises:
        OutsideError: the folder is outside the area.
        OSError: as open(2).
    """
    if os.scandir not in os.supports_fd:  # Windows
        check_within(os.path.realpath(path), area, path)
        with os.scandir(path) as entries:
            yield entries
        return
    descriptor = _opened(path, _FOLDER, area)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def only_regular(path: str, flags: int) -> int:
    """An ``opener`` of :func:`open` for a regular file that is no link. It never waits for a pipe's other end.

    Raises:
        OSError: as open(2); ELOOP for a link, EINVAL for anything else than a regular file.
    """
    return _regular(os.open(path, flags | _FLAGS), path)


def regular_size(path: str) -> int:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _irregular(path)
    return status.st_size


def _opened(path: str, flags: int, area: Area) -> int:
    """Opens, then checks the open file. If opening is forbidden (Landlock), the path decides whether it is outside."""
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        check_within(os.path.realpath(path), area, path)
        raise
    with _closed_on_error(descriptor):
        check_within(_path_of(descriptor, path, flags), area, path)
    return descriptor


def _regular(descriptor: int, path: str) -> int:
    """The descriptor of a regular file; any other is closed and refused."""
    with _closed_on_error(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _irregular(path)
    return descriptor


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    with ExitStack() as on_error:
        on_error.callback(os.close, descriptor)
        yield
        on_error.pop_all()


def _irregular(path: str) -> OSError:
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def _path_of(descriptor: int, path: str, flags: int) -> str:
    """The resolved path of an open file; only Linux and macOS know it. Raises OSError."""
    if sys.platform == "linux":
        try:
            found = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # a system without /proc
            return _path_by_name(descriptor, path, flags)
        if not found.startswith(os.sep):  # "(unreachable)/…": its share was unmounted meanwhile
            raise FileNotFoundError(errno.ENOENT, "no longer mounted", path)
        return found
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(_PATH_BYTES)).partition(b"\0")[0])
    return _path_by_name(descriptor, path, flags)


def _path_by_name(descriptor: int, path: str, flags: int) -> str:
    """The path resolved now, if it still leads to the open file. Raises OSError."""
    resolved = os.path.realpath(path)
    again = os.open(resolved, flags)
    try:
        if not os.path.sameopenfile(descriptor, again):
            raise FileNotFoundError(errno.ENOENT, "replaced while it was opened", path)
    finally:
        os.close(again)
    return resolved


def _in_any(real_path: str, roots: tuple[str, ...], path: str) -> bool:
    """Compares by name, then resolved, then by identity, since each step costs more system calls.

    Roots that hold ``path`` by name come first: another one may be on a share that hangs.
    """
    cased, by_name = os.path.normcase(real_path), os.path.normcase(path)
    roots = tuple(sorted(roots, key=lambda root: not inside(by_name, os.path.normcase(root))))
    return (
        any(inside(cased, os.path.normcase(root)) for root in roots)
        or any(inside(cased, os.path.normcase(os.path.realpath(root))) for root in roots)
        or any(_is_below(real_path, root) for root in roots)
    )


def _is_below(real_path: str, root: str) -> bool:
    """Whether a root is a parent of a path by identity: some file systems ignore case."""
    try:
        wanted = os.stat(root)
    except OSError:
        return False
    parent = os.path.dirname(real_path)
    while real_path != parent:
        with suppress(OSError):
            if os.path.samestat(os.lstat(real_path), wanted):
                return True
        real_path, parent = parent, os.path.dirname(parent)
    return False
