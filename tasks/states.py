"""A task's state machine: legal transitions, and the operations that a state allows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from errors import TaskTransitionError
from models import TaskStatus


class Operation(StrEnum):
    """What an operator may do with a task."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


LEGAL_OPERATIONS: Mapping[TaskStatus, tuple[Operation, ...]] = {
    TaskStatus.PENDING: (Operation.PAUSE, Operation.CANCEL),
    TaskStatus.RUNNING: (Operation.PAUSE, Operation.CANCEL),
    TaskStatus.PAUSED: (Operation.RESUME, Operation.CANCEL),
    TaskStatus.INTERRUPTED: (Operation.RESUME, Operation.CANCEL),
    TaskStatus.COMPLETED: (Operation.RETRY,),
    TaskStatus.FAILED: (Operation.RETRY,),
    TaskStatus.CANCELLED: (Operation.RETRY,),
}

_STOPPED = (TaskStatus.CANCELLED, TaskStatus.INTERRUPTED, TaskStatus.FAILED)
TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED, *_STOPPED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.PAUSED, TaskStatus.COMPLETED, *_STOPPED}),
    TaskStatus.PAUSED: frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, *_STOPPED}),
    TaskStatus.INTERRUPTED: frozenset(
        {TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.FAILED}
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}
"""A task that has ended never moves again; a retry is another task."""

_OPERATION_WORDS = {
    Operation.PAUSE: "暂停",
    Operation.RESUME: "继续",
    Operation.CANCEL: "取消",
    Operation.RETRY: "重试",
}
_STATUS_WORDS = {
    TaskStatus.PENDING: "等待中",
    TaskStatus.RUNNING: "运行中",
    TaskStatus.PAUSED: "已暂停",
    TaskStatus.COMPLETED: "已完成",
    TaskStatus.FAILED: "失败",
    TaskStatus.CANCELLED: "已取消",
    TaskStatus.INTERRUPTED: "已中断",
}


def check_operation(task_id: str, status: TaskStatus, operation: Operation) -> None:
    """Raises TaskTransitionError, which names the legal operations, if the state does not allow this one."""
    legal = LEGAL_OPERATIONS[status]
    if operation not in legal:
        named = "、".join(f"{_OPERATION_WORDS[each]}（{each}）" for each in legal)
        refused = f"任务 {task_id} 的状态是{_STATUS_WORDS[status]}（{status}），不能{_OPERATION_WORDS[operation]}。"
        raise TaskTransitionError(f"{refused}可以：{named}。", tuple(legal))


def check_transition(task_id: str, status: TaskStatus, to: TaskStatus) -> None:
    """Raises TaskTransitionError if no task moves from ``status`` to ``to``."""
    if to not in TRANSITIONS[status]:
        raise TaskTransitionError(f"任务 {task_id} 不能从{_STATUS_WORDS[status]}变为{_STATUS_WORDS[to]}。")
