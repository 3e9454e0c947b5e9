"""What ``/metrics`` says of an import, of a fault, of a dry run; and that no label can ever name a patient."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import httpx
import pytest

from config import Settings
from domain.outcome_codes import OUTCOME_HINTS
from domain.version import VERSION
from importing.telemetry import Gauges
from main import create_app
from models import FileOutcome, OutcomeKind, PauseReason, TaskResult, TaskStatus
from monitoring.metrics import CLOSED, FAULTS, NOTICES, OPERATIONS, OTHER, PATIENTS, SCHEDULED, STAGES, Metrics
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.measured import Samples, metrics_of, samples_in, value
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import until
from web.server.http_protocol import Closed

REPOSITORY = Path(__file__).resolve().parents[2]

CLOSED_SETS: Mapping[str, frozenset[str]] = {
    "outcome": frozenset(OutcomeKind),
    "code": frozenset(OUTCOME_HINTS) | {OTHER},
    "stage": frozenset({*STAGES.values(), OTHER, "waiting"}),
    "operation": OPERATIONS | {OTHER},
    "status": frozenset({*map(str, map(int, HTTPStatus)), *FAULTS, OTHER, *TaskStatus}),
    "result": frozenset({*TaskResult, "none", *PATIENTS.values(), *NOTICES, *SCHEDULED}),
    "reason": frozenset(PauseReason) | frozenset(Closed),
    "state": frozenset({"alive", "missing"}),
    "version": frozenset({VERSION}),
    "name": frozenset(
        {"pause_watch", "record_changes", "record_active_time", "prune_history", "check_history", "upload_recovery"}
        | {"schedule", "webhook", "live_push"}
    ),
}
"""Every label there may be, with every value that it may have; ``le`` is a bucket's bound."""


@contextmanager
def a_service(xiehe: SandboxProcess, folder: Path, **settings: object) -> Iterator[ServiceProcess]:
    with ServiceProcess(folder / "service", xiehe.url, api_token=xiehe.token, **settings) as service:
        yield service


@pytest.fixture
def render_processes() -> int:
    """Which are counted."""
    return 2


def a_mixed_tree(folder: Path) -> Path:
    good = a_dicom_file("P001")
    patients = {"P001": {"a.dcm": good, "b.dcm": good[: len(good) - 100]}, "P002": {"c.dcm": a_dicom_file("P999")}}
    return write_tree(folder / "dicom", {"2024-01": patients})


def test_an_import_is_counted_by_outcome_and_code(service_today: ServiceProcess, tmp_path: Path) -> None:
    done = service_today.run(a_mixed_tree(tmp_path))

    samples = metrics_of(service_today)

    assert value(samples, "dicom_import_files_total", outcome="uploaded", code="uploaded") == 1
    assert value(samples, "dicom_import_files_total", outcome="failed", code="truncated_pixel_data") == 1
    assert value(samples, "dicom_import_files_total", outcome="failed", code="patient_mismatch") == 1
    assert value(samples, "dicom_import_files_total") == done["progress"]["total_files_scanned"]
    assert value(samples, "dicom_import_bytes_uploaded_total") == done["progress"]["bytes_uploaded"] > 0
    assert value(samples, "dicom_import_patients_total", result="created") == 1
    assert value(samples, "dicom_import_stage_duration_seconds_count", stage="upload") == 1
    assert value(samples, "dicom_import_stage_duration_seconds_count", stage="read") >= 2
    assert value(samples, "dicom_import_tasks_ended_total", status="completed", result="partial") == 1
    ended = datetime.fromisoformat(done["completed_at"]).timestamp()
    assert value(samples, "dicom_import_last_success_timestamp_seconds") == ended


def test_when_nothing_runs_nothing_is_in_flight_and_all_processes_live(
    service_today: ServiceProcess, tmp_path: Path
) -> None:
    service_today.run(a_mixed_tree(tmp_path))

    samples = metrics_of(service_today)

    assert {its for name, its in samples if name == "dicom_import_inflight"} == {
        (("stage", stage),) for stage in ("read", "render", "upload", "waiting")
    }
    assert value(samples, "dicom_import_inflight") == 0
    assert value(samples, "dicom_import_tasks") == 0
    assert value(samples, "dicom_import_render_processes", state="alive") == 2
    assert value(samples, "dicom_import_render_processes", state="missing") == 0
    assert value(samples, "dicom_import_build_info", version=VERSION) == 1


def while_paused(service: ServiceProcess) -> Samples:
    """Samples of a moment in which a task is paused; each look of the pause watch ends such a moment."""
    moments = deque[Samples](maxlen=1)

    def is_paused() -> bool:
        moments.append(metrics_of(service))
        return value(moments[0], "dicom_import_tasks", status="paused") == 1

    until(is_paused)
    return moments[0]


def test_a_fault_shows_as_failed_calls_repetitions_and_a_held_task(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    xiehe_today.faults({"operation": "complete_session", "kind": "status", "status": 503, "times": "forever"})
    task_id = service_today.start_import(write_tree(tmp_path / "dicom", {"2024-01": {"P1": {"a": a_dicom_file("P1")}}}))

    held = while_paused(service_today)
    xiehe_today.clear_faults()
    service_today.wait(task_id)
    after = metrics_of(service_today)

    calls = "dicom_import_backend_request_duration_seconds_count"
    assert value(held, calls, operation="complete_session", status="503") >= 5
    assert value(held, "dicom_import_retries_total", operation="complete_session") >= 4
    assert value(held, "dicom_import_pauses_total", reason="backend_unavailable") >= 1
    assert value(held, "dicom_import_tasks", status="paused") == 1
    assert value(held, "dicom_import_tasks_paused", reason="backend_unavailable") == 1
    assert value(held, "dicom_import_inflight", stage="upload") == 1
    assert value(after, "dicom_import_tasks_paused") == 0
    assert value(after, calls, operation="complete_session", status="200") == 1


def test_a_dry_run_counts_neither_as_upload_nor_as_failure_nor_as_success(
    service_today: ServiceProcess, tmp_path: Path
) -> None:
    service_today.run(a_mixed_tree(tmp_path), dry_run=True)

    samples = metrics_of(service_today)

    assert {its for name, its in samples if name == "dicom_import_files_total"} == {
        (("code", "would_upload"), ("outcome", "would_upload"))
    }
    assert value(samples, "dicom_import_bytes_uploaded_total") == 0
    assert value(samples, "dicom_import_patients_total") == 0
    assert value(samples, "dicom_import_last_success_timestamp_seconds") == 0


def test_the_last_success_is_remembered_over_a_restart(service_today: ServiceProcess, tmp_path: Path) -> None:
    done = service_today.run(a_mixed_tree(tmp_path))
    service_today.stop()
    service_today.start()

    ended = datetime.fromisoformat(done["completed_at"]).timestamp()
    assert value(metrics_of(service_today), "dicom_import_last_success_timestamp_seconds") == ended


def test_the_key_guards_the_metrics(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    with a_service(xiehe_today, tmp_path, service_api_key="a-key") as service:
        assert service.http.get("/metrics").status_code == 401
        answer = service.http.get("/metrics", headers={"Authorization": "Bearer a-key"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_labels_come_from_closed_sets_whatever_the_files_are_called(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    secret = a_dicom_file("王小东", PatientName="Seeded^Secretname")
    write_tree(tmp_path / "dicom", {"2024-01": {"王小东": {"Secretname.dcm": secret, "b": secret[:400]}}})
    xiehe_today.faults({"operation": "any", "kind": "status", "status": 599, "times": 2, "skip": 3})
    xiehe_today.faults({"operation": "any", "kind": "cut_before", "times": 2, "skip": 6})
    done = service_today.run(tmp_path / "dicom")
    text = service_today.http.get("/metrics").text

    labels = set(chain.from_iterable(its for _, its in samples_in(text)))
    ours = {(name, found) for name, found in labels if name != "le"}
    assert ours
    assert {(name, found) for name, found in ours if found not in CLOSED_SETS.get(name, ())} == set()
    for word in ("Secretname", "王小东", "2024-01", done["task_id"], str(tmp_path)):
        assert word not in text


def test_each_limit_that_ends_a_connection_is_counted() -> None:
    assert set(CLOSED) == set(Closed)
    metrics = Metrics(VERSION)
    metrics.watch(lambda: Gauges(connections_closed={Closed.UNREAD: 3}))
    text = metrics.exposition().decode()
    for reason, count in (("unread", 3.0), ("limit", 0.0), ("request_timeout", 0.0)):
        assert f'dicom_import_connections_closed_total{{reason="{reason}"}} {count}' in text


def test_what_is_in_no_table_is_counted_as_other() -> None:
    metrics = Metrics(VERSION)
    metrics.backend_called("/patients/王小东", "Weird", 0.1)
    metrics.backend_retried("/patients/王小东")
    metrics.file_done(
        FileOutcome(
            source_path="/a",
            month=None,
            kind=OutcomeKind.FAILED,
            code="王小东",
            detail="",
            finished_at=datetime.now(UTC),
            stage_seconds={"王小东": 1.0},
        ),
        dry_run=False,
    )

    text = metrics.exposition().decode()

    assert "王小东" not in text
    samples = samples_in(text)
    assert value(samples, "dicom_import_files_total", code=OTHER) == 1
    assert value(samples, "dicom_import_retries_total", operation=OTHER) == 1
    calls = "dicom_import_backend_request_duration_seconds_count"
    assert value(samples, calls, operation=OTHER, status=OTHER) == 1


def test_applications_in_one_process_count_apart() -> None:
    settings = Settings(_env_file=None)
    first, second = (create_app(settings).state.metrics for _ in range(2))

    first.paused(PauseReason.USER)

    assert value(samples_in(first.exposition().decode()), "dicom_import_pauses_total") == 1
    assert value(samples_in(second.exposition().decode()), "dicom_import_pauses_total") == 0


def test_every_call_of_the_client_is_known() -> None:
    """A new one would be counted as ``other``."""
    named = {
        node.args[0].value
        for path in (REPOSITORY / "xiehe").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Call"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert named
    assert named | {"me"} == OPERATIONS


def test_every_fault_of_the_wire_is_known() -> None:
    found: set[type[httpx.TransportError]] = set()
    waiting = [httpx.TransportError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        found |= set() if kind.__subclasses__() else {kind}
    assert {kind.__name__ for kind in found} == FAULTS


def test_every_stage_of_a_file_is_known() -> None:
    source = "".join(path.read_text("utf-8") for path in (REPOSITORY / "dicom").rglob("*.py"))
    source += (REPOSITORY / "dicom_processor.py").read_text("utf-8")
    assert {*re.findall(r'clock\.add\("(\w+)"', source), "upload"} == set(STAGES)
