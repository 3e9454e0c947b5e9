"""A full-size picture as an open file: read piece by piece while it is sent, so that no client costs its memory."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from descriptors import check_descriptors

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture as it is answered; ``kept``: the very one that was uploaded, not one made afresh.

    One answer's own: reads follow each other. A picture that was made for this answer is removed at its close.
    """

    path: str
    descriptor: int
    size_bytes: int
    media_type: str
    kept: bool

    @classmethod
    def open(cls, path: str, media_type: str, *, kept: bool) -> Self:
        """Opens a regular file once; a link or a pipe is refused, and nothing waits.

        Raises:
            OSError: it is not there, is no regular file, or cannot be read.
            OutOfDescriptorsError: nothing can be opened now.
        """
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            check_descriptors(error)
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no regular file", path)
        return cls(path, descriptor, found.st_size, media_type, kept)

    async def read(self, offset: int, length: int) -> bytes:
        """These bytes. Raises OSError."""
        return await asyncio.to_thread(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        os.lseek(self.descriptor, offset, os.SEEK_SET)
        return os.read(self.descriptor, length)

    def close(self) -> None:
        os.close(self.descriptor)
        if not self.kept:
            with suppress(OSError):  # what stays is cleared away at the next start
                os.unlink(self.path)
