"""Keeps other processes of the account from the service's memory, which holds the token and patients' names."""

from __future__ import annotations

import ctypes
import sys

if sys.platform != "win32":
    import resource

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """No core dumps; on Linux no debugger without CAP_SYS_PTRACE, and no ``/proc/<pid>/mem`` or ``environ``.

    Child processes start dumpable again when they execute another program.
    """
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
