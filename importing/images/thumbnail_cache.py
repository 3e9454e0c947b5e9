"""The newest thumbnails, within a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image in memory; ``kept``: reduced from the one that was uploaded, not rendered again."""

    content: bytes
    media_type: str
    kept: bool

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    async def read(self, offset: int, length: int) -> bytes:
        """Returns bytes of the content."""
        return self.content[offset : offset + length]


class ThumbnailCache:
    """Removes the least recently used thumbnails beyond ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._thumbnails: dict[Hashable, Thumbnail] = {}  # least recently used first

    def get(self, key: Hashable) -> Thumbnail | None:
        """The thumbnail, which thereby becomes the most recently used."""
        found = self._thumbnails.pop(key, None)
        if found is not None:
            self._thumbnails[key] = found
        return found

    def put(self, key: Hashable, thumbnail: Thumbnail) -> None:
        """Adds a thumbnail, unless it alone exceeds the limit."""
        if thumbnail.size_bytes > self._limit_bytes:
            return
        self._thumbnails.pop(key, None)
        self._thumbnails[key] = thumbnail
        while sum(each.size_bytes for each in self._thumbnails.values()) > self._limit_bytes:
            del self._thumbnails[next(iter(self._thumbnails))]
