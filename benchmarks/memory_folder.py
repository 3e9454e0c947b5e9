"""A folder in memory, for what a disk's file system would only make harder to measure.

ext4 looks at each inode that was deleted lately when it makes a new one, so that one side's deleted files would be
felt by the other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = "/dev/shm"


def in_memory(room_bytes: int) -> bool:
    """Whether there is such a folder, with that much room."""
    return os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free > room_bytes


@contextmanager
def memory_folder(room_bytes: int, otherwise: Path) -> Iterator[Path]:
    """A fresh folder in memory, or on disk below ``otherwise`` where there is no room; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_MEMORY if in_memory(room_bytes) else otherwise) as place:
        yield Path(place)
