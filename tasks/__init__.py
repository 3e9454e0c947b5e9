"""The live tasks: registry, states, progress."""

from __future__ import annotations

from tasks.live_task import LiveTask, TaskStart, TaskStopped
from tasks.progress import Progress
from tasks.registry import Subscription, TaskRegistry
from tasks.states import LEGAL_OPERATIONS, Operation, check_operation

__all__ = [
    "LEGAL_OPERATIONS",
    "LiveTask",
    "Operation",
    "Progress",
    "Subscription",
    "TaskRegistry",
    "TaskStart",
    "TaskStopped",
    "check_operation",
]
