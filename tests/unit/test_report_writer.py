"""The streamed report: what the models of the single answers say, row by row, and no formula for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from domain.outcome_codes import ignored_words
from history import FileFilter, History, IgnoredRow
from models import FileOutcome, FileWarning, IgnoredFile, OutcomeKind, WindowSource, display_path
from tests.unit.test_history import a_failure, a_task, an_outcome
from web.api import schemas as api
from web.api import serializers
from web.api.report_writer import Cell, ReportFormat, ReportPage, write_report

COLUMNS = tuple(api.ReportEntry.model_fields)
FILE_WINDOW = WindowSource.FILE
OUTCOMES = (
    an_outcome("/srv/2024-01/P1/IM1.dcm"),
    an_outcome(
        "/srv/影像/王小东/图 1.dcm",
        patient_id="住院号１",
        sop_instance_uid="1.2.3",
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="CT",
        charset_source="gb18030",
        exam_type="正位X光片",
        exam_rule="ct",
        upload_filename="图 1.jpg",
        jpg_path="/out/图 1.jpg",
        image_file_id=2**53 + 1,
        window_center=-600.0,
        window_width=1500.5,
        window_source=FILE_WINDOW,
        frames_total=3,
        frames_uploaded=2,
        bytes_uploaded=123456789012,
        warnings=(FileWarning("a", '逗号, “引号" 和\n换行'), FileWarning("=b", "第二")),
    ),
    a_failure("/srv/\udcff\udcb2/\udcff.dcm", held=True, detail='=HYPERLINK("http://x")', patient_id="+86"),
    a_failure("=cmd|' /C calc'!A0", detail="@SUM(1)", upload_filename="-1.jpg", sop_instance_uid="\t1", month=None),
    a_failure("name without folder", detail="\r\nsecond line", exam_type="\n", patient_id="", modality=" =1"),
    a_failure("/at the root", window_source=WindowSource.VOI_LUT, warnings=(FileWarning("-", ""),)),
    *(
        an_outcome(f"/srv/w{n}", window_center=number, window_width=-number, window_source=FILE_WINDOW)
        for n, number in enumerate((1e22, 1e-7, float("inf"), float("nan"), 0.1 + 0.2, -0.0, 128))
    ),
    an_outcome("/srv/d", OutcomeKind.DUPLICATE, "duplicate_by_name", upload_filename='"quoted", \u2028 \x7f \u20ac'),
)
IGNORED = (IgnoredFile("/srv/=1+1", "junk"), IgnoredFile("=1+1", "not_dicom"), IgnoredFile("/srv/\udcff", "junk"))


async def a_history(folder: Path, outcomes: tuple[FileOutcome, ...]) -> tuple[list[ReportPage], list[BaseModel]]:
    """The report's pages, two rows in each, and the models that the answers about single files are made of."""
    async with History.open(str(folder)) as history:
        await history.add_task(a_task())
        for outcome in outcomes:
            await history.record_outcome("t1", outcome)
        lines = await history.report_lines("t1", 0, 1_000)
        rows = (await history.files_page("t1", FileFilter(), 0, 1_000)).rows
    ignored = [IgnoredRow(n, file) for n, file in enumerate(IGNORED)]
    pages = [ReportPage(COLUMNS, map(serializers.report_values, lines[n : n + 2])) for n in range(0, len(lines), 2)]
    pages.append(ReportPage(tuple(api.IgnoredReportRow.model_fields), map(serializers.ignored_values, ignored)))
    models: list[BaseModel] = [serializers.report_row(row) for row in rows]
    models += map(ignored_model, IGNORED)
    return pages, models


def ignored_model(file: IgnoredFile) -> api.IgnoredReportRow:
    words = ignored_words(file.reason)
    return api.IgnoredReportRow(
        source_path=display_path(file.path), code=file.reason, detail=words.detail, hint=words.hint
    )


async def written(pages: list[ReportPage], form: ReportFormat, columns: tuple[str, ...] = COLUMNS) -> bytes:
    async def told() -> AsyncIterator[ReportPage]:
        for page in pages:
            yield page

    return b"".join([piece async for piece in await write_report(told(), form, columns)])


async def test_json_is_that_of_the_models_byte_by_byte(tmp_path: Path) -> None:
    for form, frame in ((ReportFormat.NDJSON, "{}\n"), (ReportFormat.JSON, "[{}]\n")):
        pages, models = await a_history(tmp_path / form, OUTCOMES)
        between = "\n" if form is ReportFormat.NDJSON else ",\n"
        expected = frame.replace("{}", between.join(model.model_dump_json() for model in models))
        assert await written(pages, form) == expected.encode()


async def test_csv_is_that_of_the_models_byte_by_byte(tmp_path: Path) -> None:
    pages, models = await a_history(tmp_path, OUTCOMES)
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(COLUMNS)
    for model in models:
        values = model.model_dump(mode="json")
        table.writerow([as_cell(values.get(column)) for column in COLUMNS])
    assert await written(pages, ReportFormat.CSV) == b"\xef\xbb\xbf" + buffer.getvalue().encode()


def as_cell(value: Any) -> str:
    """Cell by cell, and as plainly as can be."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = "；".join(f"{notice['code']}: {notice['message']}" for notice in value)
    if isinstance(value, str):
        return "'" + value if value[:1] in {*"=+-@\t\r\n＝＋－＠"} else value
    return str(value)


@pytest.mark.parametrize("harm", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠A1"])
async def test_text_that_a_spreadsheet_would_calculate_is_text(harm: str) -> None:
    """Numbers stay numbers; of a column's cells only those that could harm are changed."""
    rows: list[tuple[Cell, ...]] = [
        (harm, -5, harm, -0.5),
        ("1+1", None, (FileWarning(harm, ""),), True),
        (None, 3, (), harm),
    ]
    page = ReportPage(("a", "b", "c", "d"), rows)
    text = (await written([page], ReportFormat.CSV, page.columns)).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == [
        [f"'{harm}", "-5", f"'{harm}", "-0.5"],
        ["1+1", "", f"'{harm}: ", "True"],
        ["", "3", "", f"'{harm}"],
    ]


async def test_a_report_of_nothing_is_whole() -> None:
    assert await written([], ReportFormat.NDJSON) == b""
    assert await written([], ReportFormat.JSON) == b"[]\n"
    assert await written([], ReportFormat.CSV) == b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n"
