"""The frozen values that the history stores and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from models import FileOutcome, FileWarning, IgnoredFile, OutcomeKind


@dataclass(frozen=True, slots=True)
class TaskScope:
    """The part of the month board in which a task's outcomes count.

    Attributes:
        backend_url: BACKEND_URL of the XieHe that the task imports into.
        root_path: the folder that holds the month folders.
        whole_months: the task walks whole months (no retry, no single patient's folder).
    """

    backend_url: str
    root_path: str
    whole_months: bool = False


@dataclass(frozen=True, slots=True)
class MonthSum:
    """Files of a root's month (None: in no month) whose latest outcome is this one."""

    root_path: str
    month: str | None
    kind: OutcomeKind
    code: str
    held: bool
    files: int


@dataclass(frozen=True, slots=True)
class MonthMark:
    """What tasks did to a root's month.

    Attributes:
        last_task_id: the last task with an outcome in it; None if that task was pruned.
        last_imported_at: when the last file was uploaded or found to be a duplicate.
        walked_whole: a task has gone through the whole month.
    """

    root_path: str
    month: str | None
    last_task_id: str | None
    last_imported_at: datetime | None
    walked_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSource:
    """A source file that was uploaded or a duplicate. A re-import skips it while its size and time do not change.

    Key: backend_url, source_path.
    """

    backend_url: str
    source_path: str
    size_bytes: int
    mtime_ns: int
    patient_dir: str
    patient_id: str
    header_patient_id: str | None
    instance: str
    sop_instance_uid: str | None
    name_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One scanned file of a task; ``number`` is 1, 2, 3 ... in the order of recording. Its paths are display text."""

    number: int
    outcome: FileOutcome


ReportValue = str | int | float | tuple[FileWarning, ...] | None
ReportLine = tuple[ReportValue, ...]
"""One scanned file of a task in plain values, in the order of ``REPORT_COLUMNS`` without the hint.

The path is display text; a time is UTC in whole seconds, ``YYYY-MM-DDThh:mm:ssZ``.
"""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A report row, and the file's path as it was recorded, maybe with surrogates. The row's path is display text."""

    row: ReportRow
    path: str


@dataclass(frozen=True, slots=True)
class FileFilter:
    """A filter of a task's files. None allows any; the month ``""`` means files in no month."""

    kind: OutcomeKind | None = None
    code: str | None = None
    month: str | None = None


@dataclass(frozen=True, slots=True)
class IgnoredRow:
    """One ignored file of a task; ``number`` grows in the order of recording. Its path is display text."""

    number: int
    file: IgnoredFile


@dataclass(frozen=True, slots=True)
class OutcomeTally:
    """How many files of one month (None for none) ended in one way."""

    month: str | None
    kind: OutcomeKind
    code: str
    files: int


@dataclass(frozen=True, slots=True)
class TaskBreakdown:
    """Where a task's files and time went: by month, outcome and code, and seconds by stage."""

    tallies: tuple[OutcomeTally, ...] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
