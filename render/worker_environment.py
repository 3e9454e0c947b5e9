"""The environment of a render process: nothing secret, one thread, and memory kept for the next file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
)
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
# glibc: blocks up to 32 MiB (its own limit, which it would come to by and by) come from a heap of which 128 MiB stay.
# Else the buffers of a film, given back and asked for again, cost a page fault for each 4 KiB: a quarter of RLE's time.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


def child_environment() -> Mapping[str, str]:
    """The whole environment of a render process."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**passed, **_ONE_THREAD, **ALLOCATOR, "PYTHONPATH": path}
