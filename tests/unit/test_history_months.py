"""The month board's sums: each file's latest outcome, over all tasks, after pruning, restarts and upgrades."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from history import History, MonthSum, TaskScope
from history.row_mapping import FILES, IMAGES, TASKS
from history.schema import _FIRST
from history.values import split
from models import FileOutcome, OutcomeKind, TaskRecord, TaskStatus
from tests.unit.test_history import NOON, XIEHE, a_failure, a_task, an_image, an_outcome, insert, rows_of

ROOT = "/srv/dicom"
SCOPE = TaskScope(XIEHE, ROOT)
Totals = dict[tuple[str | None, str], int]
"""Files by month and code."""


@pytest_asyncio.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    async with History.open(str(tmp_path)) as opened:
        for task_id in ("t1", "t2"):
            await opened.add_task(a_task(task_id))
            await opened.count_on_board(task_id, SCOPE)
        yield opened


async def totals(history: History, backend_url: str = XIEHE) -> Totals:
    return {(entry.month, entry.code): entry.files for entry in await history.month_sums(backend_url)}


async def record(history: History, task_id: str, *outcomes: FileOutcome) -> None:
    await asyncio.gather(*(history.record_outcome(task_id, outcome) for outcome in outcomes))


async def test_a_file_counts_once_with_its_latest_outcome(history: History) -> None:
    await record(history, "t1", an_outcome("/srv/a"), an_outcome("/srv/b"), a_failure("/srv/c", held=True))
    assert await totals(history) == {("2024-01", "uploaded"): 2, ("2024-01", "truncated_file"): 1}
    assert MonthSum(ROOT, "2024-01", OutcomeKind.FAILED, "truncated_file", True, 1) in await history.month_sums(XIEHE)
    await record(history, "t2", an_outcome("/srv/a", OutcomeKind.DUPLICATE), an_outcome("/srv/c"))
    assert await totals(history) == {("2024-01", "uploaded"): 2, ("2024-01", "duplicate"): 1}


async def test_a_second_row_of_a_path_in_one_task_moves_nothing(history: History) -> None:
    await record(history, "t1", an_outcome("/srv/a"))
    await record(history, "t1", a_failure("/srv/a"))
    assert await totals(history) == {("2024-01", "uploaded"): 1}


async def test_tasks_that_do_not_count_leave_the_board_alone(history: History) -> None:
    await history.add_task(a_task("dry run"))
    await record(history, "t1", a_failure("/srv/a"))
    await record(history, "dry run", an_outcome("/srv/a", OutcomeKind.WOULD_UPLOAD), an_outcome("/srv/b"))
    assert await totals(history) == {("2024-01", "truncated_file"): 1}


async def test_another_xiehe_has_a_board_of_its_own(history: History) -> None:
    await history.add_task(a_task("t3"))
    await history.count_on_board("t3", TaskScope("http://other.test", ROOT))
    await record(history, "t1", an_outcome("/srv/a"))
    await record(history, "t3", a_failure("/srv/a"))
    assert await totals(history) == {("2024-01", "uploaded"): 1}
    assert await totals(history, "http://other.test") == {("2024-01", "truncated_file"): 1}


async def test_the_board_outlives_the_tasks_and_a_restart(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task("old"))
        await history.count_on_board("old", SCOPE)
        await record(history, "old", an_outcome("/srv/a"), a_failure("/srv/b"))
        await history.end_walk("old", ["2024-01"])
        await history.save_task(a_task("old", TaskStatus.COMPLETED, completed_at=NOON))
        (mark,) = await history.month_marks(XIEHE)
        assert (mark.last_task_id, mark.last_imported_at, mark.walked_whole) == ("old", NOON, True)
        await history.prune(NOON + timedelta(days=1))
    async with History.open(str(tmp_path)) as history:
        assert await totals(history) == {("2024-01", "uploaded"): 1, ("2024-01", "truncated_file"): 1}
        (mark,) = await history.month_marks(XIEHE)
        assert (mark.last_task_id, mark.walked_whole) == (None, True)
        await history.add_task(a_task("new"))
        await history.count_on_board("new", SCOPE)
        await record(history, "new", an_outcome("/srv/b", OutcomeKind.DUPLICATE))
        assert await totals(history) == {("2024-01", "uploaded"): 1, ("2024-01", "duplicate"): 1}


async def test_a_walk_drops_failures_that_it_did_not_meet_any_more_and_keeps_what_was_imported(
    history: History,
) -> None:
    other_month = a_failure("/srv/else", "not_dicom", warnings=())
    gone = [a_failure("/srv/gone"), an_outcome("/srv/imported and gone"), a_failure("/srv/still there")]
    await record(history, "t1", *gone, other_month)
    await record(history, "t2", a_failure("/srv/still there"))
    assert (await totals(history))["2024-01", "truncated_file"] == 2
    await history.end_walk("t2", ["2024-02", ""])
    assert (await totals(history))["2024-01", "truncated_file"] == 2
    await history.end_walk("t2", ["2024-01"])
    assert await totals(history) == {("2024-01", "uploaded"): 1, ("2024-01", "truncated_file"): 1}


async def test_a_walk_that_meets_new_files_has_to_come_to_its_end_again(history: History) -> None:
    async def is_whole() -> bool:
        return (await history.month_marks(XIEHE))[0].walked_whole

    for task_id in ("t1", "t2"):
        await history.count_on_board(task_id, replace(SCOPE, whole_months=True))
    await history.add_task(a_task("retry"))
    await history.count_on_board("retry", SCOPE)
    await record(history, "t1", an_outcome("/srv/a"))
    await history.end_walk("t1", ["2024-01"])
    await record(history, "t2", an_outcome("/srv/a", OutcomeKind.DUPLICATE))
    await record(history, "retry", an_outcome("/srv/b"))
    assert await is_whole()
    await record(history, "t2", an_outcome("/srv/new"))
    assert not await is_whole()
    await history.end_walk("t2", ["2024-01"])
    assert await is_whole()


async def test_the_newest_outcome_tells_where_a_task_is(history: History) -> None:
    assert await history.newest_months(["t1", "nobody"]) == {}
    await record(history, "t1", an_outcome("/srv/a"))
    assert await history.newest_months(["t1", "t2"]) == {"t1": "2024-01"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2", "t3", "t4"]),
        st.integers(0, 6).map("/srv/{}".format),
        st.sampled_from(["uploaded", "duplicate", "failed"]).map(OutcomeKind),
        st.sampled_from(["x", "y"]),
    ),
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, together=st.booleans())
def test_sums_are_those_of_the_latest_outcomes(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, str, OutcomeKind, str]], together: bool
) -> None:
    folder = tmp_path_factory.mktemp("months")
    latest: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for task_id, path, _, code in steps:
        if (task_id, path) not in seen:
            latest[path] = code
            seen.add((task_id, path))
    expected: Totals = {}
    for code in latest.values():
        expected["2024-01", code] = expected.get(("2024-01", code), 0) + 1

    async def scenario() -> Totals:
        async with History.open(str(folder)) as history:
            for task_id in ("t1", "t2", "t3", "t4"):
                await history.add_task(a_task(task_id))
                await history.count_on_board(task_id, SCOPE)
            outcomes = [(task_id, an_outcome(path, kind, code)) for task_id, path, kind, code in steps]
            if together:
                await asyncio.gather(*(history.record_outcome(*outcome) for outcome in outcomes))
            else:
                for outcome in outcomes:
                    await history.record_outcome(*outcome)
            found: dict[tuple[str | None, str], int] = {}
            for entry in await history.month_sums(XIEHE):
                found[entry.month, entry.code] = found.get((entry.month, entry.code), 0) + entry.files
            return found

    assert asyncio.run(scenario()) == expected


# --- a history of version 1 ----------------------------------------------------------------------------------------

Old = tuple[TaskRecord, Sequence[FileOutcome]]


def write_version_1(folder: Path, tasks: Sequence[Old]) -> None:
    """A database as version 1 of the schema left it: without bytes, pages and month board."""
    path = folder / "history.sqlite3"
    os.makedirs(folder, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in _FIRST:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        for seq, (task, outcomes) in enumerate(tasks, 1):
            insert(connection, "tasks", TASKS, task)
            for number, outcome in enumerate(outcomes, 1):
                folder_of_file, name = split(outcome.source_path)
                place = {"task_seq": seq, "number": number, "folder": folder_of_file, "name": name}
                insert(connection, "files", FILES, outcome, **place)
            connection.execute(
                "INSERT INTO tallies SELECT task_seq, COALESCE(month, ''), kind, code, COUNT(*) FROM files"
                " WHERE task_seq = ? GROUP BY 2, 3, 4",
                (seq,),
            )
            connection.execute(
                "UPDATE tasks SET last_file = ?1, total_files_scanned = ?1 WHERE seq = ?2", (len(outcomes), seq)
            )
        insert(connection, "images", IMAGES, an_image(task_id=tasks[0][0].task_id))
        connection.commit()


def an_old_task(task_id: str, source: str, status: TaskStatus = TaskStatus.COMPLETED) -> TaskRecord:
    return a_task(task_id, status, source_path=source, completed_at=NOON if status.ended else None)


async def test_a_history_of_version_1_is_upgraded_with_its_rows(tmp_path: Path) -> None:
    a, b, c = (f"{ROOT}/2024-01/P1/{name}" for name in "abc")
    old = [an_outcome(a), a_failure(b), a_failure(c)]
    write_version_1(
        tmp_path,
        [
            (an_old_task("first", ROOT), old),
            (an_old_task("month", f"{ROOT}/2024-01"), [an_outcome(b)]),
            (an_old_task("patient", f"{ROOT}/2024-01/P1", TaskStatus.RUNNING), [an_outcome(a, OutcomeKind.DUPLICATE)]),
        ],
    )
    async with History.open(str(tmp_path)) as history:
        assert [row.outcome for row in await rows_of(history, "first")] == old
        assert (await history.counts("first")).bytes_uploaded == 0
        assert (await history.counts("first")).total_files_scanned == 3
        assert await totals(history) == {
            ("2024-01", "uploaded"): 1,
            ("2024-01", "duplicate"): 1,
            ("2024-01", "truncated_file"): 1,
        }
        assert {entry.root_path for entry in await history.month_sums(XIEHE)} == {ROOT}
        (mark,) = await history.month_marks(XIEHE)
        assert (mark.last_task_id, mark.walked_whole) == ("patient", True)
        await record(history, "patient", an_outcome(c))
        assert await totals(history) == {("2024-01", "uploaded"): 2, ("2024-01", "duplicate"): 1}


async def test_an_upgraded_board_takes_only_ended_walks_for_whole(tmp_path: Path) -> None:
    outcome = an_outcome(f"{ROOT}/2024-01/P1/a")
    write_version_1(tmp_path, [(an_old_task("cancelled", ROOT, TaskStatus.CANCELLED), [outcome])])
    async with History.open(str(tmp_path)) as history:
        (mark,) = await history.month_marks(XIEHE)
        assert not mark.walked_whole
