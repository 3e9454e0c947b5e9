"""A history whose file is damaged in the middle: no answer is silently short or wrong, and the operator is told."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.commands.report_command import ReportForm, complete
from errors import HistoryDamagedError, HistoryError, ServiceRefusedError
from history import FileFilter, History, SeenSource, TaskScope, integrity
from history.database import connect_for_reading
from importing.runs.task_views import TaskArchive
from models import FileWarning, IgnoredFile, ImportedImage, OutcomeKind, SkippedFolder, TaskStatus
from source import overlaps
from tasks import TaskRegistry
from tests.unit.damaged_files import DAMAGES, LONG_TEXT, PAGE, damage, garbage, pages_by_kind, zeros
from tests.unit.test_history import (
    NOON,
    XIEHE,
    a_failure,
    a_seen_source,
    a_task,
    an_image,
    an_intent,
    an_outcome,
)
from tests.waiting import PATIENCE_S
from web.api import schemas as api
from web.api import serializers
from web.api.report_writer import ReportFormat, ReportPage, write_report

FILES, IGNORED, SKIPPED, IMAGES = 1_500, 200, 60, 300
FOLDER = "/srv/dicom/2024-01/P1"
DATABASE = "history.sqlite3"
COLUMNS = tuple(api.ReportEntry.model_fields)
KINDS = ("table leaf", "table interior", "index leaf", "index interior", "overflow", "freelist trunk", "freelist leaf")
Read = Callable[[History], Awaitable[object]]


def the_outcome(number: int) -> Any:
    path = f"{FOLDER}/IM{number:05d}.dcm"
    more: dict[str, Any] = {"month": f"2024-0{number % 3 + 1}", "patient_id": "P1", "upload_filename": f"{number}.jpg"}
    if number % 5 == 0:
        return a_failure(path, detail="文件被截断", **more)
    if number % 7 == 0:
        return an_outcome(path, OutcomeKind.DUPLICATE, warnings=(FileWarning("renamed", "另一个名称"),), **more)
    return an_outcome(path, detail=LONG_TEXT if number % 400 == 1 else "已上传", **more)


def the_image(number: int) -> ImportedImage:
    uid = f"1.2.{number}"
    path = f"{FOLDER}/IM{number:05d}.dcm"
    return an_image(f"IM{number:05d}", instance=uid, sop_instance_uid=uid, source_path=path, image_file_id=number)


def the_source(number: int) -> SeenSource:
    return a_seen_source(f"{FOLDER}/IM{number:05d}.dcm", instance=f"1.2.{number}", sop_instance_uid=f"1.2.{number}")


async def fill(data_dir: Path) -> None:
    """One task of many files, and the free pages that an older one has left."""
    async with History.open(str(data_dir)) as history:
        await history.add_task(a_task("old", TaskStatus.COMPLETED, completed_at=NOON - timedelta(days=99)))
        for _ in range(3):
            await history.record_outcomes("old", [the_outcome(number) for number in range(FILES // 2)])
        await history.add_task(a_task())
        await history.count_on_board("t1", TaskScope(XIEHE, "/srv/dicom", whole_months=True))
        await history.record_outcomes("t1", [the_outcome(number) for number in range(1, FILES + 1)])
        await history.record_left_out("t1", [IgnoredFile(f"{FOLDER}/{n}.txt", "junk") for n in range(IGNORED)])
        folders = [SkippedFolder(f"/srv/dicom/{n:03d}", "不是月份", "请检查") for n in range(SKIPPED)]
        await history.record_left_out("t1", folders)
        await asyncio.gather(*(history.record_image(the_image(n)) for n in range(IMAGES)))
        await asyncio.gather(*(history.record_seen(the_source(n)) for n in range(IMAGES)))
        await asyncio.gather(*(history.add_intent(an_intent(f"i{n}", name_key=f"IM{n}")) for n in range(9)))
        await history.prune(NOON - timedelta(days=9))


async def every_page(history: History, wanted: FileFilter = FileFilter()) -> object:  # noqa: B008 - frozen
    pages = [await history.files_page("t1", wanted, 0, 100)]
    while pages[-1].next_after is not None:
        pages.append(await history.files_page("t1", wanted, pages[-1].next_after, 100))
    return pages


async def whole_report(history: History) -> object:
    lines = await history.report_lines("t1", 0, 400)
    while more := await history.report_lines("t1", len(lines), 400):
        lines += more
    return lines


READS: Mapping[str, Read] = {
    "files": every_page,
    "failed files": lambda history: every_page(history, FileFilter(kind=OutcomeKind.FAILED)),
    "report": whole_report,
    "tasks": lambda history: history.list_tasks(0, 100),
    "task": lambda history: history.get_task("t1"),
    "counts": lambda history: history.counts("t1"),
    "breakdown": lambda history: history.breakdown("t1"),
    "one file": lambda history: history.recorded_file("t1", 700),
    "ignored": lambda history: history.ignored_rows("t1", 0, 1_000),
    "skipped": lambda history: history.skipped_folders("t1", "", 1_000),
    "failures": lambda history: history.newest_failures("t1"),
    "to retry": lambda history: history.failed_sources("t1", None, 0, 1_000),
    "names of a folder": lambda history: history.recorded_paths("t1", FOLDER),
    "images of a patient": lambda history: history.images_of_patient(XIEHE, "P1"),
    "images of an instance": lambda history: history.instances(XIEHE, "1.2.150"),
    "known sources": lambda history: history.seen_sources(XIEHE, FOLDER),
    "month board": lambda history: history.month_sums(XIEHE),
    "open intents": lambda history: history.open_intents("t1"),
}


async def answer(read: Read, history: History) -> object:
    """What it answers; None where it says that the history is unusable."""
    try:
        return await read(history)
    except HistoryError as error:
        assert error.code == "history_unusable"
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The file of a sound history, and what it answers."""
    folder = tmp_path_factory.mktemp("sound")
    await fill(folder)
    async with History.open(str(folder)) as history:
        await history.check()
        assert not history.damaged
        answers = {name: await answer(read, history) for name, read in READS.items()}
    assert None not in answers.values()
    return folder / DATABASE, answers


def a_copy(sound: tuple[Path, dict[str, object]], folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(sound[0], folder / DATABASE))


async def wrong_answers(data_dir: Path, truth: dict[str, object]) -> list[str]:
    """Reads that answer something else than the truth, or than that the history is unusable, after a full check."""
    try:
        async with History.open(str(data_dir)) as history:
            early = {name: await answer(READS[name], history) for name in ("files", "failed files", "report")}
            await history.check()
            late = {name: await answer(read, history) for name, read in READS.items()}
            assert not history.damaged or set(late.values()) == {None}
    except HistoryError:
        return []  # it does not open
    return [f"{name} early" for name, found in early.items() if lengths(found) not in (None, lengths(truth[name]))] + [
        name for name, found in late.items() if found not in (None, truth[name])
    ]


def lengths(found: Any) -> object:
    """How much there is in a report or in pages."""
    if found is None:
        return None
    return [len(each.rows) if hasattr(each, "rows") else 1 for each in found]


@pytest.mark.parametrize("change", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
async def test_after_the_check_no_answer_is_wrong_or_short(
    kind: str, change: Callable[[bytes], bytes], sound: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    path, truth = sound
    numbers = pages_by_kind(path)[kind]
    assert numbers
    few = [numbers[0], numbers[len(numbers) // 2], numbers[-1]]
    wrong = {}
    for at, chosen in enumerate([*([number] for number in few), few]):
        copy = a_copy(sound, tmp_path / str(at))
        damage(copy, chosen, change)
        wrong[str(chosen)] = await wrong_answers(copy.parent, truth)
    assert not any(wrong.values()), wrong


# --- the latch -----------------------------------------------------------------------------------------------------


async def test_damage_is_logged_once_and_a_later_check_that_finds_none_lifts_it(
    sound: tuple[Path, dict[str, object]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = a_copy(sound, tmp_path / "data")
    whole = copy.read_bytes()
    async with History.open(str(copy.parent)) as history:
        damage(copy, pages_by_kind(copy)["index leaf"][-3:], garbage)
        for _ in range(3):
            await history.check()
            with pytest.raises(HistoryDamagedError, match="先复制整个数据文件夹留底") as refused:
                await history.list_tasks(0, 1)
        with pytest.raises(HistoryDamagedError):
            await history.record_outcome("t1", the_outcome(9_999))
        assert str(copy) in refused.value.detail
        logged = [record.getMessage() for record in caplog.records if "history" in record.getMessage()]
        assert len(logged) == 1
        assert "history is damaged and not used any more" in logged[0]

        copy.write_bytes(whole)
        await history.check()
        assert not history.damaged
        assert (await history.counts("t1")).total_files_scanned == FILES


async def test_damage_that_a_read_meets_stops_every_other_use(
    sound: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    copy = a_copy(sound, tmp_path / "data")
    damage(copy, pages_by_kind(copy)["table interior"], zeros)
    async with History.open(str(copy.parent)) as history:
        with pytest.raises(HistoryDamagedError):
            await whole_report(history)
        assert history.damaged
        with pytest.raises(HistoryDamagedError):
            await history.add_task(a_task("t2"))


@pytest.mark.parametrize("change", ["files = 0", "files = files + 1", "code = 'other', files = 1"])
async def test_sums_that_contradict_the_rows_are_damage(
    change: str, sound: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    copy = a_copy(sound, tmp_path / "data")
    altered(copy, f"UPDATE tallies SET {change} WHERE month = '2024-01' AND code = 'uploaded'")
    async with History.open(str(copy.parent)) as history:
        with pytest.raises(HistoryError):
            await history.files_page("t1", FileFilter(), 0, 100)
        await history.check()
        assert history.damaged


def altered(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize("moment", ["before it begins", "while it runs"])
async def test_closing_does_not_wait_for_a_check(
    moment: str, sound: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT 'ok' FROM n WHERE x < 0"
    monkeypatch.setattr(integrity, "_CHECK", endless)

    def connected(path: str) -> sqlite3.Connection:
        connection = connect_for_reading(path)
        connection.create_function("begun", 0, begun.set)
        return connection

    if moment == "while it runs":
        monkeypatch.setattr(integrity, "_CHECK", endless.replace("SELECT 1 ", "SELECT coalesce(begun(), 1) "))
        monkeypatch.setattr(integrity, "connect_for_reading", connected)
    copy = a_copy(sound, tmp_path / "data")
    async with asyncio.timeout(PATIENCE_S), History.open(str(copy.parent)) as history:
        check = asyncio.create_task(history.check())
        await asyncio.sleep(0)
        if moment == "while it runs":
            assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        check.cancel()
    assert not history.damaged


# --- rows that cannot be converted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "change", "reads"),
    [
        ("files", "warnings = char(0)", ("files", "report", "one file")),
        ("files", "warnings = '[[1]]'", ("files", "report")),
        ("files", "finished_at = 0", ("files", "report")),
        ("files", "finished_at = 9223372036854775807", ("files", "report")),
        ("files", "finished_at = x'00000000'", ("files", "report")),
        ("files", "frames_total = 'three'", ("files", "report")),
        ("files", "detail = x'0000'", ("files", "report")),
        ("files", "detail = CAST(x'ff00fe' AS TEXT)", ("files", "report")),
        ("files", "upload_filename = char(0, 0, 0)", ("files", "report")),
        ("files", "window_source = 'nowhere'", ("files", "report")),
        ("files", "stage_seconds = '{'", ("files", "one file")),
        ("tallies", "kind = 'lost'", ("files", "breakdown")),
        ("ignored_files", "reason = x'00'", ("ignored",)),
        ("skipped_folders", "hint = x'00'", ("skipped",)),
        ("tasks", "total_patients_found = 'many'", ("counts",)),
        ("tasks", "created_at = 0", ("task", "tasks")),
        ("images", "uploaded_at = 'never'", ("images of a patient",)),
        ("images", "source_path = 7", ("images of a patient",)),
        ("seen_sources", "name_keys = 'IM1'", ("known sources",)),
        ("seen_sources", "size_bytes = x''", ("known sources",)),
        ("month_sums", "kind = ''", ("month board",)),
        ("intents", "image = '{}'", ("open intents",)),
        ("intents", "known_ids = 'null'", ("open intents",)),
    ],
)
async def test_a_row_that_cannot_be_converted_is_no_answer(
    table: str, change: str, reads: tuple[str, ...], sound: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    copy = a_copy(sound, tmp_path / "data")
    altered(copy, f"UPDATE {table} SET {change}")
    async with History.open(str(copy.parent)) as history:
        for read in reads:
            with pytest.raises(HistoryError) as refused:
                await READS[read](history)
            assert refused.value.code == "history_unusable"
            assert "从备份恢复" in refused.value.detail


# --- a report in the middle ----------------------------------------------------------------------------------------


async def pages_of(history: History) -> AsyncIterator[ReportPage]:
    async for lines in TaskArchive(history, TaskRegistry(overlaps)).report("t1"):
        yield ReportPage(tuple(api.ReportEntry.model_fields), map(serializers.report_values, lines))


@pytest.mark.parametrize("form", ReportFormat)
async def test_a_report_that_breaks_off_says_so_in_its_last_line(
    form: ReportFormat, sound: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    """Row 1,400 is on the second page of the report: 1,000 rows are sent before."""
    copy = a_copy(sound, tmp_path / "data")
    content = copy.read_bytes()
    leaves = pages_by_kind(copy)["table leaf"]
    holders = [number for number in leaves if b"IM01400.dcm" in content[(number - 1) * PAGE : number * PAGE]]
    assert holders
    damage(copy, holders, zeros)
    async with History.open(str(copy.parent)) as history:
        pieces = [piece async for piece in await write_report(pages_of(history), form, COLUMNS)]
    *_, last = b"".join(pieces).decode().rstrip().splitlines()
    assert "broken_off" in last
    assert "history_unusable" in last
    if form is ReportFormat.NDJSON:
        assert json.loads(last)["outcome"] == "broken_off"
    if form is ReportFormat.JSON:
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(b"".join(pieces))
    with pytest.raises(ServiceRefusedError, match=r"不完整.*已损坏") as refused:
        list(complete(pieces, ReportForm(form.value)))
    assert refused.value.problem == "history_unusable"


async def test_a_report_that_fails_at_once_is_no_report(sound: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    copy = a_copy(sound, tmp_path / "data")
    damage(copy, pages_by_kind(copy)["table interior"], zeros)
    async with History.open(str(copy.parent)) as history:
        with pytest.raises(HistoryDamagedError):
            await write_report(pages_of(history), ReportFormat.CSV, COLUMNS)


@pytest.mark.parametrize("form", ReportForm)
def test_a_whole_report_is_passed_on(form: ReportForm) -> None:
    row = b'{"outcome":"failed","code":"broken_off"}'
    whole = {
        ReportForm.CSV: [b"\xef\xbb\xbfoutcome,", b"code\r\nfailed,broken_off\r\n"],
        ReportForm.NDJSON: [row, b"\n"],
        ReportForm.JSON: [b"[", row, b"]\n"],
    }
    assert list(complete(whole[form], form)) == whole[form]
    assert list(complete([], form)) == []
