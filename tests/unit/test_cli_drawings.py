"""What people see: counts that add up, failures by reason, and nothing that steers the terminal, in 80 columns."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cli.display.list_tables import draw_findings, draw_months, draw_tasks, draw_verification
from cli.display.progress_view import ProgressLines, draw_progress, task_view, verify_view
from cli.display.task_tables import draw_task
from cli.display.translations import Language, Words

ZH, EN = Words(Language.ZH), Words(Language.EN)
HOSTILE = "/d/[bold red]\x1b[31m\x07/\u202egpj.dcm"


def shown(drawing: RenderableType, width: int = 80, *, terminal: bool = False) -> str:
    screen = Console(
        file=io.StringIO(), width=width, markup=False, highlight=False, force_terminal=terminal, color_system=None
    )
    with screen.capture() as captured:
        screen.print(drawing)
    return captured.get()


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def a_status(**changes: Any) -> dict[str, Any]:
    progress = {
        "total_files_scanned": 10, "total_patients_found": 3, "new_patients_created": 1,
        "existing_patients_skipped": 2, "new_images_uploaded": 6, "duplicate_images_skipped": 1, "failed_files": 3,
        "held_files": 1, "no_pixel_files": 0, "ignored_files": 4, "frames_uploaded": 8, "bytes_uploaded": 1_234_567,
        "files_found": 20, "total_is_final": True, "percent": 50.0, "files_per_second": 2.5, "eta_seconds": 61,
    }  # fmt: skip
    status: dict[str, Any] = {
        "task_id": "dicom-import-20260101-090909-bbbb2222", "seq": 3, "status": "running", "source_path": "/d",
        "duration_seconds": None, "progress": progress | changes.pop("progress", {}), "result": None,
        "completed_at": None, "started_at": None, "created_at": "2026-01-01T09:09:09Z",
        "result_detail": None, "pause_reason": None, "dry_run": False, "plan": None, "errors": [], "warnings": [],
        "skipped_folders": [],
    }  # fmt: skip
    return status | changes


def a_failure(**changes: Any) -> dict[str, Any]:
    return {"file": "/d/1.dcm", "code": "not_dicom", "error": "不是 DICOM", "hint": "重新导出"} | changes


def test_a_running_task_shows_bar_share_rate_and_remaining_time() -> None:
    text = shown(draw_progress(a_status(), ZH), terminal=True)
    assert "━" in text
    assert "50.0% 10/20 2.5/s 剩余 1:01" in text
    assert "新上传 6  已存在 1  失败 3  扣留 1  患者 3  1.2 MB" in text
    assert all(columns(line) <= 80 for line in text.splitlines())


def test_a_file_or_a_pipe_gets_the_numbers_and_no_bar() -> None:
    text = shown(draw_progress(a_status(), ZH), width=1000)
    assert "━" not in text
    assert "进行中 50.0% 10/20 2.5/s 剩余 1:01" in text
    assert all(columns(line.rstrip()) < 80 for line in text.splitlines())


def test_no_percentage_before_the_total_is_final() -> None:
    progress = {"total_is_final": False, "percent": None, "eta_seconds": None, "files_per_second": None}
    text = shown(draw_progress(a_status(progress=progress), ZH))
    assert "%" not in text
    assert "10/20+" in text
    assert "剩余" not in text


def test_a_pause_tells_its_reason() -> None:
    paused = a_status(
        status="paused", pause_reason="disk_full", warnings=[{"code": "disk_full", "message": "OUTPUT_DIR 已满"}]
    )
    assert "暂停原因：磁盘已满（OUTPUT_DIR 已满）" in shown(draw_progress(paused, ZH))
    assert "paused: disk full" in shown(draw_progress(paused, EN))


def test_counts_that_do_not_add_up_are_not_called_right() -> None:
    stats: dict[str, Any] = {"by_code": []}
    assert "扫描 10 = 新上传 6 + 已存在 1 + 失败 3  ✓" in shown(draw_task(a_status(), stats, ZH))
    torn = a_status(progress={"failed_files": 2})
    assert "扫描 10 = 新上传 6 + 已存在 1 + 失败 2  ✗" in shown(draw_task(torn, stats, ZH))


def test_failures_stand_by_reason_with_what_to_do_and_some_examples() -> None:
    stats = {
        "by_code": [
            {"outcome": "uploaded", "code": "uploaded", "files": 6, "hint": "无需处理。"},
            {"outcome": "failed", "code": "empty_file", "files": 1, "hint": "从设备导出"},
            {"outcome": "failed", "code": "not_dicom", "files": 5, "hint": "重新导出"},
            {"outcome": "duplicate", "code": "removed_in_xiehe", "files": 2, "hint": "已看不到"},
        ]
    }
    ended = a_status(status="completed", errors=[a_failure(file=f"/d/{n}.dcm") for n in range(5)], result="partial")
    text = shown(draw_task(ended, stats, ZH))
    places = [text.index(code) for code in ("not_dicom  5", "empty_file  1", "removed_in_xiehe  2")]
    assert places == sorted(places)
    assert text.count("不是 DICOM") == 3
    assert "另有 2 个" in text
    assert "无需处理" not in text


@pytest.mark.parametrize("words", [ZH, EN])
def test_names_from_the_disk_are_shown_and_do_nothing(words: Words) -> None:
    stats = {"by_code": [{"outcome": "failed", "code": "not_dicom", "files": 1, "hint": "h"}]}
    folder = {"path": HOSTILE, "reason": HOSTILE, "hint": HOSTILE}
    notice = {"code": "x", "message": HOSTILE}
    hostile = a_status(
        status="completed", completed_at="2026-01-01T09:09:09Z", source_path=HOSTILE, result_detail=HOSTILE,
        errors=[a_failure(file=HOSTILE, error=HOSTILE)], skipped_folders=[folder], warnings=[notice],
    )  # fmt: skip
    text = shown(draw_task(hostile, stats, words)) + shown(draw_tasks({"total": 1, "tasks": [hostile]}, words))
    assert "[bold red]" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_plan_takes_the_place_of_the_counts() -> None:
    plan = {
        "patients_to_create": 4, "patients_to_reuse": 5, "files_to_upload": 6, "images_to_upload": 7, "duplicates": 1,
        "held": 1, "unreadable": 2, "no_pixel": 0, "bytes_to_upload": 8_000_000, "estimated_seconds": None,
        "estimate_basis": "还没有可参考的导入",
    }  # fmt: skip
    text = shown(draw_task(a_status(status="completed", dry_run=True, plan=plan), {"by_code": []}, ZH))
    assert "试运行：没有写入 XieHe" in text
    assert "8.0 MB" in text
    assert "未知" in text
    assert "扫描 10 = 将上传 6 + 已存在 1 + 失败 3  ✓" in text


def test_lists_say_when_they_are_empty() -> None:
    assert "还没有任何任务" in shown(draw_tasks({"total": 0, "tasks": []}, ZH))
    assert "No months found" in shown(draw_months({"months": []}, EN))


def test_tasks_fit_into_80_columns_and_tell_of_older_ones() -> None:
    source = "/data/dicom/with/a/rather/long/path/to/the/month/2024-01"
    tasks = [a_status(source_path=source, result="partial", dry_run=True), a_status()]
    text = shown(draw_tasks({"total": 30, "tasks": tasks}, ZH))
    assert all(columns(line) <= 80 for line in text.splitlines())
    assert "bbbb2222" in text
    assert re.search(r"（试运行） +…\S*/2024-01 +6 ", text)
    assert len(text.splitlines()) == 1 + len(tasks) + 1
    assert "另有 28 个较早的任务" in text


def test_months_show_their_state_and_numbers() -> None:
    month = {
        "month": "2024-01", "state": "partial", "files": 9, "imported": 7, "failed": 2, "held": 1, "no_pixel": 0,
        "last_imported_at": None,
    }  # fmt: skip
    text = shown(draw_months({"months": [month, month | {"month": None}]}, ZH))
    assert re.search(r"2024-01 +部分完成 +9 +7 +2 +1 +0", text)
    assert "（无月份）" in text


def test_a_verification_names_what_is_amiss() -> None:
    state = {
        "task_id": "t", "status": "completed", "images_total": 30, "images_checked": 30, "ok": 5, "ok_present": 3,
        "missing": 22, "differs": 0, "detail": None,
    }  # fmt: skip
    row = {"result": "missing", "patient_id": "P001", "upload_filename": "1.jpg", "source_path": HOSTILE, "detail": "x"}
    text = shown(draw_verification(state, [row] * 22, ZH))
    assert text.count("缺失  P001/1.jpg") == 20
    assert "另有 2 个" in text
    assert "\x07" not in text
    assert "核对 30/30  缺失 22  不一致 0" in verify_view(ZH).line(state)


def test_a_verification_of_nothing_is_not_called_right() -> None:
    state = dict.fromkeys(("images_total", "images_checked", "ok", "ok_present", "missing", "differs"), 0)
    assert shown(draw_verification(state | {"status": "completed"}, [], ZH)).strip() == "没有可核对的影像。"


def test_the_doctor_has_the_last_word() -> None:
    finding = {"name": "x", "title": "端口", "verdict": "no_go", "detail": "被占用", "cure": "换一个"}
    assert "不能导入" in shown(draw_findings([finding], go=False, words=ZH))
    assert "→ 换一个" in shown(draw_findings([finding], go=False, words=ZH))
    assert "Go." in shown(draw_findings([], go=True, words=EN))


def test_a_file_gets_a_line_per_change_of_state_and_not_per_change() -> None:
    written: list[str] = []
    lines = ProgressLines(task_view(ZH), written.append)
    for _ in range(50):
        lines.show(a_status())
    lines.show(a_status(status="paused", pause_reason="user"))
    assert len(written) == 2
    assert "由操作员暂停" in written[1]
