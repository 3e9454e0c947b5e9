"""The result of a task whose files all have outcomes: result, detail, warnings. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from models import Counts, FileWarning, PatientMismatchPolicy, TaskRecord, TaskResult


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a task ended."""

    result: TaskResult
    detail: str
    warnings: tuple[FileWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Words:
    all_well: str
    uploaded: str


_DONE = {False: _Words("全部完成", "新上传"), True: _Words("试运行完成，没有写入 XieHe", "将上传")}
"""By whether it was a dry run."""


def judge(record: TaskRecord, counts: Counts, *, anything_fits: bool, month_example: str) -> RunResult:
    """Derives a finished run's result.

    Args:
        record: the task, with its skipped folders.
        counts: its final counts.
        anything_fits: whether the source is, or holds, a folder that fits the layout.
        month_example: the name of a month folder, for example ``2024-01``.
    """
    result = _result(record, counts, anything_fits)
    warnings = (*_nothing_fits(record, anything_fits, month_example), *_mostly_held(record, counts))
    detail = _detail(counts, result, warnings, _DONE[record.options.dry_run])
    return RunResult(result, detail, warnings)


def _result(record: TaskRecord, counts: Counts, anything_fits: bool) -> TaskResult:
    failures = counts.failed_files - counts.no_pixel_files
    arrived = counts.new_images_uploaded + counts.duplicate_images_skipped
    if (failures and not arrived) or (not anything_fits and not arrived):
        return TaskResult.FAILED
    return TaskResult.PARTIAL if failures or record.skipped_folders else TaskResult.SUCCESS


def _nothing_fits(record: TaskRecord, fits: bool, example: str) -> tuple[FileWarning, ...]:
    if fits or record.parent_id is not None:
        return ()
    names = "、".join(folder.path.rstrip("/").rpartition("/")[2] for folder in record.skipped_folders[:5])
    found = f"找到的是 {names}" if names else "其中没有任何子文件夹"
    message = f"没有符合约定的目录：应为 <月份>/<患者ID>/，月份形如 {example}；{found}"
    return (FileWarning("nothing_fits", message),)


def _mostly_held(record: TaskRecord, counts: Counts) -> tuple[FileWarning, ...]:
    decided = record.options.on_patient_mismatch is not PatientMismatchPolicy.HOLD
    if decided or counts.held_files * 2 <= counts.total_files_scanned or not counts.held_files:
        return ()
    message = (
        f"{counts.total_files_scanned} 个文件中有 {counts.held_files} 个因身份不符被扣留。"
        "如确认文件头可信，用 on_patient_mismatch: trust_dicom 重试；如确认目录名可信，用 trust_folder"
    )
    return (FileWarning("most_files_held", message),)


def _detail(counts: Counts, result: TaskResult, warnings: tuple[FileWarning, ...], done: _Words) -> str:
    if any(warning.code == "nothing_fits" for warning in warnings):
        return "源目录中没有符合约定的文件夹，没有导入任何文件"
    sums = f"{done.uploaded} {counts.new_images_uploaded} 个，已存在 {counts.duplicate_images_skipped} 个"
    if result is TaskResult.SUCCESS and not counts.failed_files:
        return f"{done.all_well}：{sums}"
    without = f"（其中 {counts.no_pixel_files} 个不含图像）" if counts.no_pixel_files else ""
    return f"{sums}，失败 {counts.failed_files} 个{without}"
