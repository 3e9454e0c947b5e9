"""``report``: each file's outcome, filtered here, to standard output or a file that is whole or not there."""

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

from cli.commands.command_context import CommandContext
from cli.commands.exit_codes import ExitCode
from cli.commands.task_lookup import full_task_id
from cli.display.translations import plain
from cli.service_client import ServiceClient
from errors import ConfigurationError, ServiceRefusedError

_LAST_ROW_BYTES = 64 * 1024
"""More than a row that says why a report broke off."""


class ExtraRows(StrEnum):
    """What may stand in a report beside the scanned files."""

    IGNORED = "ignored"
    SKIPPED = "skipped"


class ReportForm(StrEnum):
    """As the service writes it."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """What is wanted; empty filters let everything through."""

    form: ReportForm
    output: Path | None
    include: tuple[ExtraRows, ...]
    outcomes: tuple[str, ...]
    codes: tuple[str, ...]

    @property
    def filters(self) -> bool:
        return bool(self.outcomes or self.codes)

    def keeps(self, outcome: str, code: str) -> bool:
        return (not self.outcomes or outcome in self.outcomes) and (not self.codes or code in self.codes)


def write_report(session: CommandContext, task: str, order: ReportOrder) -> ExitCode:
    """Raises ConfigurationError if the file cannot be written, ServiceRefusedError if the report breaks off."""
    with session.service() as service:
        pieces = _pieces(service, full_task_id(service, task), order)
        if order.output is None:
            for piece in for_terminal(pieces) if sys.stdout.isatty() else pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            write_whole(order.output, pieces)
            text = session.words(f"已写入 {order.output}", f"written to {order.output}")
            session.screen.notice("report_written", text)
    return ExitCode.ALL_IN


def for_terminal(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines for a terminal: names of files must not steer it. A file or a pipe gets every byte as it is."""
    return (plain(line.rstrip("\r\n")).encode() + b"\n" for line in _lines(pieces))


def _pieces(service: ServiceClient, task_id: str, order: ReportOrder) -> Iterator[bytes]:
    filtered_json = order.filters and order.form is ReportForm.JSON
    form = ReportForm.NDJSON if filtered_json else order.form
    query = {"format": [form.value], "include": [rows.value for rows in order.include]}
    with service.stream(f"/import/{task_id}/report", query) as pieces:
        whole = complete(pieces, form)
        yield from filtered(whole, order) if order.filters else whole


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
    return dict(zip(names, cells, strict=False))  # a row with line breaks ends in fewer


def _json_row(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError:  # an empty report, or the end of an array
        return {}
    return row if isinstance(row, dict) else {}


def filtered(pieces: Iterable[bytes], order: ReportOrder) -> Iterator[bytes]:
    """The rows that are wanted; of JSON, the pieces are ndjson and the answer is an array."""
    lines = _lines(pieces)
    if order.form is ReportForm.CSV:
        return _csv_rows(lines, order)
    kept = (line for line in lines if line.strip() and order.keeps(*_kind_of(line)))
    return (line.encode() for line in kept) if order.form is ReportForm.NDJSON else _array(kept)


def _kind_of(line: str) -> tuple[str, str]:
    row = json.loads(line)
    return row["outcome"], row["code"]


def _array(lines: Iterator[str]) -> Iterator[bytes]:
    opening = "["
    for line in lines:
        yield (opening + line.rstrip("\n")).encode()
        opening = ",\n"
    yield b"]\n" if opening != "[" else b"[]\n"


def _csv_rows(lines: Iterator[str], order: ReportOrder) -> Iterator[bytes]:
    rows = csv.reader(lines)
    head = next(rows)
    names = [name.lstrip("\ufeff") for name in head]
    outcome, code = names.index("outcome"), names.index("code")
    yield _csv_line(head)
    for row in rows:
        if order.keeps(row[outcome], row[code]):
            yield _csv_line(row)


def _csv_line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines with their ends, whatever the pieces' borders."""
    rest = ""
    for text in codecs.iterdecode(pieces, "utf-8"):
        *whole, rest = (rest + text).split("\n")
        yield from (line + "\n" for line in whole)
    if rest:
        yield rest


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Replaces the file when everything has come; what was there stays where something goes wrong.

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
