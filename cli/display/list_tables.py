"""How lists are drawn: tasks, months, the result of a verification, the doctor's findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cli.display.translations import MONTH_WORDS, RESULT_WORDS, STATUS_WORDS, Words, plain
from cli.service_client import Json

_ROWS_SHOWN = 20
_PATH_COLUMNS = 12
"""At least, also in a narrow terminal."""
_ID_COLUMNS = 8
"""Of the random digits at the end of a task's id; they are enough to find the task by."""
_STATE_STYLES = {
    "success": "green", "done": "green", "running": "cyan", "partial": "yellow", "paused": "yellow",
    "interrupted": "yellow", "waiting": "yellow", "failed": "red",
}  # fmt: skip


def draw_tasks(answer: Json, words: Words) -> RenderableType:
    """``GET /import/tasks``; only the end of each id."""
    if not answer["tasks"]:
        return Text(words("还没有任何任务。", "There are no tasks yet."))
    table = _table(
        (words("编号", "id"), words("开始", "started"), words("状态", "status"), words("来源", "source")),
        (words("上传", "up"), words("已存在", "there"), words("失败", "failed")),
    )
    for task in answer["tasks"]:
        state = task["result"] or task["status"]
        state_words = words.of(RESULT_WORDS if task["result"] else STATUS_WORDS, state)
        if task.get("dry_run"):
            state_words += words("（试运行）", " (dry run)")
        counts = ("new_images_uploaded", "duplicate_images_skipped", "failed_files")
        table.add_row(
            plain(task["task_id"])[-_ID_COLUMNS:],
            _local(task["started_at"] or task["created_at"]),
            Text(state_words, style=_STATE_STYLES.get(state, "")),
            _PathEnd(plain(task["source_path"])),
            *(str(task["progress"][name]) for name in counts),
        )
    more = answer["total"] - len(answer["tasks"])
    rest = [Text(words(f"… 另有 {more} 个较早的任务（--limit）", f"… and {more} older ones (--limit)"), style="dim")]
    return Group(table, *(rest if more > 0 else []))


def draw_months(answer: Json, words: Words) -> RenderableType:
    """``GET /months``."""
    if not answer["months"]:
        return Text(words("没有找到任何月份。", "No months found."))
    table = _table(
        (words("月份", "month"), words("状态", "state")),
        (
            words("文件", "files"),
            words("已导入", "imported"),
            words("失败", "failed"),
            words("扣留", "held"),
            words("不含图像", "no image"),
        ),
    )
    table.add_column(words("最近一次", "last import"), no_wrap=True)
    for month in answer["months"]:
        state = Text(words.of(MONTH_WORDS, month["state"]), style=_STATE_STYLES.get(month["state"], ""))
        numbers = (str(month[name]) for name in ("files", "imported", "failed", "held", "no_pixel"))
        last = _local(month["last_imported_at"]) if month["last_imported_at"] else ""
        table.add_row(plain(month["month"] or words("（无月份）", "(none)")), state, *numbers, last)
    return table


def draw_verification(state: Json, bad: Sequence[Json], words: Words) -> RenderableType:
    """``GET /verify``, and the rows of its report that need attention."""
    if state["status"] == "completed" and not state["images_total"]:
        return Text(words("没有可核对的影像。", "There are no images to verify."))
    labels = {
        "ok": words("内容一致", "content equal"),
        "ok_present": words("存在（内容无法比较）", "there (content not comparable)"),
        "missing": words("缺失", "missing"),
        "differs": words("不一致", "differs"),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_row(words("已核对图像", "images checked"), f"{state['images_checked']}/{state['images_total']}")
    for name, label in labels.items():
        alarming = name in ("missing", "differs") and state[name]
        table.add_row(label, Text(str(state[name]), style="bold red" if alarming else ""))
    parts: list[RenderableType] = [table]
    for row in bad[:_ROWS_SHOWN]:
        where = f"{plain(row['patient_id'])}/{plain(row['upload_filename'])}"
        parts.append(Text(f"  {labels.get(row['result'], row['result'])}  {where}  {plain(row['source_path'])}"))
        parts.append(Text(f"      {plain(row['detail'])}", style="dim"))
    if len(bad) > _ROWS_SHOWN:
        more = len(bad) - _ROWS_SHOWN
        parts.append(
            Text(words(f"  … 另有 {more} 个（--json 列出全部）", f"  … and {more} more (see --json)"), style="dim")
        )
    if state["detail"]:
        parts.append(Text(plain(state["detail"]), style="yellow"))
    return Group(*parts)


def draw_findings(findings: Sequence[Json], *, go: bool, words: Words) -> RenderableType:
    """The doctor's table, and what follows from it."""
    marks = {"go": Text("✓", style="green"), "warning": Text("!", style="yellow"), "no_go": Text("✗", style="bold red")}
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(plain(finding["detail"]))
        if finding["cure"]:
            text.append(f"\n→ {plain(finding['cure'])}", style="yellow")
        table.add_row(marks[finding["verdict"]], finding["title"], text)
    return Group(table, _conclusion(findings, go=go, words=words))


def _conclusion(findings: Sequence[Json], *, go: bool, words: Words) -> Text:
    if not go:
        return Text(words("不能导入：请先处理上面标 ✗ 的各项。", "No go: see the lines marked ✗."), style="bold red")
    if any(finding["name"] == "backend" and finding["verdict"] != "go" for finding in findings):
        text = words("本机就绪；XieHe 要等服务启动后检查。", "This machine is ready; start the service to check XieHe.")
        return Text(text, style="bold yellow")
    return Text(words("可以导入。", "Go."), style="bold green")


@dataclass(frozen=True, slots=True)
class _PathEnd:
    """A path in one line. Its end stays if it is too long: month and patient are there."""

    path: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        wanted = min(cell_len(self.path), options.max_width)
        return Measurement(min(_PATH_COLUMNS, wanted), wanted)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.path
        if cell_len(shown) > options.max_width:
            shown = "…" + chop_cells(shown[::-1], max(1, options.max_width - 1))[0][::-1]
        yield Text(shown, no_wrap=True, overflow="crop")


def _table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in texts:
        table.add_column(name, no_wrap=name in texts[:3])
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _local(timestamp: str) -> str:
    """``11-22 20:15`` on this machine's clock."""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%m-%d %H:%M")
