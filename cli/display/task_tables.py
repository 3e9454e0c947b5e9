"""How the end of a task is drawn: counts that add up, failures by reason with what to do, and a dry run's plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.display.progress_view import draw_progress
from cli.display.translations import RESULT_WORDS, STATUS_WORDS, Words, amount, plain, span
from cli.service_client import Json
from domain.outcome_codes import NO_PIXEL_DATA

_EXAMPLES_PER_CODE = 3
_FOLDERS_SHOWN = 10
_RESULT_STYLES = {"success": "bold green", "partial": "bold yellow", "failed": "bold red"}
_RESULT_MARKS = {"success": "✓", "partial": "!", "failed": "✗"}
_ORDINARY = frozenset({"uploaded", "uploaded_renamed", "would_upload", "would_upload_renamed", "duplicate"})


def draw_task(status: Json, stats: Json | None, words: Words) -> RenderableType:
    """All about a task. ``stats`` is None if the history is unusable."""
    parts: list[RenderableType] = [_headline(status, words)]
    if not status["completed_at"]:
        parts.append(draw_progress(status, words))
    plan = status.get("plan")
    parts.append(_plan(plan, words) if plan else _numbers(_count_rows(status, words)))
    parts.append(_equation(status, words))
    if stats is None:
        text = words("! 历史库不可用：不能按原因列出", "! The history is unusable: reasons cannot be listed")
        parts.append(Text(text, style="yellow"))
    else:
        parts += _reasons(status, stats, words)
    parts += _skipped(status, words)
    parts += [Text.assemble(("! ", "yellow"), plain(notice["message"])) for notice in status["warnings"]]
    return Group(*parts)


def _headline(status: Json, words: Words) -> Text:
    result = status["result"]
    mark = _RESULT_MARKS.get(result, "·")
    state = words.of(RESULT_WORDS, result) if result else words.of(STATUS_WORDS, status["status"])
    line = Text.assemble((f"{mark} {state}", _RESULT_STYLES.get(result, "bold")), f"  {plain(status['task_id'])}")
    if status.get("dry_run"):
        line.append(words("  试运行：没有写入 XieHe", "  dry run: nothing was written to XieHe"), style="cyan")
    line.append(f"\n  {plain(status['source_path'])}", style="dim")
    if status["result_detail"]:
        line.append(f"\n  {plain(status['result_detail'])}")
    return line


def _numbers(rows: Iterable[tuple[str, object]]) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for label, value in rows:
        table.add_row(label, str(value))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _count_rows(status: Json, words: Words) -> Iterator[tuple[str, object]]:
    progress, dry = status["progress"], bool(status.get("dry_run"))
    uploaded = words("将上传文件", "would upload") if dry else words("新上传文件", "files uploaded")
    images = words("将上传图像", "images to upload") if dry else words("上传图像（逐帧）", "images uploaded")
    yield words("扫描文件", "files scanned"), progress["total_files_scanned"]
    yield words("涉及患者", "patients found"), progress["total_patients_found"]
    yield words("  新建患者", "  created"), progress["new_patients_created"]
    yield words("  已有患者", "  existing"), progress["existing_patients_skipped"]
    yield uploaded, progress["new_images_uploaded"]
    yield words("已存在", "already there"), progress["duplicate_images_skipped"]
    yield words("失败文件", "failed"), progress["failed_files"]
    yield words("  身份不符扣留", "  held"), progress["held_files"]
    yield words("  不含图像", "  without image"), progress["no_pixel_files"]
    yield words("忽略的杂项文件", "ignored"), progress["ignored_files"]
    yield images, progress["frames_uploaded"]
    if "bytes_uploaded" in progress:
        yield words("数据量", "bytes"), amount(progress["bytes_uploaded"])
    if status["duration_seconds"] is not None:
        yield words("用时", "time"), span(status["duration_seconds"])


def _equation(status: Json, words: Words) -> Text:
    """Each scanned file has exactly one of three outcomes: the sum is shown, so that no operator has to add up."""
    progress = status["progress"]
    scanned = progress["total_files_scanned"]
    names = ("new_images_uploaded", "duplicate_images_skipped", "failed_files")
    up, double, failed = (progress[name] for name in names)
    is_right = scanned == up + double + failed
    uploaded = words("将上传", "would upload") if status.get("dry_run") else words("新上传", "uploaded")
    equation = (
        f"{words('扫描', 'scanned')} {scanned} = {uploaded} {up}"
        f" + {words('已存在', 'already there')} {double} + {words('失败', 'failed')} {failed}"
    )
    return Text(f"  {equation}  {'✓' if is_right else '✗'}", style="green" if is_right else "bold red")


def _plan(plan: Json, words: Words) -> RenderableType:
    rows = {
        words("将新建患者", "patients to create"): plan["patients_to_create"],
        words("将沿用患者", "patients to reuse"): plan["patients_to_reuse"],
        words("将上传文件", "files to upload"): plan["files_to_upload"],
        words("将上传图像（逐帧）", "images to upload"): plan["images_to_upload"],
        words("数据量", "bytes"): amount(plan["bytes_to_upload"]),
        words("已存在", "already there"): plan["duplicates"],
        words("身份待确认", "held"): plan["held"],
        words("无法读取", "unreadable"): plan["unreadable"],
        words("不含图像", "without image"): plan["no_pixel"],
        words("预计用时", "estimated time"): span(plan["estimated_seconds"]) or words("未知", "unknown"),
    }
    return Group(_numbers(rows.items()), _indented(plain(plan["estimate_basis"]), 2, "dim"))


def _reasons(status: Json, stats: Json, words: Words) -> Iterator[RenderableType]:
    """Failures by code, then other outcomes that need a look."""
    shown = [row for row in stats["by_code"] if row["outcome"] == "failed" or row["code"] not in _ORDINARY]
    for row in sorted(shown, key=lambda row: (row["outcome"] != "failed", -row["files"])):
        style = "bold red" if row["outcome"] == "failed" and row["code"] != NO_PIXEL_DATA else "bold yellow"
        yield Text.assemble((plain(row["code"]), style), f"  {row['files']} ", words("个文件", "file(s)"))
        yield _indented(f"→ {plain(row['hint'])}", 2)
        examples = [error for error in status["errors"] if error["code"] == row["code"]][:_EXAMPLES_PER_CODE]
        for error in examples:
            yield _indented(plain(error["file"]), 4)
            yield _indented(plain(error["error"]), 6, "dim")
        more = row["files"] - len(examples)
        if examples and more > 0:
            yield Text(words(f"    … 另有 {more} 个", f"    … and {more} more"), style="dim")


def _indented(text: str, columns: int, style: str = "") -> RenderableType:
    """Also if the line is folded."""
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, columns), expand=False)


def _skipped(status: Json, words: Words) -> Iterator[RenderableType]:
    folders = status["skipped_folders"]
    total = status.get("skipped_folders_total", len(folders))
    if folders:
        yield Text(words(f"没有进入的文件夹 {total} 个", f"{total} folder(s) left out"), style="bold yellow")
    for folder in folders[:_FOLDERS_SHOWN]:
        yield _indented(plain(folder["path"]), 4)
        yield _indented(f"{plain(folder['reason'])} → {plain(folder['hint'])}", 6, "dim")
    if (more := total - len(folders[:_FOLDERS_SHOWN])) > 0:
        text = words(f"    … 另有 {more} 个", f"    … and {more} more")
        yield Text(f"{text} (report --include skipped)", style="dim")
