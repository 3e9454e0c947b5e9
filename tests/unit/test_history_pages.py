"""Pages of a task's files, by month, outcome and code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import FileRowNotFoundError, TaskNotFoundError
from history import FileFilter, History
from models import FileOutcome, OutcomeKind
from tests.unit.test_history import NOON, a_task, an_outcome

FILES = 60
MONTHS = ("2024-01", "2024-02", None)
ENDS = (
    (OutcomeKind.UPLOADED, "uploaded"),
    (OutcomeKind.UPLOADED, "uploaded_renamed"),
    (OutcomeKind.DUPLICATE, "duplicate"),
    (OutcomeKind.FAILED, "truncated_file"),
    (OutcomeKind.WOULD_UPLOAD, "would_upload"),
)
FILTERS = st.builds(
    FileFilter,
    kind=st.sampled_from([None, *OutcomeKind]),
    code=st.sampled_from([None, *(code for _, code in ENDS), "unheard_of"]),
    month=st.sampled_from([None, "2024-01", "2024-02", "2030-01", ""]),
)


def outcome_of(number: int) -> FileOutcome:
    """The file recorded as ``number``: months and ends take turns."""
    kind, code = ENDS[number % len(ENDS)]
    return FileOutcome(
        source_path=f"/srv/{number}", month=MONTHS[number % 3], kind=kind, code=code, detail="", finished_at=NOON
    )


def matching(wanted: FileFilter) -> list[int]:
    """By looking at each file."""
    outcomes = {number: outcome_of(number) for number in range(1, FILES + 1)}
    return [
        number
        for number, outcome in outcomes.items()
        if wanted.kind in (None, outcome.kind)
        and wanted.code in (None, outcome.code)
        and wanted.month in (None, outcome.month or "")
    ]


@pytest_asyncio.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    async with History.open(str(tmp_path)) as opened:
        await opened.add_task(a_task())
        yield opened


async def all_pages(history: History, wanted: FileFilter, limit: int) -> list[int]:
    """Numbers of every page, each page continuing where the last one says."""
    numbers: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await history.files_page("t1", wanted, after, limit)
        assert page.total == len(matching(wanted))
        assert [row.outcome for row in page.rows] == [outcome_of(row.number) for row in page.rows]
        numbers += [row.number for row in page.rows]
        after = page.next_after
    return numbers


@settings(max_examples=40, deadline=None)
@given(wanted=FILTERS, limit=st.integers(1, FILES + 1))
def test_pages_hold_each_matching_file_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, wanted: FileFilter, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("pages")

    async def scenario() -> list[int]:
        async with History.open(str(folder)) as history:
            await history.add_task(a_task())
            for number in range(1, FILES + 1):
                await history.record_outcome("t1", outcome_of(number))
            return await all_pages(history, wanted, limit)

    assert asyncio.run(scenario()) == matching(wanted)


async def test_a_file_is_found_by_its_number_with_the_path_as_it_was_recorded(history: History) -> None:
    odd = "/srv/\udcb2.dcm"
    await history.record_outcome("t1", an_outcome("/srv/a.dcm"))
    await history.record_outcome("t1", an_outcome(odd))
    found = await history.recorded_file("t1", 2)
    assert (found.row.number, found.row.outcome.source_path, found.path) == (2, "/srv/\\xb2.dcm", odd)


@pytest.mark.parametrize("number", [0, 2, 2**53])
async def test_a_number_that_was_not_given_is_not_found(history: History, number: int) -> None:
    await history.record_outcome("t1", an_outcome("/srv/a.dcm"))
    with pytest.raises(FileRowNotFoundError):
        await history.recorded_file("t1", number)


async def test_an_unknown_task_has_no_pages(history: History) -> None:
    with pytest.raises(TaskNotFoundError):
        await history.files_page("x", FileFilter(), 0, 10)
    with pytest.raises(TaskNotFoundError):
        await history.recorded_file("x", 1)
