"""C3/C4 keep lists for a minute and drop them all on any write through the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from sandbox.contracts import Page


class ListCache:
    """Shows a change made behind the API late, as the real one does."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pages: dict[Hashable, tuple[float, Page]] = {}

    def page(self, key: Hashable, read: Callable[[], Page]) -> Page:
        now = time.monotonic()
        kept = self._pages.get(key)
        if kept is not None and now < kept[0]:
            return kept[1]
        fresh = read()
        if self._seconds > 0:
            self._pages[key] = (now + self._seconds, fresh)
        return fresh

    def clear(self) -> None:
        self._pages.clear()
