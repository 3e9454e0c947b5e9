"""Imports that start by themselves: when, of what, not twice at once; and wrong expressions, refused at start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import Settings
from errors import ConfigurationError, SourceNotFoundError, TaskOverlapError
from import_service import ImportService, open_import_service
from importing.background.scheduler import Clock, ImportSchedule, ScheduledImports
from importing.telemetry import NullTelemetry
from models import ImportOptions, TaskStatus
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.measured import metrics_of, value
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import names
from tests.waiting import PATIENCE_S

NIGHTLY = "0 2 * * *"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Start = Callable[[str, ImportOptions], Awaitable[object]]


class ATimeMachine:
    """A clock whose waiting takes no time; it stops for good at ``end``."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.moment = begin
        self._end = end
        self.ended = asyncio.Event()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.moment, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        if self.moment >= self._end:
            self.ended.set()
            await asyncio.Event().wait()
        self.moment += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class RecordingTelemetry(NullTelemetry):
    """Keeps what the schedule tells."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def scheduled(self, result: str) -> None:
        self.results.append(result)


async def live_through(time: ATimeMachine, scheduled: ScheduledImports) -> None:
    """Until the clock has come to its end."""
    running = asyncio.create_task(scheduled.run())
    async with asyncio.timeout(PATIENCE_S):
        await time.ended.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def start_and_end(service: ImportService) -> Start:
    """Starts imports as the service does, and waits for their end: the night's clock waits for nobody."""

    async def start(source: str, options: ImportOptions) -> None:
        task_id = (await service.start(source, options)).record.task_id
        with service.registry.subscribe(task_id) as changes:
            while not service.registry.get(task_id).at_rest:
                await anext(changes)

    return start


def at(time: ATimeMachine, start: Start, recorded: RecordingTelemetry, *sources: str) -> ScheduledImports:
    schedule = ImportSchedule.of(NIGHTLY, "Asia/Shanghai")
    return ScheduledImports(schedule, sources, lambda source: start(source, ImportOptions()), recorded, time.clock)


async def test_each_source_is_imported_each_night_by_the_clock_of_the_time_zone() -> None:
    time, begun = ATimeMachine(NOON, NOON + timedelta(days=2)), []

    async def start(source: str, options: ImportOptions) -> None:
        begun.append((source, time.moment))

    await live_through(time, at(time, start, RecordingTelemetry(), "/a", "/b"))

    first = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)  # 02:00 in Shanghai
    second = first + timedelta(days=1)
    assert begun == [("/a", first), ("/b", first), ("/a", second), ("/b", second)]


async def test_what_cannot_be_imported_now_is_tried_again_the_next_time() -> None:
    time, recorded = ATimeMachine(NOON, NOON + timedelta(days=3)), RecordingTelemetry()
    answers = [TaskOverlapError("still runs", "t1"), SourceNotFoundError("not mounted"), None]

    async def start(source: str, options: ImportOptions) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    await live_through(time, at(time, start, recorded, "/a"))

    assert recorded.results == ["skipped", "failed", "started"]


async def test_a_clock_that_was_set_back_starts_nothing_twice() -> None:
    time, begun = ATimeMachine(NOON, NOON + timedelta(hours=8)), []

    async def start(source: str, options: ImportOptions) -> None:
        begun.append(time.moment)
        time.moment -= timedelta(minutes=1)

    scheduled = at(time, start, RecordingTelemetry(), "/a")
    await live_through(time, scheduled)

    assert begun == [NOON + timedelta(hours=6)]
    assert scheduled.next_run == NOON + timedelta(hours=30)


async def test_a_clock_that_was_years_ahead_is_not_waited_for() -> None:
    time, begun = ATimeMachine(NOON + timedelta(days=1000), NOON + timedelta(days=2000)), []

    async def start(source: str, options: ImportOptions) -> None:
        begun.append(time.moment)
        time.ended.set()

    scheduled = at(time, start, RecordingTelemetry(), "/a")
    time.moment = NOON
    await live_through(time, scheduled)

    assert begun == [NOON + timedelta(hours=6)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-03-28T12:00", "2026-03-29T01:00"),  # 02:30 does not exist that night: at 03:00, cron's way
        ("2026-10-24T12:00", "2026-10-25T00:30"),  # 02:30 comes twice: once, the first time
        ("2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_a_change_of_the_clock_neither_skips_nor_doubles_a_night(after: str, expected: str) -> None:
    schedule = ImportSchedule.of("30 2 * * *", "Europe/Berlin")
    assert schedule.next_after(datetime.fromisoformat(after).replace(tzinfo=UTC)) == datetime.fromisoformat(
        expected
    ).replace(tzinfo=UTC)


async def test_a_defect_costs_its_source_alone_and_no_later_night() -> None:
    time, begun = ATimeMachine(NOON, NOON + timedelta(days=2)), []

    async def start(source: str, options: ImportOptions) -> None:
        begun.append(source)
        if begun == ["/a"]:
            raise RuntimeError

    scheduled = at(time, start, RecordingTelemetry(), "/a", "/b")
    with pytest.raises(RuntimeError):
        await scheduled.run()
    await live_through(time, scheduled)
    assert begun == ["/a", "/b", "/a", "/b"]


@pytest.mark.parametrize(
    "expression", ["* * * *", "61 * * * *", "0 0 30 2 *", "@daily", "每天", "* * * * * *", "0 2 * * X"]
)
def test_a_wrong_expression_is_refused_with_words_for_the_operator(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="IMPORT_SCHEDULE"):
        ImportSchedule.of(expression, None)


# --- the whole service -------------------------------------------------------------------------------------------


def the_settings(xiehe: SandboxProcess, folder: Path, source: Path, active_hours: str | None = None) -> Settings:
    return Settings(
        _env_file=None,
        backend_url=xiehe.url,
        api_token=xiehe.token,
        output_dir=str(folder / "output"),
        data_dir=str(folder / "data"),
        dicom_source_path=str(source),
        max_workers=1,
        active_hours=active_hours,
    )


def hours_that_are_over() -> str:
    """Half a day that begins in six hours."""
    begin = datetime.now().astimezone() + timedelta(hours=6)
    return f"{begin:%H:%M}-{begin + timedelta(hours=12):%H:%M}"


async def test_a_scheduled_import_brings_what_is_new_and_says_that_it_was_scheduled(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    settings = the_settings(xiehe_today, tmp_path, source)
    async with open_import_service(settings) as service:
        for night in range(2):
            time = ATimeMachine(NOON, NOON + timedelta(days=1))
            await live_through(time, at(time, start_and_end(service), RecordingTelemetry(), str(source)))
            write_tree(source, {"2024-01": {"P001": {f"new{night}.dcm": a_dicom_file()}}})
        _, views = await service.archive.tasks(0, 10)

    assert {view.record.status for view in views} == {TaskStatus.COMPLETED}
    second, first = (view.counts for view in views)
    assert (first.new_images_uploaded, first.duplicate_images_skipped) == (1, 0)
    assert (second.new_images_uploaded, second.duplicate_images_skipped) == (1, 1)
    assert names(xiehe_today) == {("P001", "a.jpg"), ("P001", "new0.jpg")}


async def test_a_source_that_is_still_being_imported_is_left_out(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    settings = the_settings(xiehe_today, tmp_path, source, active_hours=hours_that_are_over())
    async with open_import_service(settings) as service:
        waiting = await service.start(str(source), ImportOptions())
        time, recorded = ATimeMachine(NOON, NOON + timedelta(days=1)), RecordingTelemetry()
        await live_through(time, at(time, service.start, recorded, str(source)))
        total, _ = await service.archive.tasks(0, 10)

    assert waiting.record.status is TaskStatus.PENDING
    assert recorded.results == ["skipped"]
    assert total == 1


def test_the_next_scheduled_import_is_shown(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    root = tmp_path / "dicom"
    root.mkdir()
    folder, settings = tmp_path / "service", {"dicom_source_path": root, "timezone": "Asia/Shanghai"}
    with ServiceProcess(folder, xiehe_today.url, import_schedule=NIGHTLY, **settings) as service:
        shown = datetime.fromisoformat(service.http.get("/").json()["next_scheduled_import"])
        measured = metrics_of(service)

        assert shown > datetime.now(UTC)
        assert (shown.hour, shown.minute) == (18, 0)
        assert value(measured, "dicom_import_next_scheduled_timestamp_seconds") == shown.timestamp()


def test_without_a_schedule_there_is_no_next_import(service_today: ServiceProcess) -> None:
    assert service_today.http.get("/").json()["next_scheduled_import"] is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"import_schedule": "0 25 * * *", "import_schedule_path": "/a"}, "IMPORT_SCHEDULE"),
        ({"import_schedule": NIGHTLY}, "IMPORT_SCHEDULE_PATH"),
    ],
)
def test_a_service_with_a_wrong_schedule_does_not_start(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    service = ServiceProcess(tmp_path / "service", "http://127.0.0.1:9", **settings)

    assert service.launch().wait(PATIENCE_S) == 1
    assert named in service.log.read_text()
