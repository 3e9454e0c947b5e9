"""File descriptors of this process: their limit, and errors from having none left.

Without descriptors a folder looks missing and a file unreadable. So each place that translates an OSError calls
:func:`check_descriptors` first.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import ExitStack

from errors import OutOfDescriptorsError

ENOUGH_LEFT = 64
"""A task needs so many to continue: pipes, connections, folders."""
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, 10024})  # the last one is Winsock's WSAEMFILE
_RAISED_TO_AT_MOST = 65_536

if sys.platform == "win32":

    def raise_limit() -> int:
        """The number of descriptors that this process may have; Windows has no such limit for sockets."""
        return _RAISED_TO_AT_MOST
else:
    import resource

    def raise_limit() -> int:
        """Raises the soft limit to the hard one; returns the new limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _RAISED_TO_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, _RAISED_TO_AT_MOST)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return _RAISED_TO_AT_MOST if soft == resource.RLIM_INFINITY else soft
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS: the kernel's own limit is lower than the hard one
            return soft
        return wanted


def ran_out(error: BaseException) -> bool:
    """Whether an error comes from having no descriptor left. A gaierror does not contain that."""
    if isinstance(error, socket.gaierror):
        return not are_left(1)
    return isinstance(error, OSError) and error.errno in _NONE_LEFT


def check_descriptors(error: OSError) -> None:
    if ran_out(error):
        raise out_of_descriptors() from error


def out_of_descriptors() -> OutOfDescriptorsError:
    return OutOfDescriptorsError(
        "本服务可用的文件描述符已用完（连接或打开的文件过多）；源文件没有问题。"
        "描述符空出后任务自动继续。若常出现：调高 ulimit -n，或在前面加反向代理限制连接数（docs/security.zh-CN.md）"
    )


def are_left(count: int) -> bool:
    with ExitStack() as opened:
        try:
            for _ in range(count):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in _NONE_LEFT:
                return False
            raise
    return True
