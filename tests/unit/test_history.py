"""What the history keeps, and what comes back after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.counting import fold, fold_ignored, fold_patient
from errors import TaskNotFoundError
from history import FileFilter, History, OutcomeTally, ReportRow, SeenSource, TaskScope, transactions
from history.row_mapping import COUNTS, FILES, IMAGES, INTENTS, SEEN_SOURCES, TASKS, RowMapping
from history.schema import _MIGRATIONS, migrate
from models import (
    Counts,
    DemographicsMismatchPolicy,
    FileOutcome,
    FileWarning,
    IgnoredFile,
    ImportedImage,
    ImportOptions,
    OutcomeKind,
    PatientChange,
    PatientMismatchPolicy,
    PauseReason,
    SkippedFolder,
    TaskRecord,
    TaskResult,
    TaskStatus,
    UploadIntent,
    WindowSource,
)

NOON = datetime(2024, 5, 6, 12, 0, 0, tzinfo=UTC)
XIEHE = "http://xiehe.test"
HOUR = timedelta(hours=1)


def a_task(task_id: str = "t1", status: TaskStatus = TaskStatus.RUNNING, **changes: Any) -> TaskRecord:
    return replace(TaskRecord(task_id, "/srv/dicom", ImportOptions(), status, NOON), **changes)


def an_outcome(path: str, kind: OutcomeKind = OutcomeKind.UPLOADED, code: str = "", **changes: Any) -> FileOutcome:
    outcome = FileOutcome(
        source_path=path, month="2024-01", kind=kind, code=code or kind.value, detail="", finished_at=NOON
    )
    return replace(outcome, **changes)


async def rows_of(history: History, task_id: str = "t1") -> tuple[ReportRow, ...]:
    """Everything that is kept of each file."""
    return (await history.files_page(task_id, FileFilter(), after=0, limit=1_000)).rows


def a_failure(path: str, code: str = "truncated_file", **changes: Any) -> FileOutcome:
    return an_outcome(path, OutcomeKind.FAILED, code, **changes)


def an_image(name_key: str = "IM1", **changes: Any) -> ImportedImage:
    image = ImportedImage(
        backend_url=XIEHE,
        patient_id="P1",
        row_id=7,
        name_key=name_key,
        stored_name=f"{name_key}.jpg",
        instance="1.2.3",
        sop_instance_uid="1.2.3",
        frame_number=1,
        source_path="/srv/dicom/2024-01/P1/IM1.dcm",
        size_bytes=10,
        mtime_ns=20,
        uploaded_by_us=True,
        task_id="t1",
        image_file_id=99,
        jpg_size=5,
        uploaded_at=NOON,
    )
    return replace(image, **changes)


def an_intent(intent_id: str = "i1", **changes: Any) -> UploadIntent:
    return UploadIntent(intent_id=intent_id, image=an_image(**changes), known_ids=(3, 4), created_at=NOON)


def a_seen_source(path: str, **changes: Any) -> SeenSource:
    seen = SeenSource(
        backend_url=XIEHE,
        source_path=path,
        size_bytes=10,
        mtime_ns=20,
        patient_dir="P1",
        patient_id="P1",
        header_patient_id=None,
        instance="1.2.3",
        sop_instance_uid="1.2.3",
        name_keys=("IM1-0001", "IM1-0002"),
    )
    return replace(seen, **changes)


@pytest_asyncio.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    async with History.open(str(tmp_path / "data")) as opened:
        await opened.add_task(a_task())
        yield opened


# --- tasks ---------------------------------------------------------------------------------------------------------


async def test_a_task_comes_back_after_a_restart_as_it_was(tmp_path: Path) -> None:
    full = TaskRecord(
        task_id="dicom-import-20240506-120000-0123abcd",
        source_path="/srv/放射科/\udcb2",
        options=ImportOptions(
            description="复查",
            window_center=40.5,
            on_patient_mismatch=PatientMismatchPolicy.TRUST_DICOM,
            on_demographics_mismatch=DemographicsMismatchPolicy.WARN,
            retry_code="held",
        ),
        status=TaskStatus.PAUSED,
        created_at=NOON,
        started_at=NOON + timedelta(seconds=1),
        pause_reason=PauseReason.USER,
        parent_id="parent",
        warnings=(FileWarning("exam", "请核对"),),
        skipped_folders=(SkippedFolder("/srv/202401", "原因", "办法"),),
    )
    async with History.open(str(tmp_path)) as first:
        await first.add_task(full)
    async with History.open(str(tmp_path)) as second:
        assert await second.get_task(full.task_id) == full
        assert await second.unfinished_tasks() == [full]


async def test_active_time_is_kept_with_the_task(history: History) -> None:
    assert (await history.get_task("t1")).active_seconds is None
    await history.save_task(a_task(active_seconds=6.25))
    assert (await history.get_task("t1")).active_seconds == 6.25
    await history.add_task(a_task("t2", active_seconds=0.5))
    assert [task.active_seconds for task in await history.unfinished_tasks()] == [6.25, 0.5]


async def test_a_flood_of_skipped_folders_is_recorded_in_batches_and_read_in_pages(history: History) -> None:
    odd = os.fsdecode(b"/srv/\xff")
    folders = [SkippedFolder(f"/srv/{n:04d}", "原因", "办法") for n in range(1_200)] + [SkippedFolder(odd, "原因", "")]
    junk = [IgnoredFile(f"/srv/._{n}", "junk") for n in range(30)]
    mixed: list[IgnoredFile | SkippedFolder] = [*folders[:700], *junk, *folders[700:]]
    assert await history.record_left_out("t1", mixed) == [True] * 1_231
    assert await history.record_left_out("t1", [*mixed, SkippedFolder("/srv/new", "", "")]) == [False] * 1_231 + [True]

    assert await history.skipped_folders_total("t1") == 1_202
    assert (await history.counts("t1")).ignored_files == 30
    assert (await history.get_task("t1")).skipped_folders == tuple(folders[:100])
    read, after = list[SkippedFolder](), ""
    while page := await history.skipped_folders("t1", after, 500):
        assert len(page) <= 500
        read, after = read + page, page[-1].path
    assert read == [*folders[:-1], SkippedFolder("/srv/new", "", ""), folders[-1]]


async def test_the_skipped_folders_of_a_pruned_task_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_PRUNE_ROWS", 10)
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task("old", TaskStatus.COMPLETED, completed_at=NOON))
        await history.record_left_out("old", [SkippedFolder(f"/srv/{n}", "", "") for n in range(35)])
        await history.prune(NOON + timedelta(days=1))
    with sqlite3.connect(tmp_path / "history.sqlite3") as database:
        assert database.execute("SELECT COUNT(*) FROM skipped_folders").fetchone() == (0,)


async def test_saving_a_task_keeps_its_files_and_skipped_folders(history: History) -> None:
    folder = SkippedFolder("/srv/dicom/202401", "原因", "办法")
    assert await history.record_left_out("t1", [folder]) == [True]
    assert await history.record_left_out("t1", [folder]) == [False]
    await history.record_outcome("t1", an_outcome("/srv/a.dcm"))
    ended = a_task(status=TaskStatus.COMPLETED, completed_at=NOON, result=TaskResult.PARTIAL, retried_by="t2")
    await history.save_task(ended)
    assert await history.get_task("t1") == replace(ended, skipped_folders=(folder,))
    assert (await history.counts("t1")).total_files_scanned == 1
    assert await history.unfinished_tasks() == []


async def test_a_task_killed_while_it_was_being_cancelled_is_at_rest_after_the_restart(tmp_path: Path) -> None:
    later = NOON + timedelta(minutes=5)
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task(status=TaskStatus.CANCELLED, started_at=NOON))
        await history.record_outcome("t1", replace(an_outcome("/srv/a.dcm"), finished_at=later))
        await history.add_task(a_task("t2", TaskStatus.CANCELLED))
        await history.add_task(a_task("t3", TaskStatus.RUNNING))
    async with History.open(str(tmp_path)) as history:
        assert [(await history.get_task(f"t{n}")).completed_at for n in (1, 2, 3)] == [later, NOON, None]
        assert [record.task_id for record in await history.unfinished_tasks()] == ["t3"]


async def test_tasks_are_listed_newest_first_in_pages(history: History) -> None:
    for number in range(2, 8):
        await history.add_task(a_task(f"t{number}"))
    total, page = await history.list_tasks(offset=1, limit=3)
    assert total == 7
    assert [record.task_id for record in page] == ["t6", "t5", "t4"]


async def test_an_unknown_task_is_told_by_every_question(history: History) -> None:
    unknown: Sequence[Any] = (
        history.get_task("x"),
        history.save_task(a_task("x")),
        history.counts("x"),
        history.breakdown("x"),
        history.report_lines("x", 0, 10),
        history.record_outcome("x", an_outcome("/a")),
        history.record_left_out("x", [IgnoredFile("/a", "junk")]),
        history.add_intent(an_intent(task_id="x")),
    )
    for question in unknown:
        with pytest.raises(TaskNotFoundError):
            await question


async def test_a_refused_write_does_not_hurt_its_neighbours_in_the_same_commit(history: History) -> None:
    results = await asyncio.gather(
        *(history.record_outcome("t1", an_outcome(f"/srv/{n}.dcm")) for n in range(20)),
        history.record_outcome("nobody", an_outcome("/srv/x.dcm")),
        *(history.record_outcome("t1", an_outcome(f"/srv/{n}.dcm")) for n in range(20, 40)),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(TaskNotFoundError) == 1
    assert results.count(True) == 40
    assert (await history.counts("t1")).total_files_scanned == 40


# --- outcomes ------------------------------------------------------------------------------------------------------


async def test_an_outcome_comes_back_whole_in_the_report(history: History) -> None:
    outcome = an_outcome(
        "/srv/dicom/2024-01/P1/IM1.dcm",
        patient_id="P1",
        sop_instance_uid="1.2.3",
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="DX",
        charset_source="gb18030",
        exam_type="正位X光片",
        exam_rule="view_position",
        upload_filename="IM1.jpg",
        jpg_path="/out/2024-01/P1/IM1.jpg",
        image_file_id=77,
        window_center=40.5,
        window_width=400.0,
        window_source=WindowSource.FILE,
        frames_total=2,
        frames_uploaded=1,
        bytes_uploaded=5_000_000_000,
        warnings=(FileWarning("a", "甲"), FileWarning("b", "乙")),
        size_bytes=1234,
        mtime_ns=1_700_000_000_123_456_789,
        duration_seconds=0.25,
        stage_seconds={"decode": 0.5},
    )
    lut = a_failure("/srv/dicom/b.dcm", window_source=WindowSource.VOI_LUT, held=True)
    assert await history.record_outcome("t1", outcome)
    assert await history.record_outcome("t1", lut)
    rows = await rows_of(history)
    assert [(row.number, row.outcome) for row in rows] == [(1, outcome), (2, lut)]


async def test_a_path_has_one_outcome_per_task(history: History) -> None:
    await history.add_task(a_task("t2"))
    assert await history.record_outcome("t1", an_outcome("/srv/a.dcm"))
    assert not await history.record_outcome("t1", a_failure("/srv/a.dcm"), [an_image()])
    assert await history.record_outcome("t2", a_failure("/srv/a.dcm"))
    assert await history.counts("t1") == Counts(total_files_scanned=1, new_images_uploaded=1)
    assert await history.images_of_patient(XIEHE, "P1") == [an_image()]  # it is in XieHe, whatever the row says


async def test_many_outcomes_together_end_as_each_alone_would(tmp_path: Path) -> None:
    """Old and new paths, one path twice, folders and kinds in between, an open intent, values SQLite cannot hold."""
    first = [an_outcome(f"/srv/2024-01/P1/{n}.dcm") for n in range(40)]
    again = [replace(each, kind=OutcomeKind.DUPLICATE, code="duplicate", finished_at=NOON + HOUR) for each in first]
    odd = a_failure("/srv/2024-01/P2/\udcff", patient_id="P\udcb2", mtime_ns=2**63 + 5)
    batches: Sequence[Sequence[FileOutcome]] = (
        [odd, *first[:35]],
        again[:33],
        [*again[20:], first[3], a_failure("/srv/b"), a_failure("/srv/b")],
        [],
    )
    found = []
    for name in ("together", "alone"):
        async with History.open(str(tmp_path / name)) as history:
            for task in ("t1", "t2", "t3"):
                await history.add_task(a_task(task))
                await history.count_on_board(task, TaskScope(XIEHE, "/srv", whole_months=True))
            await history.add_intent(an_intent(task_id="t2", source_path=again[0].source_path))
            news: list[list[bool]] = []
            for task, batch in zip(("t1", "t2", "t2", "t3"), batches, strict=True):
                if name == "together":
                    news.append(await history.record_outcomes(task, batch))
                else:
                    news.append([await history.record_outcome(task, each) for each in batch])
            assert await history.open_intents("t2") == []
            tasks = [(await rows_of(history, task), await history.counts(task)) for task in ("t1", "t2", "t3")]
            board = sorted(await history.month_sums(XIEHE), key=str), sorted(await history.month_marks(XIEHE), key=str)
            found.append((news, tasks, board))
    assert found[0] == found[1]
    assert news[2] == [False] * 13 + [True] * 7 + [False, True, False]


async def test_report_pages_have_every_row_once_in_order(history: History) -> None:
    await asyncio.gather(*(history.record_outcome("t1", an_outcome(f"/srv/{n}.dcm")) for n in range(95)))
    numbers: list[int] = []
    while page := await history.report_lines("t1", after=numbers[-1] if numbers else 0, limit=10):
        numbers += [int(str(line[0])) for line in page]
    assert numbers == list(range(1, 96))


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    for start in (0, 3):
        async with History.open(str(tmp_path)) as history:
            if start == 0:
                await history.add_task(a_task())
            for n in range(start, start + 3):
                await history.record_outcome("t1", an_outcome(f"/srv/{n}.dcm"))
            rows = await history.report_lines("t1", 0, 100)
            assert [line[0] for line in rows] == list(range(1, start + 4))


async def test_recorded_paths_are_those_of_one_folder_as_they_were_given(history: History) -> None:
    folder = "/srv/dicom/2024-01/P1"
    odd = f"{folder}/\udcb2\udce2.dcm"
    lookalike = f"{folder}/\\xb2\\xe2.dcm"
    for path in (odd, lookalike, f"{folder}/series/b.dcm", f"{folder}0/c.dcm"):
        assert await history.record_outcome("t1", an_outcome(path))
    await history.record_left_out("t1", [IgnoredFile(f"{folder}/note.txt", "not_dicom")])
    assert await history.recorded_paths("t1", folder) == {odd, lookalike, f"{folder}/note.txt"}


async def test_reports_show_undecodable_names_and_retries_get_them_back(history: History) -> None:
    odd = "/srv/P1/\udcb2\udce2.dcm"
    await history.record_outcome("t1", a_failure(odd))
    await history.record_left_out("t1", [IgnoredFile(odd + "x", "junk")])
    (failure,) = await history.newest_failures("t1")
    (ignored,) = await history.ignored_rows("t1", 0, 10)
    assert failure.outcome.source_path == "/srv/P1/\\xb2\\xe2.dcm"
    assert ignored.file == IgnoredFile("/srv/P1/\\xb2\\xe2.dcmx", "junk")
    assert [failed.path for failed in await history.failed_sources("t1")] == [odd]


async def test_values_that_sqlite_cannot_hold_lose_no_outcome(history: History) -> None:
    """A file dated in the year 2400 and text with a stray surrogate."""
    outcome = a_failure("/srv/a.dcm", mtime_ns=2**63 + 5, patient_id="P\udcb2")
    assert await history.record_outcome("t1", outcome)
    (row,) = await rows_of(history)
    assert row.outcome.mtime_ns == 2**63 - 1
    assert row.outcome.patient_id == "P\\xb2"


async def test_failures_come_newest_first_and_for_retry_by_code(history: History) -> None:
    for n, code in enumerate(["a", "no_pixel_data", "b", "a"]):
        await history.record_outcome("t1", a_failure(f"/srv/{n}", code))
        await history.record_outcome("t1", an_outcome(f"/srv/good{n}"))
    assert [row.outcome.source_path for row in await history.newest_failures("t1", 2)] == ["/srv/3", "/srv/2"]

    async def to_retry(code: str | None, **page: int) -> list[str]:
        return [failed.path for failed in await history.failed_sources("t1", code, **page)]

    assert await to_retry(None) == ["/srv/0", "/srv/2", "/srv/3"]
    assert await to_retry("a") == ["/srv/0", "/srv/3"]
    assert await to_retry("no_pixel_data") == ["/srv/1"]
    first, *_ = await history.failed_sources("t1", limit=1)
    assert await to_retry(None, after=first.number) == ["/srv/2", "/srv/3"]


async def test_ignored_files_are_counted_once_and_are_not_scanned_ones(history: History) -> None:
    file = IgnoredFile("/srv/Thumbs.db", "junk")
    assert await history.record_left_out("t1", [file]) == [True]
    assert await history.record_left_out("t1", [file]) == [False]
    assert await history.counts("t1") == Counts(ignored_files=1)


async def test_a_patient_counts_once_and_is_found_before_it_is_made(history: History) -> None:
    assert await history.record_patient("t1", "P1", None) == PatientChange(found=True, resolved=None)
    assert await history.record_patient("t1", "P1", None) == PatientChange(found=False, resolved=None)
    assert await history.record_patient("t1", "P1", True) == PatientChange(found=False, resolved=True)
    assert await history.record_patient("t1", "P1", False) == PatientChange(found=False, resolved=None)
    assert await history.record_patient("t1", "P2", False) == PatientChange(found=True, resolved=False)
    assert await history.counts("t1") == Counts(
        total_patients_found=2, new_patients_created=1, existing_patients_skipped=1
    )


async def test_the_breakdown_tells_months_codes_and_stage_times(history: History) -> None:
    for n in range(3):
        await history.record_outcome("t1", an_outcome(f"/srv/{n}", stage_seconds={"decode": 0.5, "upload": 1.0}))
    await history.record_outcome("t1", replace(a_failure("/srv/x", "misplaced_file"), month=None))
    found = await history.breakdown("t1")
    assert set(found.tallies) == {
        OutcomeTally("2024-01", OutcomeKind.UPLOADED, "uploaded", 3),
        OutcomeTally(None, OutcomeKind.FAILED, "misplaced_file", 1),
    }
    assert found.stage_seconds == {"decode": 1.5, "upload": 3.0}


# --- counts: kept sums, the fold, and a recount from the rows ------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.builds(
            an_outcome,
            path=st.integers(0, 30).map("/srv/f{}".format),
            kind=st.sampled_from(OutcomeKind),
            code=st.sampled_from(["no_pixel_data", "patient_mismatch", "x"]),
            held=st.booleans(),
            frames_uploaded=st.integers(0, 5),
            bytes_uploaded=st.integers(0, 2**40),
        ),
        st.builds(IgnoredFile, st.integers(0, 9).map("/srv/i{}".format), st.just("junk")),
        st.tuples(st.integers(0, 5).map("P{}".format), st.sampled_from([None, True, False])),
    ),
    max_size=40,
)


async def _replay(history: History, events: Sequence[Any]) -> Counts:
    """Record the events, folding as the live view does."""
    live = Counts()
    for event in events:
        if isinstance(event, FileOutcome):
            live = fold(live, (event,)) if await history.record_outcome("t1", event) else live
        elif isinstance(event, IgnoredFile):
            live = fold_ignored(live) if await history.record_left_out("t1", [event]) == [True] else live
        else:
            live = fold_patient(live, await history.record_patient("t1", *event))
    return live


def _recount(path: Path) -> Counts:
    """From the rows alone."""
    with closing(sqlite3.connect(path)) as connection:
        files = connection.execute(
            """SELECT COUNT(*), COALESCE(SUM(kind IN ('uploaded', 'would_upload')), 0),
                      COALESCE(SUM(kind = 'duplicate'), 0),
                      COALESCE(SUM(kind = 'failed'), 0), COALESCE(SUM(kind = 'failed' AND held), 0),
                      COALESCE(SUM(kind = 'failed' AND code = 'no_pixel_data'), 0), COALESCE(SUM(frames_uploaded), 0),
                      COALESCE(SUM(bytes_uploaded), 0)
               FROM files"""
        ).fetchone()
        patients = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(created = 1), 0), COALESCE(SUM(created = 0), 0) FROM patients"
        ).fetchone()
        (ignored,) = connection.execute("SELECT COUNT(*) FROM ignored_files").fetchone()
    scanned, uploaded, duplicate, failed, held, no_pixel, *sent = files
    found, created, existing = patients
    return Counts(scanned, found, created, existing, uploaded, duplicate, failed, held, no_pixel, ignored, *sent)


@settings(max_examples=25, deadline=None)
@given(events=EVENTS)
def test_kept_sums_the_fold_and_a_recount_of_the_rows_agree(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("counts")

    async def scenario() -> None:
        async with History.open(str(folder)) as history:
            await history.add_task(a_task())
            live = await _replay(history, events)
            kept = await history.counts("t1")
            tallied = sum(tally.files for tally in (await history.breakdown("t1")).tallies)
        assert live == kept == _recount(folder / "history.sqlite3")
        scanned = kept.new_images_uploaded + kept.duplicate_images_skipped + kept.failed_files
        assert kept.total_files_scanned == scanned == tallied

    asyncio.run(scenario())


# --- the index and the intents -------------------------------------------------------------------------------------


async def test_images_are_found_by_patient_and_by_instance_of_one_backend(history: History) -> None:
    elsewhere = an_image(backend_url="http://other.test", image_file_id=1)
    other_patient = an_image(patient_id="P2")
    images = [an_image("IM1"), an_image("IM2", sop_instance_uid=None, uploaded_by_us=False, image_file_id=None)]
    await history.record_outcome("t1", an_outcome("/srv/a.dcm"), [*images, elsewhere, other_patient])
    assert await history.images_of_patient(XIEHE, "P1") == images
    assert await history.images_of_patient(XIEHE, "p1") == []
    assert await history.instances(XIEHE, "1.2.3") == [images[0], other_patient]


async def test_a_name_has_one_row_per_patient_and_the_newest_counts(history: History) -> None:
    await history.record_image(an_image(image_file_id=1))
    await history.record_image(an_image(image_file_id=2, stored_name="IM1.png"))
    assert [image.image_file_id for image in await history.images_of_patient(XIEHE, "P1")] == [2]


async def test_seen_sources_come_by_folder_and_the_newest_counts(history: History) -> None:
    path, odd = "/srv/2024-01/P1/IM1.dcm", "/srv/2024-01/P1/\udcb2.dcm"
    await history.record_outcome("t1", an_outcome(path), seen=a_seen_source(path, mtime_ns=1))
    newest = a_seen_source(path)
    await history.record_seen(newest)
    await history.record_seen(a_seen_source(odd))
    await history.record_seen(a_seen_source("/srv/2024-01/P1/deeper/IM1.dcm"))
    await history.record_seen(a_seen_source(path, backend_url="http://other.test", size_bytes=1))
    assert await history.seen_sources(XIEHE, "/srv/2024-01/P1") == {path: newest, odd: a_seen_source(odd)}


async def test_an_intent_survives_a_restart_with_its_session(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task())
        await history.add_intent(an_intent("i1"))
        await history.add_intent(an_intent("i2", name_key="IM2", source_path="/srv/\udcb2.dcm"))
        await history.add_intent(replace(an_intent("i1"), session="session-5"))
        await history.drop_intent("nobody")
    async with History.open(str(tmp_path)) as history:
        assert await history.open_intents("t1") == [
            an_intent("i2", name_key="IM2", source_path="/srv/\udcb2.dcm"),
            replace(an_intent("i1"), session="session-5"),
        ]


async def test_a_failed_file_leaves_its_open_intents_since_xiehe_may_still_complete_them(history: History) -> None:
    await history.add_intent(an_intent("i1", source_path="/srv/a.dcm"))
    await history.add_intent(an_intent("i2", source_path="/srv/b.dcm", name_key="IM2"))
    await history.record_outcome("t1", a_failure("/srv/a.dcm"))
    assert [intent.intent_id for intent in await history.intents_of_name(an_image(source_path="/srv/c.dcm"))] == ["i1"]


@pytest.mark.parametrize("end", ["image", "outcome", "drop"])
async def test_an_intent_is_closed_by_whatever_ends_its_upload(history: History, end: str) -> None:
    path = "/srv/\udcb2.dcm"
    await history.add_intent(an_intent("i1", source_path=path))
    await history.add_intent(an_intent("i2", source_path="/srv/other.dcm", name_key="IM2"))
    if end == "image":
        await history.record_image(an_image(source_path=path), "i1")
    elif end == "outcome":
        await history.record_outcome("t1", an_outcome(path), [an_image(source_path=path)])
    else:
        await history.drop_intent("i1")
    assert [intent.intent_id for intent in await history.open_intents("t1")] == ["i2"]
    assert len(await history.images_of_patient(XIEHE, "P1")) == (end in ("image", "outcome"))


# --- pruning -------------------------------------------------------------------------------------------------------


async def test_pruning_forgets_old_ended_tasks_and_keeps_the_index(history: History) -> None:
    old, new = NOON - timedelta(days=40), NOON - timedelta(days=10)
    await history.add_task(a_task("old", TaskStatus.COMPLETED, completed_at=old))
    await history.add_task(a_task("young", TaskStatus.CANCELLED, completed_at=new))
    await history.add_task(a_task("running since long", created_at=old))
    for task_id in ("old", "young", "running since long"):
        await history.record_outcome(task_id, an_outcome("/srv/a.dcm"), [an_image()], a_seen_source("/srv/a.dcm"))
        await history.record_left_out(task_id, [IgnoredFile("/srv/x", "junk")])
    await history.prune(NOON - timedelta(days=30))
    total, left = await history.list_tasks(0, 10)
    assert total == 3
    assert {record.task_id for record in left} == {"t1", "young", "running since long"}
    assert len(await history.images_of_patient(XIEHE, "P1")) == 1
    assert len(await history.seen_sources(XIEHE, "/srv")) == 1
    assert len(await history.ignored_rows("young", 0, 10)) == 1


async def test_pruning_leaves_no_row_of_a_forgotten_task(tmp_path: Path) -> None:
    async with History.open(str(tmp_path)) as history:
        await history.add_task(a_task("old", TaskStatus.FAILED, skipped_folders=(SkippedFolder("/x", "", ""),)))
        await history.record_outcome("old", an_outcome("/srv/a.dcm", stage_seconds={"decode": 1.0}))
        await history.record_left_out("old", [IgnoredFile("/srv/x", "junk")])
        await history.record_patient("old", "P1", True)
        await history.add_intent(an_intent(task_id="old"))
        await history.prune(NOON + timedelta(days=1))
    with closing(sqlite3.connect(tmp_path / "history.sqlite3")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        left = {table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}
    assert len(left) >= 10
    assert {table for table, rows in left.items() if rows and table != "sqlite_sequence"} == set()


async def test_pruning_keeps_a_parent_until_its_retry_has_ended(history: History) -> None:
    old = NOON - timedelta(days=40)
    await history.add_task(a_task("parent", TaskStatus.COMPLETED, completed_at=old))
    await history.add_task(a_task("child", parent_id="parent"))
    await history.prune(NOON)
    assert (await history.get_task("parent")).completed_at == old
    await history.save_task(a_task("child", TaskStatus.COMPLETED, parent_id="parent", completed_at=NOON))
    await history.prune(NOON)
    with pytest.raises(TaskNotFoundError):
        await history.get_task("parent")


async def test_other_tasks_write_while_a_large_one_is_pruned(history: History) -> None:
    await history.add_task(a_task("old", TaskStatus.COMPLETED, completed_at=NOON))
    await asyncio.gather(*(history.record_outcome("old", an_outcome(f"/srv/{n}")) for n in range(12_000)))
    pruning = asyncio.create_task(history.prune(NOON + timedelta(days=1)))
    recorded_meanwhile = 0
    while not pruning.done():
        await history.record_outcome("t1", an_outcome(f"/srv/{recorded_meanwhile}"))
        recorded_meanwhile += 1
    await pruning
    assert recorded_meanwhile > 2


READS_OF_A_TASK: dict[str, Callable[[History], Awaitable[object]]] = {
    "task": lambda history: history.get_task("old"),
    "counts": lambda history: history.counts("old"),
    "files": lambda history: history.files_page("old", FileFilter(), 0, 100),
    "later files": lambda history: history.files_page("old", FileFilter(), 8, 100),
    "one file": lambda history: history.recorded_file("old", 3),
    "report": lambda history: history.report_lines("old", 0, 100),
    "rest of a report": lambda history: history.report_lines("old", 8, 100),
    "ignored": lambda history: history.ignored_rows("old", 0, 100),
    "breakdown": lambda history: history.breakdown("old"),
    "failures": lambda history: history.newest_failures("old"),
}


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
async def test_a_task_that_is_being_pruned_is_not_found(
    steps: int, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve files, in transactions of five rows: after each of them, and after a stop of the service."""
    monkeypatch.setattr(transactions, "_PRUNE_ROWS", 5)
    await history.add_task(a_task("old", TaskStatus.COMPLETED, completed_at=NOON))
    await history.record_outcomes("old", [an_outcome(f"/srv/{number}") for number in range(12)])
    await history.record_left_out("old", [IgnoredFile(f"/srv/{number}.txt", "junk") for number in range(3)])
    await history.add_intent(an_intent(task_id="old"))
    for _ in range(steps):
        assert await history._writer.run(lambda tx: tx.prune_some(NOON + timedelta(days=1)))
    for name, read in READS_OF_A_TASK.items():
        with pytest.raises(TaskNotFoundError):
            await read(history)
            pytest.fail(name)
    total, left = await history.list_tasks(0, 10)
    assert (total, [record.task_id for record in left]) == (1, ["t1"])
    assert await history.tasks_left_in_doubt() == []
    await history.check()
    assert not history.damaged
    await history.prune(NOON + timedelta(days=1))
    assert await history._writer.run(lambda tx: tx.prune_some(NOON + timedelta(days=1))) is False


@pytest.mark.parametrize(
    ("table", "mapping"),
    [
        ("tasks", TASKS),
        ("tasks", COUNTS),
        ("files", FILES),
        ("images", IMAGES),
        ("seen_sources", SEEN_SOURCES),
        ("intents", INTENTS),
    ],
)
def test_every_field_has_a_column(table: str, mapping: RowMapping[Any]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, ":memory:")
        known = {column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")}
    missing = [f"ALTER TABLE {table} ADD COLUMN {name}" for name in mapping.types if name not in known]
    assert not missing, "_MIGRATIONS in history/schema.py lacks: " + ", ".join(missing)


def insert(connection: sqlite3.Connection, table: str, mapping: RowMapping[Any], value: object, **more: object) -> None:
    """A row as the version wrote it whose table this is: without the columns that came later."""
    known = {column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")}
    values = dict(zip(mapping.types, mapping.row(value), strict=True)) | more
    row = {column: value for column, value in values.items() if column in known}
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()])


async def test_a_history_of_version_0_3_0_goes_on_and_keeps_the_content_of_what_comes(tmp_path: Path) -> None:
    """Its rows, and an intent that was open when it was stopped."""
    old, intent = an_image(), INTENTS.row(an_intent())
    without = {name: value for name, value in json.loads(str(intent[1])).items() if name != "storage_etag"}
    with closing(sqlite3.connect(tmp_path / "history.sqlite3")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for step in (step for steps in _MIGRATIONS[:5] for step in steps):
            connection.execute(step) if isinstance(step, str) else step(connection)
        connection.execute("PRAGMA user_version = 5")
        insert(connection, "tasks", TASKS, a_task("t1"))
        insert(connection, "images", IMAGES, old)
        insert(
            connection, "intents", INTENTS, an_intent(), task_seq=1, shown_path="/srv/x.dcm", image=json.dumps(without)
        )
        connection.commit()
    async with History.open(str(tmp_path)) as history:
        assert await history.images_of_patient(XIEHE, "P1") == [old]
        assert await history.open_intents("t1") == [an_intent()]
        new = an_image("IM2", storage_etag="0123-1")
        await history.record_image(new)
        assert await history.images_of_patient(XIEHE, "P1") == [old, new]
