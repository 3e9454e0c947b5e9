"""(g) The history with many outcomes: writing them, streaming a report, listing tasks."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Section, Table, shown
from benchmarks.process_costs import own_cpu_s, peak_rss_mb
from benchmarks.small_trees import Planted, TreeShape, fill_history
from history import History
from models import ImportOptions, TaskRecord, TaskResult, TaskStatus
from tests.integration.service_process import ServiceProcess

_UNREACHABLE = "http://127.0.0.1:9"
_ASKED = 30


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the history holds."""

    shape: TreeShape
    tasks: int = 500


FULL, QUICK = Sizes(TreeShape(patients=2_000, files=500)), Sizes(TreeShape(patients=20, files=200), tasks=20)

_METHOD = """{outcomes:,} outcomes of one task, each with its image's index row and its source's memory, are written
through `history.History` with 512 at a time, beside {tasks} empty tasks; then a service is started on that history
and asked over HTTP. There is no target for it."""


def measure(sizes: Sizes, folder: Path) -> Section:
    """Write, then ask."""
    spent = time.process_time()
    write_s = asyncio.run(_fill(sizes, folder / "data"))
    write_cpu_us = 1e6 * (time.process_time() - spent) / sizes.shape.total
    size_mb = (folder / "data" / "history.sqlite3").stat().st_size / 2**20
    started = time.perf_counter()
    with ServiceProcess(folder, _UNREACHABLE, api_token="none") as service:
        start_s = time.perf_counter() - started
        rows = [
            (
                "writing outcomes",
                f"{shown(write_s)} s",
                f"{shown(sizes.shape.total / write_s)} /s, {shown(write_cpu_us)} µs of CPU each, {shown(size_mb)} MB",
            ),
            ("start of the service on it", f"{shown(start_s)} s", ""),
            *_questions(service),
            *(_report(service, sizes.shape.total, form) for form in ("csv", "ndjson")),
            ("peak RSS of the service afterwards", f"{shown(peak_rss_mb(service.pid))} MB", ""),
        ]
    method = _METHOD.format(outcomes=sizes.shape.total, tasks=sizes.tasks)
    return Section("(g) history", method, (), Table(("what", "median", "beside"), tuple(rows)))


async def _fill(sizes: Sizes, data: Path) -> float:
    shape = sizes.shape
    files = [
        Planted(Path(f"/srv/dicom/{shape.folder(patient)}/IM{number:05d}.dcm"), "2024-01", patient, number, 1, 1)
        for patient in range(shape.patients)
        for number in range(shape.files)
    ]
    async with History.open(str(data)) as history:
        now = datetime.now(UTC)
        for number in range(sizes.tasks):
            await history.add_task(
                TaskRecord(
                    *(f"empty-{number}", "/srv/dicom", ImportOptions(), TaskStatus.COMPLETED, now, now, now),
                    result=TaskResult.SUCCESS,
                )
            )
    began = time.perf_counter()
    await fill_history(data, _UNREACHABLE, Path("/srv/dicom"), files)
    return time.perf_counter() - began


def _questions(service: ServiceProcess) -> list[tuple[str, str, str]]:
    paths = (
        ("/import/tasks?limit=50", "task list, 50 newest"),
        ("/import/earlier/status", "status of the large task"),
        ("/import/earlier/stats", "statistics of the large task"),
        ("/import/earlier/files?limit=100", "first 100 of its files"),
        ("/months", "month board"),
    )
    return [_asked(service, path, what) for path, what in paths]


def _asked(service: ServiceProcess, path: str, what: str) -> tuple[str, str, str]:
    took = [_seconds(lambda: service.http.get(path).raise_for_status()) for _ in range(_ASKED)]
    return what, f"{shown(1000 * statistics.median(took))} ms", f"slowest of {_ASKED}: {shown(1000 * max(took))} ms"


def _report(service: ServiceProcess, expected: int, form: str) -> tuple[str, str, str]:
    began, first_s, size, lines = time.perf_counter(), 0.0, 0, 0
    spent = own_cpu_s(service.pid)
    with service.http.stream("GET", "/import/earlier/report", params={"format": form}) as answer:
        for piece in answer.raise_for_status().iter_bytes():
            first_s = first_s or time.perf_counter() - began
            size += len(piece)
            lines += piece.count(b"\n")
    seconds = time.perf_counter() - began
    if lines < expected:
        raise RuntimeError(f"the report has {lines} of {expected} rows")
    cpu_us = 1e6 * (own_cpu_s(service.pid) - spent) / expected
    beside = (
        f"{shown(expected / seconds)} rows/s, {shown(cpu_us)} µs of the service's CPU a row,"
        f" first byte after {shown(1000 * first_s)} ms, {shown(size / 2**20)} MB"
    )
    return f"report as {form.upper()}, streamed", f"{shown(seconds)} s", beside


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
