"""What a walk remembers: what the history knows of one folder, and what is under way of one patient folder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self

from history import SeenSource
from importing.files.unchanged_files import KnownFile
from importing.runs.run_context import RunContext
from models import SourceFile


@dataclass
class FolderCache:
    """Read once per folder, in the order of the walk.

    Attributes:
        path: the folder.
        recorded: paths that this task has recorded before it was interrupted.
        seen: what earlier tasks know of its files.
        known: unchanged files that wait to be skipped together.
    """

    path: str = ""
    recorded: frozenset[str] = frozenset()
    seen: dict[str, SeenSource] = field(default_factory=dict)
    known: list[KnownFile] = field(default_factory=list)

    @classmethod
    async def read(cls, context: RunContext, path: str, *, resumed: bool) -> Self:
        """Reads it from the history. Raises HistoryError."""
        history = context.tools.history
        recorded = await history.recorded_paths(context.task.task_id, path) if resumed else set[str]()
        return cls(path, frozenset(recorded), await history.seen_sources(context.tools.backend_url, path))


@dataclass
class PatientBatch:
    """One patient folder in the walk. Its plain pictures wait until its DICOM files are done.

    A plain picture has no sex or birth date, so it must not create the patient if a DICOM file can.

    Attributes:
        folder: month and name of the folder.
        under_way: its DICOM files.
        plain: its plain pictures, in order.
    """

    folder: tuple[str, str] = ("", "")
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    plain: list[SourceFile] = field(default_factory=list)

    def note(self, job: asyncio.Task[None]) -> None:
        """Notes that a DICOM file of the folder has begun."""
        self.under_way.add(job)
        job.add_done_callback(self.under_way.discard)
