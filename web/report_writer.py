"""The report as a stream: ndjson, one JSON array, or CSV that a spreadsheet may open without harm."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from enum import StrEnum

from pydantic import BaseModel

from web.api_models import ReportRow

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_BATCH_BYTES = 64 * 1024


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


async def write_report(
    rows: AsyncIterator[BaseModel], form: ReportFormat, table: type[BaseModel] = ReportRow
) -> AsyncIterator[bytes]:
    """The rows in the wanted form, in pieces of some tens of kilobytes; CSV has the columns of ``table``."""
    writers = {ReportFormat.NDJSON: _ndjson, ReportFormat.JSON: _json}
    pieces: list[str] = []
    size = 0
    async for piece in _csv(rows, list(table.model_fields)) if form is ReportFormat.CSV else writers[form](rows):
        pieces.append(piece)
        size += len(piece)
        if size >= _BATCH_BYTES:
            yield "".join(pieces).encode()
            pieces, size = [], 0
    yield "".join(pieces).encode()


async def _ndjson(rows: AsyncIterator[BaseModel]) -> AsyncIterator[str]:
    async for row in rows:
        yield row.model_dump_json() + "\n"


async def _json(rows: AsyncIterator[BaseModel]) -> AsyncIterator[str]:
    opening = "["
    async for row in rows:
        yield opening + row.model_dump_json()
        opening = ",\n"
    yield "]\n" if opening != "[" else "[]\n"


async def _csv(rows: AsyncIterator[BaseModel], columns: list[str]) -> AsyncIterator[str]:
    yield "\ufeff"  # without it, Excel takes UTF-8 for the local code page
    yield _line(columns)
    async for row in rows:
        values = row.model_dump(mode="json")
        yield _line([_cell(values.get(column)) for column in columns])


def _cell(value: object) -> str:
    """A cell's text; what a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection)."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = "；".join(f"{item['code']}: {item['message']}" for item in value)
    if isinstance(value, bool | int | float):
        return str(value)
    text = str(value)
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
