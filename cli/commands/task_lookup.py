"""Finds a task by ``latest``, or by a beginning or end of its id that fits no other task."""

from __future__ import annotations

from cli.service_client import ServiceClient
from errors import HistoryError, ServiceRefusedError, TaskNameError

LATEST = "latest"
_SHOWN = 5


def full_task_id(service: ServiceClient, given: str) -> str:
    """The task's id. If the history is unusable, ``given`` must be the full id of a task of this run.

    Raises:
        TaskNameError: there is none, or there are several.
    """
    try:
        return chosen(given, service.task_ids())
    except ServiceRefusedError as error:
        if error.problem != HistoryError.code:
            raise
        return str(service.status(given)["task_id"])


def chosen(given: str, newest_first: list[str]) -> str:
    """Raises TaskNameError."""
    if given == LATEST:
        if not newest_first:
            raise TaskNameError("还没有任何任务。")
        return newest_first[0]
    if given in newest_first:
        return given
    fitting = [task_id for task_id in newest_first if task_id.startswith(given) or task_id.endswith(given)]
    if not fitting:
        raise TaskNameError(f"没有编号为 {given} 的任务；python -m cli tasks 列出全部任务，latest 指最新的一个。")
    if len(fitting) > 1:
        names = "、".join(fitting[:_SHOWN])
        raise TaskNameError(f"有 {len(fitting)} 个任务符合 {given}，请写得更完整：{names}")
    return fitting[0]
