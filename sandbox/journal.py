"""What was asked of the sandbox, for tests about spacing, overlap and the number of calls."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 200_000


@dataclass
class Entry:
    """One request; `finished` and `status` are None while it runs or when its connection was cut."""

    operation: str
    method: str
    path: str
    time: float = field(default_factory=time.time)
    finished: float | None = None
    status: int | None = None
    filename: str | None = None
    patient_id: str | None = None
    fault: str | None = None


class Journal:
    """In memory: a restart begins a new one."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._counts: Counter[str] = Counter()

    def open(self, operation: str, method: str, path: str) -> Entry:
        entry = Entry(operation, method, path)
        self._entries.append(entry)
        self._counts[operation] += 1
        return entry

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    def entries(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self._entries]

    def clear(self) -> None:
        self._entries.clear()
        self._counts.clear()
