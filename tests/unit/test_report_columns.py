"""A value set in an outcome arrives in each form of the report, and each of its columns is documented."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.outcome_codes import hint_for
from domain.report_columns import REPORT_COLUMN_NAMES, REPORT_COLUMNS
from history import FileFilter, History
from models import FileOutcome, FileWarning, OutcomeKind, WindowSource
from tests.unit.test_history import a_task
from tests.unit.test_readme import code, rows
from web.api import schemas as api
from web.api import serializers
from web.api.report_writer import ReportFormat, ReportPage, write_report

ROOT = Path(__file__).parents[2]
SET: dict[str, Any] = {
    "source_path": "/srv/2024-01/P1/IM1.dcm",
    "month": "2024-01",
    "patient_id": "P1",
    "sop_instance_uid": "1.2.3",
    "transfer_syntax": "1.2.840.10008.1.2.1",
    "kind": OutcomeKind.FAILED,
    "code": "patient_mismatch",
    "detail": "文件头中的患者ID与目录名不同",
    "upload_filename": "IM1.jpg",
    "jpg_path": "/out/IM1.jpg",
    "image_file_id": 77,
    "window_center": 40.5,
    "window_width": 400.25,
    "finished_at": datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
    "window_source": WindowSource.FILE,
    "modality": "DX",
    "exam_type": "正位X光片",
    "exam_rule": "view_position",
    "charset_source": "gb18030",
    "frames_total": 3,
    "frames_uploaded": 2,
    "bytes_uploaded": 5_000_000_000,
    "held": True,
    "warnings": (FileWarning("name_truncated", "姓名过长"),),
    "size_bytes": 1234,
    "mtime_ns": 1_700_000_000_123_456_789,
    "duration_seconds": 0.25,
    "stage_seconds": {"decode": 0.5},
}
"""Every field of an outcome, none with its default."""
JSON_VALUES = {
    "finished_at": "2026-01-02T03:04:05Z",
    "warnings": [{"code": "name_truncated", "message": "姓名过长"}],
    "number": 1,
    "hint": hint_for("patient_mismatch"),
}
"""Of columns whose values look otherwise in JSON, or come from elsewhere."""
EXPECTED = {column.name: JSON_VALUES.get(column.name, SET.get(column.field or "")) for column in REPORT_COLUMNS}


def test_this_test_sets_every_field() -> None:
    defaults = {field.name: field.default for field in fields(FileOutcome)}
    assert list(SET) == list(defaults), "set the new field in SET, to a value that is not its default"
    assert [name for name, value in SET.items() if value in (None, defaults[name], MISSING)] == []


async def test_every_field_of_an_outcome_arrives_in_each_form_of_the_report(tmp_path: Path) -> None:
    outcome = FileOutcome(**SET)
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task())
        await history.record_outcome("t1", outcome)
        (row,) = (await history.files_page("t1", FileFilter(), 0, 10)).rows
        lines = await history.report_lines("t1", 0, 10)
    assert row.outcome == outcome
    assert serializers.report_row(row).model_dump(mode="json") == EXPECTED

    (line,) = (await written(lines, ReportFormat.NDJSON)).splitlines()
    assert json.loads(line) == EXPECTED
    assert list(json.loads(line)) == list(REPORT_COLUMN_NAMES)
    assert json.loads(await written(lines, ReportFormat.JSON)) == [EXPECTED]
    header, cells = csv.reader(io.StringIO((await written(lines, ReportFormat.CSV)).decode("utf-8-sig")))
    assert dict(zip(header, cells, strict=True)) == {
        name: "name_truncated: 姓名过长" if name == "warnings" else str(value) for name, value in EXPECTED.items()
    }


async def written(lines: list[Any], form: ReportFormat) -> bytes:
    async def pages() -> AsyncIterator[ReportPage]:
        yield ReportPage(REPORT_COLUMN_NAMES, map(serializers.report_values, lines))

    return b"".join([piece async for piece in await write_report(pages(), form, REPORT_COLUMN_NAMES)])


def test_columns_are_only_appended() -> None:
    """Scripts may read the columns of a CSV file by their position."""
    assert REPORT_COLUMN_NAMES[:26] == (
        *("number", "source_path", "month", "patient_id", "sop_instance_uid", "transfer_syntax", "outcome", "code"),
        *("detail", "upload_filename", "jpg_path", "image_file_id", "window_center", "window_width", "finished_at"),
        *("window_source", "modality", "exam_type", "exam_rule", "charset_source", "frames_total", "frames_uploaded"),
        *("bytes_uploaded", "held", "warnings", "hint"),
    )
    assert tuple(api.ReportEntry.model_fields) == REPORT_COLUMN_NAMES


@pytest.mark.parametrize("language", [".md", ".zh-CN.md"])
def test_every_column_is_documented_in_its_place(language: str) -> None:
    pages = [f"docs/columns{language}", f"README{language}"]
    (page,) = [each for each in pages if "<!-- columns -->" in text_of(each)]
    documented = [code(name) for name, _ in rows(page, "columns")]
    missing = [f"| `{name}` | what it means |" for name in REPORT_COLUMN_NAMES if name not in documented]
    assert not missing, f"{page} lacks these lines:\n" + "\n".join(missing)
    assert documented == list(REPORT_COLUMN_NAMES)


def text_of(page: str) -> str:
    path = ROOT / page
    return path.read_text(encoding="utf-8") if path.exists() else ""
