"""``report``: each file's outcome, filtered here, to standard output or to a file that is complete or not there."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode
from cli.commands.task_lookup import full_task_id
from cli.display.translations import plain
from cli.service_client import ServiceClient
from errors import ConfigurationError, ServiceRefusedError

_LAST_ROW_BYTES = 64 * 1024
"""More than the row that says why a report broke off."""


class ExtraRows(StrEnum):
    """What a report may hold beside the scanned files."""

    IGNORED = "ignored"
    SKIPPED = "skipped"


class ReportForm(StrEnum):
    """As the service writes it."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """Options of ``report``; empty filters let every row through."""

    form: Annotated[ReportForm, typer.Option("--format", help="格式 · form")] = ReportForm.CSV
    output: Annotated[Path | None, typer.Option("--output", "-o", help="写入文件 · to a file", show_default=False)] = (
        None
    )
    include: Annotated[
        list[ExtraRows] | None,
        typer.Option(
            "--include",
            help="加上被忽略的文件或没有进入的文件夹，可重复 · ignored files or folders left out, too",
            show_default=False,
        ),
    ] = None
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", help="只要这些结果，可重复 · only these outcomes", show_default=False),
    ] = None
    code: Annotated[
        list[str] | None, typer.Option("--code", help="只要这些代码，可重复 · only these codes", show_default=False)
    ] = None

    @property
    def filters(self) -> bool:
        return bool(self.outcome or self.code)

    def keeps(self, outcome: str, code: str) -> bool:
        return (not self.outcome or outcome in self.outcome) and (not self.code or code in self.code)


def write_report(context: CommandContext, task: str, request: ReportRequest) -> ExitCode:
    """Raises ConfigurationError if the file cannot be written, ServiceRefusedError if the report breaks off."""
    with context.service() as service:
        pieces = _pieces(service, full_task_id(service, task), request)
        if request.output is None:
            for piece in for_terminal(pieces) if sys.stdout.isatty() else pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            write_file(request.output, pieces)
            text = context.words(f"已写入 {request.output}", f"written to {request.output}")
            context.screen.notice("report_written", text)
    return ExitCode.ALL_IN


def for_terminal(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines for a terminal, which names of files must not control. A file or a pipe gets every byte as it is."""
    return (plain(line.rstrip("\r\n")).encode() + b"\n" for line in _lines(pieces))


def _pieces(service: ServiceClient, task_id: str, request: ReportRequest) -> Iterator[bytes]:
    filtered_json = request.filters and request.form is ReportForm.JSON
    form = ReportForm.NDJSON if filtered_json else request.form
    query = {"format": [form.value], "include": [rows.value for rows in request.include or ()]}
    with service.stream(f"/import/{task_id}/report", query) as pieces:
        checked = complete(pieces, form)
        yield from filtered(checked, request) if request.filters else checked


def complete(pieces: Iterable[bytes], form: ReportForm) -> Iterator[bytes]:
    """The pieces as they are. Raises ServiceRefusedError after them if the last row says that the report broke off."""
    head = tail = b""
    for piece in pieces:
        if b"\n" not in head:
            head += piece
        tail = (tail + piece)[-_LAST_ROW_BYTES:]
        yield piece
    last_row = tail.rstrip().rpartition(b"\n")[2].decode(errors="replace")
    row = _csv_row(head.decode("utf-8-sig", "replace"), last_row) if form is ReportForm.CSV else _json_row(last_row)
    if row.get("outcome") == "broken_off":
        raise ServiceRefusedError(f"报告在途中断，不完整：{row.get('detail')}", str(row.get("code")))


def _csv_row(head: str, line: str) -> dict[str, str]:
    names, cells = next(csv.reader([head.partition("\n")[0]]), []), next(csv.reader([line]), [])
    return dict(zip(names, cells, strict=False))  # the last line of a row with line breaks has fewer cells


def _json_row(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError:  # an empty report, or the end of an array
        return {}
    return row if isinstance(row, dict) else {}


def filtered(pieces: Iterable[bytes], request: ReportRequest) -> Iterator[bytes]:
    """The rows that the filters keep. For JSON, the pieces are ndjson and the result is an array."""
    lines = _lines(pieces)
    if request.form is ReportForm.CSV:
        return _csv_rows(lines, request)
    rows = ((line, json.loads(line)) for line in lines if line.strip())
    kept = (line for line, row in rows if request.keeps(row["outcome"], row["code"]))
    return (line.encode() for line in kept) if request.form is ReportForm.NDJSON else _array(kept)


def _array(lines: Iterator[str]) -> Iterator[bytes]:
    opening = "["
    for line in lines:
        yield (opening + line.rstrip("\n")).encode()
        opening = ",\n"
    yield b"]\n" if opening != "[" else b"[]\n"


def _csv_rows(lines: Iterator[str], request: ReportRequest) -> Iterator[bytes]:
    rows = csv.reader(lines)
    head = next(rows)
    names = [name.lstrip("\ufeff") for name in head]
    outcome, code = names.index("outcome"), names.index("code")
    yield _csv_line(head)
    for row in rows:
        if request.keeps(row[outcome], row[code]):
            yield _csv_line(row)


def _csv_line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines with their ends, wherever the pieces are cut."""
    rest = ""
    for text in codecs.iterdecode(pieces, "utf-8"):
        *ended, rest = (rest + text).split("\n")
        yield from (line + "\n" for line in ended)
    if rest:
        yield rest


def write_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Replaces the file after the last piece. After an error, the earlier file stays.

    Raises:
        ConfigurationError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".partial")
    try:
        try:
            with unfinished.open("wb") as file:
                file.writelines(pieces)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"无法写入 {path}（{error.strerror}）") from error
