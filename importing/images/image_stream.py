"""A full-size picture as an open file: read piece by piece while it is sent, so that no client costs its memory."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from domain.descriptors import check_descriptors
from domain.regular_files import only_regular
from importing.threads import for_people

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class ImageStream:
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
            descriptor = only_regular(path, _FLAGS)
        except OSError as error:
            check_descriptors(error)
            raise
        return cls(path, descriptor, os.fstat(descriptor).st_size, media_type, kept)

    async def read(self, offset: int, length: int) -> bytes:
        """These bytes. Raises OSError."""
        return await for_people(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        os.lseek(self.descriptor, offset, os.SEEK_SET)
        return os.read(self.descriptor, length)

    def close(self) -> None:
        os.close(self.descriptor)
        if not self.kept:
            with suppress(OSError):  # what stays is cleared away at the next start
                os.unlink(self.path)
