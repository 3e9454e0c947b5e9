"""The report as a stream: NDJSON, one JSON array, or CSV that a spreadsheet can open without harm.

Rows are plain values, in pages. A thread makes the text of a whole page, so a long report delays no other answer.
If a report cannot be read to its end, its last row is ``broken_off``, and its JSON array stays open.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json

from errors import ImportServiceError
from models import FileWarning

_log = logging.getLogger(__name__)

Cell = str | int | float | tuple[FileWarning, ...] | None
"""A value of a row."""

_FORMULA_STARTS = frozenset("=+-@＝＋－＠\t\r\n")
_HARMLESS = {int, float, bool, type(None)}
_BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel takes UTF-8 for the local code page."""


class ReportFormat(StrEnum):
    """Forms of GET /import/{id}/report."""

    NDJSON = "ndjson"
    CSV = "csv"
    JSON = "json"


MEDIA_TYPES = {
    ReportFormat.NDJSON: "application/x-ndjson",
    ReportFormat.CSV: "text/csv; charset=utf-8",
    ReportFormat.JSON: "application/json",
}


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Rows (at least one) of the same columns. They are read once, and may be made meanwhile."""

    columns: tuple[str, ...]
    rows: Iterable[Sequence[Cell]]
    broken_off: bool = False
    """The row reports that the others are missing."""


BROKEN_OFF = "broken_off"
_BROKEN_OFF_COLUMNS = ("source_path", "outcome", "result", "code", "detail", "hint")
"""Of both reports: rows of files have an ``outcome``, rows of verified images a ``result``."""
_BROKEN_OFF_HINT = "报告到此中断，不完整：请不要使用；排除原因后重新下载"


async def write_report(
    pages: AsyncIterator[ReportPage], form: ReportFormat, columns: tuple[str, ...]
) -> AsyncIterator[bytes]:
    """The rows in a form, a piece for each page; ``columns`` are those of CSV.

    Reads the first page before it returns, and raises its errors: nothing has been sent yet.
    """
    all_pages = _marked(await anext(pages, None), pages)
    if form is ReportFormat.NDJSON:
        return _ndjson(all_pages)
    return _json(all_pages) if form is ReportFormat.JSON else _csv(all_pages, columns)


async def _marked(first: ReportPage | None, others: AsyncIterator[ReportPage]) -> AsyncIterator[ReportPage]:
    """All pages; if one cannot be read, a last one with the row ``broken_off``."""
    if first is None:
        return
    yield first
    try:
        async for page in others:
            yield page
    except ImportServiceError as error:
        _log.error("report broken off: %s", error.code)
        row = (None, BROKEN_OFF, BROKEN_OFF, error.code, error.detail, _BROKEN_OFF_HINT)
        yield ReportPage(_BROKEN_OFF_COLUMNS, (row,), broken_off=True)


async def _ndjson(pages: AsyncIterator[ReportPage]) -> AsyncIterator[bytes]:
    async for page in pages:
        yield await run_in_threadpool(_joined, page, b"\n") + b"\n"


async def _json(pages: AsyncIterator[ReportPage]) -> AsyncIterator[bytes]:
    opening, closing = b"[", b"]\n"
    async for page in pages:
        yield opening
        yield await run_in_threadpool(_joined, page, b",\n")
        opening, closing = b",\n", b"\n" if page.broken_off else b"]\n"
    yield closing if opening != b"[" else b"[]\n"


def _joined(page: ReportPage, between: bytes) -> bytes:
    """The rows as JSON objects, in the spelling of the models of the other answers."""
    columns = page.columns
    return between.join([to_json(dict(zip(columns, row, strict=True)), inf_nan_mode="null") for row in page.rows])


async def _csv(pages: AsyncIterator[ReportPage], columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    yield _BYTE_ORDER_MARK.encode() + _table([columns])
    async for page in pages:
        yield await run_in_threadpool(_table, _placed(page, columns))


def _placed(page: ReportPage, columns: tuple[str, ...]) -> Iterable[Sequence[Cell]]:
    """The rows with a cell for each column; empty if the page has no such column."""
    if page.columns == columns:
        return page.rows
    rows = (dict(zip(page.columns, row, strict=True)) for row in page.rows)
    return ([row.get(column) for column in columns] for row in rows)


def _table(rows: Iterable[Sequence[Cell]]) -> bytes:
    buffer = io.StringIO()
    columns = [_safe(cells) for cells in zip(*rows, strict=True)]
    csv.writer(buffer).writerows(zip(*columns, strict=True))
    return buffer.getvalue().encode()


def _safe(cells: Sequence[Cell]) -> Sequence[Cell]:
    """A column's cells; an apostrophe precedes what a spreadsheet would run as a formula (OWASP, CSV injection).

    Works by columns, since most of them can hold no formula at all.
    """
    kinds = set(map(type, cells))
    if kinds <= _HARMLESS:
        return cells
    texts = [_text_of(cell) if isinstance(cell, tuple) else cell for cell in cells] if tuple in kinds else cells
    return ["'" + text if isinstance(text, str) and text[:1] in _FORMULA_STARTS else text for text in texts]


def _text_of(warnings: Iterable[FileWarning]) -> str:
    return "；".join([f"{warning.code}: {warning.message}" for warning in warnings])
