"""The report's rows are filtered here, row by row, whatever the pieces in which they arrive."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.report_command import ReportForm, ReportRequest, filtered, for_terminal, write_file
from errors import ConfigurationError

ROWS = [
    {"source_path": "/d/1.dcm", "outcome": "uploaded", "code": "uploaded", "detail": "好"},
    {"source_path": '/d/quote"and,comma', "outcome": "failed", "code": "not_dicom", "detail": "first\nsecond"},
    {"source_path": "/d/3.dcm", "outcome": "failed", "code": "empty_file", "detail": ""},
]


def a_request(form: ReportForm, outcomes: tuple[str, ...] = (), codes: tuple[str, ...] = ()) -> ReportRequest:
    return ReportRequest(form, outcome=list(outcomes), code=list(codes))


def as_ndjson() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def as_csv() -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(ROWS[0]))
    writer.writeheader()
    writer.writerows(ROWS)
    return ("\ufeff" + buffer.getvalue()).encode()


def in_pieces(content: bytes, borders: Iterable[int]) -> Iterator[bytes]:
    begin = 0
    for border in sorted({border for border in borders if border < len(content)}):
        yield content[begin:border]
        begin = border
    yield content[begin:]


def paths(rows: Iterable[dict[str, str]]) -> list[str]:
    return [row["source_path"] for row in rows]


BORDERS = st.lists(st.integers(0, 400), max_size=12)


@given(BORDERS)
def test_csv_rows_with_line_breaks_and_quotes_survive(borders: list[int]) -> None:
    kept = b"".join(filtered(in_pieces(as_csv(), borders), a_request(ReportForm.CSV, ("failed",))))
    assert kept.startswith("\ufeffsource_path".encode())
    assert list(csv.DictReader(io.StringIO(kept.decode("utf-8-sig")))) == ROWS[1:]


@given(BORDERS)
def test_ndjson_rows_are_passed_on_byte_by_byte(borders: list[int]) -> None:
    kept = b"".join(filtered(in_pieces(as_ndjson(), borders), a_request(ReportForm.NDJSON, codes=("not_dicom",))))
    assert kept == as_ndjson().splitlines(keepends=True)[1]


def test_json_is_one_array_even_of_nothing() -> None:
    def kept(*codes: str) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads(
            b"".join(filtered([as_ndjson()], a_request(ReportForm.JSON, codes=tuple(codes))))
        )
        return rows

    assert paths(kept("uploaded", "empty_file")) == ["/d/1.dcm", "/d/3.dcm"]
    assert kept("of_tomorrow") == []


def test_both_filters_must_hold() -> None:
    both = a_request(ReportForm.NDJSON, ("failed",), ("uploaded", "empty_file"))
    kept = b"".join(filtered([as_ndjson()], both)).splitlines()
    assert paths(json.loads(line) for line in kept) == ["/d/3.dcm"]


def test_a_file_is_whole_or_what_it_was_before(tmp_path: Path) -> None:
    target = tmp_path / "report.csv"
    target.write_bytes(b"before")

    def cut_off() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("gone")

    with pytest.raises(httpx.ReadError):
        write_file(target, cut_off())
    assert target.read_bytes() == b"before"
    write_file(target, [b"all ", b"of it"])
    assert target.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="无法写入"):
        write_file(tmp_path / "missing" / "report.csv", [b"x"])


@pytest.mark.parametrize(
    "harm", ["\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202egpj.exe", "\u2066", "\u200f", "\u061c", "\r"]
)
def test_a_report_on_a_terminal_does_not_steer_it(harm: str) -> None:
    row = f"/d/图{harm}1.dcm,uploaded\n".encode()
    shown = b"".join(for_terminal(in_pieces(row * 2, [3, 5, 6, 7, 20]))).decode()
    assert shown.count("\n") == 2
    assert shown.replace("\n", "").isprintable()
    assert shown.startswith("/d/图\\")


def test_a_report_on_a_terminal_is_whole() -> None:
    assert b"".join(for_terminal([as_ndjson()])) == as_ndjson()
