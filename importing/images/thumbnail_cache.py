"""Small pictures that were made a moment ago, within a fixed amount of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as it is answered; ``kept``: the very one that was uploaded, not one made afresh."""

    content: bytes
    media_type: str
    kept: bool

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    async def read(self, offset: int, length: int) -> bytes:
        """These bytes: a client that does not read holds no more than these."""
        return self.content[offset : offset + length]


class ThumbnailCache:
    """Forgets what was asked for least recently once ``limit_bytes`` are exceeded."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._pictures: OrderedDict[Hashable, Thumbnail] = OrderedDict()

    def get(self, key: Hashable) -> Thumbnail | None:
        """The picture, which thereby is the last to be forgotten."""
        if key not in self._pictures:
            return None
        self._pictures.move_to_end(key)
        return self._pictures[key]

    def put(self, key: Hashable, picture: Thumbnail) -> None:
        """Remembers a picture; one that alone exceeds the limit is not."""
        if len(picture.content) > self._limit_bytes:
            return
        self._forget(key)
        self._pictures[key] = picture
        self._bytes += len(picture.content)
        while self._bytes > self._limit_bytes:
            self._forget(next(iter(self._pictures)))

    def _forget(self, key: Hashable) -> None:
        known = self._pictures.pop(key, None)
        if known is not None:
            self._bytes -= len(known.content)
