"""Keeps an order among tasks that run at once: those of one key pass one after the other, as they came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue of a key; ``before`` is set when the ticket before it was released."""

    key: str
    before: asyncio.Event | None
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        """Waits until the ticket before this one is released."""
        if self.before is not None:
            await self.before.wait()

    def release(self) -> None:
        """Lets the next one pass; may be called again."""
        self.released.set()


class KeyedTicketLock:
    """Issues tickets, and forgets a key after its last ticket."""

    def __init__(self) -> None:
        self._last: dict[str, Ticket] = {}

    def issue(self, key: str) -> Ticket:
        """The next ticket of a key, in the order of the calls."""
        before = self._last.get(key)
        self._last[key] = ticket = Ticket(key, before.released if before else None)
        return ticket

    def discard(self, ticket: Ticket) -> None:
        """Releases a ticket whose holder has ended."""
        ticket.release()
        if self._last.get(ticket.key) is ticket:
            del self._last[ticket.key]
