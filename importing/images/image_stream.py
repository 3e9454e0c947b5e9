"""A full-size image as an open file. It is read in pieces while it is sent, so no client costs its memory."""

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
    """An open image of one answer; ``kept``: the one that was uploaded, not one rendered again.

    :meth:`close` removes an image that was rendered for this answer.
    """

    path: str
    descriptor: int
    size_bytes: int
    media_type: str
    kept: bool

    @classmethod
    def open(cls, path: str, media_type: str, *, kept: bool) -> Self:
        """Opens a regular file without waiting; refuses links and pipes.

        Raises:
            OSError: it is missing, is no regular file, or cannot be read.
            OutOfDescriptorsError: no descriptor is left.
        """
        try:
            descriptor = only_regular(path, _FLAGS)
        except OSError as error:
            check_descriptors(error)
            raise
        return cls(path, descriptor, os.fstat(descriptor).st_size, media_type, kept)

    async def read(self, offset: int, length: int) -> bytes:
        """Reads bytes. Raises OSError."""
        return await for_people(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        os.lseek(self.descriptor, offset, os.SEEK_SET)
        return os.read(self.descriptor, length)

    def close(self) -> None:
        os.close(self.descriptor)
        if not self.kept:
            with suppress(OSError):  # the next start removes it
                os.unlink(self.path)
