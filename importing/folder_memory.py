"""What the history knows of the files lying directly in one folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from importing.known_files import KnownFile
from importing.run_context import RunContext
from models import SeenSource


@dataclass
class FolderMemory:
    """Read once per folder, in the order of the walk.

    Attributes:
        path: the folder.
        recorded: paths that this task has recorded before it was interrupted.
        seen: what earlier tasks know of its files.
        known: unchanged files that wait to be passed together.
    """

    path: str = ""
    recorded: frozenset[str] = frozenset()
    seen: dict[str, SeenSource] = field(default_factory=dict)
    known: list[KnownFile] = field(default_factory=list)

    @classmethod
    async def read(cls, context: RunContext, path: str, *, resumed: bool) -> Self:
        """Asks the history. Raises HistoryError."""
        history = context.tools.history
        recorded = await history.recorded_paths(context.task.task_id, path) if resumed else set[str]()
        return cls(path, frozenset(recorded), await history.seen_sources(context.tools.backend_url, path))
