"""The durable history in DATA_DIR: tasks, file outcomes, imported images, upload intents."""

from __future__ import annotations

from history.data_dir_lock import DataDirOwner, data_dir_owner
from history.file_pages import FilePage
from history.queries import FailedSource
from history.records import (
    FileFilter,
    IgnoredRow,
    MonthMark,
    MonthSum,
    OutcomeTally,
    RecordedFile,
    ReportLine,
    ReportRow,
    SeenSource,
    TaskBreakdown,
    TaskScope,
)
from history.store import History, examine_history

__all__ = [
    "DataDirOwner",
    "FailedSource",
    "FileFilter",
    "FilePage",
    "History",
    "IgnoredRow",
    "MonthMark",
    "MonthSum",
    "OutcomeTally",
    "RecordedFile",
    "ReportLine",
    "ReportRow",
    "SeenSource",
    "TaskBreakdown",
    "TaskScope",
    "data_dir_owner",
    "examine_history",
]
