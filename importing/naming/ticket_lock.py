"""Keeps an order among things that run at once: those of one key pass one after the other, as they came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue of a key."""

    _before: asyncio.Event | None
    _mine: asyncio.Event = field(default_factory=asyncio.Event)

    async def come(self) -> None:
        """Waits until the one before has passed."""
        if self._before is not None:
            await self._before.wait()

    def passed(self) -> None:
        """Lets the next one go; may be called again."""
        self._mine.set()


class KeyedTicketLock:
    """Hands out turns; forgets a key once its last turn has passed."""

    def __init__(self) -> None:
        self._last: dict[str, Ticket] = {}

    def take(self, key: str) -> Ticket:
        """The next turn of a key, in the order of the calls."""
        before = self._last.get(key)
        turn = Ticket(None if before is None else before._mine)
        self._last[key] = turn
        return turn

    def leave(self, key: str, turn: Ticket) -> None:
        """The holder of a turn has gone, whether it used it or not."""
        turn.passed()
        if self._last.get(key) is turn:
            del self._last[key]
