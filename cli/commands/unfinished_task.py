"""A task that an earlier command left unfinished: is it the very one that is ordered now, and if not, what to do."""

from __future__ import annotations

import shlex
import subprocess
import sys

from cli.display.translations import Words
from cli.service.client import Json
from config import Settings
from models import display_path

_FLAGS = {
    "window_center": "--window-center",
    "window_width": "--window-width",
    "on_patient_mismatch": "--on-patient-mismatch",
    "on_demographics_mismatch": "--on-demographics-mismatch",
    "reupload_removed": "--reupload-removed",
}
"""What is told of a task, and how it is ordered; ``--run-now`` is not told: it says when, not what."""


def is_what_is_ordered(status: Json, order: Json, settings: Settings) -> bool:
    """Whether finishing that task does what the body of POST /import asks for: no less, and above all no more."""
    return (
        status["parent_id"] is None  # a retry passes over most of the files
        and status["source_path"] == _ordered_source(order, settings)
        and status["dry_run"] == order.get("dry_run", False)
        and status["options"] == _unless_told(settings) | {name: order[name] for name in _FLAGS if name in order}
    )


def words_for_another(status: Json, settings: Settings, words: Words) -> str:
    """Why nothing was begun, and the ways out; the service that says so is gone when this is read."""
    task_id, source = status["task_id"], status["source_path"]
    kind = words("试运行", "dry run") if status["dry_run"] else words("正式导入", "import")
    again = _command_for(status, settings)
    finish = words(f"可以先做完它：{again}；或者", f"Finish it first: {again}; or ") if again else ""
    cancel, resume = f"python -m cli cancel {task_id}", f"python -m cli resume {task_id}"
    return words(
        f"任务 {task_id}（{kind}，{source}）尚未做完，它的目录与这次的相同或重叠，但目录、选项或试运行与否不同，"
        f"因此什么也没有做。{finish}先启动服务（python main.py，设 AUTO_RESUME=false 则它不会自动继续），"
        f"再放弃它：{cancel}（要继续则用 {resume}），然后重新运行本命令",
        f"Task {task_id} ({kind}, {source}) is unfinished; its folder is this one or overlaps it, but folder, options "
        f"or dry run differ, so nothing was done. {finish}start the service (python main.py; with AUTO_RESUME=false "
        f"the task waits) and give it up: {cancel} (or go on with it: {resume}); then run this command again",
    )


def _ordered_source(order: Json, settings: Settings) -> str:
    """As the status tells it; an order without a path means the only root."""
    return display_path(order.get("source_path") or settings.dicom_source_path[0])


def _unless_told(settings: Settings) -> Json:
    """What the service fills an order's gaps with."""
    return {
        "window_center": None,
        "window_width": None,
        "on_patient_mismatch": settings.on_patient_mismatch.value,
        "on_demographics_mismatch": settings.on_demographics_mismatch.value,
        "reupload_removed": False,
    }


def _command_for(status: Json, settings: Settings) -> str | None:
    """The command that goes on with it; a retry has none."""
    if status["parent_id"] is not None:
        return None
    command = ["python", "-m", "cli", "import", status["source_path"]]
    if status["dry_run"]:
        command.append("--dry-run")
    usual = _unless_told(settings)
    for name, value in status["options"].items():
        if value != usual[name]:
            command += [_FLAGS[name]] if value is True else [_FLAGS[name], str(value)]
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)
