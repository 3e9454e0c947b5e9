"""Scripted faults: which request goes wrong, how, and how often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Operation = Literal[
    "login",
    "refresh",
    "me",
    "search_patients",
    "create_patient",
    "list_images",
    "upload_single",
    "create_session",
    "put_part",
    "complete_session",
    "get_session",
    "download",
    "fetch_object",
    "other",
    "any",
]

Kind = Literal[
    "status",  # answered with `status` instead of being done
    "html_error",  # as `status`, with a proxy's HTML page
    "unauthorized",  # 401 AUTH_FAILED instead of being done
    "random_401",  # 401 for `fraction` of the requests that carry a token
    "revoke",  # every token issued until now becomes invalid, then the request is handled (and so gets 401)
    "slow",  # waits `seconds`, then does the work (a client that gave up is not noticed)
    "slow_after",  # does the work at once, answers after `seconds`
    "held",  # waits until the test lets it go, then does the work
    "held_after",  # does the work at once, answers when the test lets it go
    "cut_before",  # connection closed, nothing done
    "reset",  # connection reset, nothing done
    "cut_after",  # done, then the connection is closed: a lost answer
    "status_after",  # done, then answered with `status`
    "storage_fault",  # the object storage (C1/C2: the disk) fails inside the request
    "completion_stalls",  # C4: the object is made, the session stays COMPLETING under a lease, answered 502
    "redirect",  # answered 301 to the same path under https, as a proxy's plain port does
    "shuffle_ties",  # a list of images shows rows of equal time in a random order, and is not cached
]


class FaultRule(BaseModel):
    """One rule, as a test posts it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: Operation
    kind: Kind
    times: int | Literal["forever"] = 1
    skip: int = Field(default=0, ge=0, description="this many matching requests pass first")
    match: str | None = Field(default=None, description="part of the file name, patient id or patient name")
    status: int = 503
    retry_after: str | int | None = None
    body: Any = None
    seconds: float = 1.0
    fraction: float = 0.7
    seed: int = 0


@dataclass
class ActiveRule:
    """A rule and how far it has got."""

    rule: FaultRule
    seen: int = 0
    fired: int = 0
    dice: random.Random = field(default_factory=random.Random)

    @property
    def exhausted(self) -> bool:
        return self.rule.times != "forever" and self.fired >= self.rule.times

    def matches(self, operation: str, subject: str) -> bool:
        rule = self.rule
        return rule.operation in (operation, "any") and (rule.match is None or rule.match in subject)

    def fires(self) -> bool:
        """Called once for each matching request."""
        if self.exhausted:
            return False
        self.seen += 1
        if self.seen <= self.rule.skip:
            return False
        if self.rule.kind == "random_401" and self.dice.random() >= self.rule.fraction:
            return False
        self.fired += 1
        return True


class FaultBook:
    """The rules in force, in the order they were posted; the first that fires has the request."""

    def __init__(self) -> None:
        self._active: list[ActiveRule] = []
        self._let_go = asyncio.Event()

    @property
    def empty(self) -> bool:
        return not self._active

    def add(self, rules: Sequence[FaultRule]) -> None:
        self._active += [ActiveRule(rule, dice=random.Random(rule.seed)) for rule in rules]

    def clear(self) -> None:
        self._active.clear()

    async def held(self) -> None:
        """Returns at the next :meth:`let_go`."""
        await self._let_go.wait()

    def let_go(self) -> None:
        """Releases what is held now."""
        held, self._let_go = self._let_go, asyncio.Event()
        held.set()

    def take(self, operation: str, subject: str, has_token: bool) -> FaultRule | None:
        for active in self._active:
            if active.rule.kind == "random_401" and not has_token:
                continue
            if active.matches(operation, subject) and active.fires():
                return active.rule
        return None

    def report(self) -> list[dict[str, Any]]:
        return [{**active.rule.model_dump(), "seen": active.seen, "fired": active.fired} for active in self._active]
