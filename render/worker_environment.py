"""The environment of a render process: nothing secret, one thread, and memory kept for the next file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
    "LD_LIBRARY_PATH",
)
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
# glibc takes blocks up to 32 MiB from a heap of which it keeps 128 MiB. Otherwise the buffers of each film go back to
# the kernel and return as page faults.
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
