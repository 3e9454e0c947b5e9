"""Prometheus metrics: counts the importer's events; one registry per application, every label from a closed set.

Labels never hold a patient, a path or a task id: each value comes from an enum or a table of this module, and what is
in none of them is counted as ``other``.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache, partial
from http import HTTPStatus

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.outcome_codes import OUTCOME_HINTS
from importing.telemetry import Gauges, Stage, ran_to_its_end
from models import FileOutcome, OutcomeKind, PatientChange, PauseReason, TaskRecord, TaskStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"
OPERATIONS = frozenset(
    {
        *("detect", "login", "me", "search_patients", "create_patient", "list_images"),
        *("upload_single", "create_session", "put_part", "complete_session", "get_session"),
    }
)
"""The client's calls; a test compares this with the client."""
FAULTS = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "ReadError", "ReadTimeout", "WriteError", "WriteTimeout", "PoolTimeout"),
        *("CloseError", "LocalProtocolError", "RemoteProtocolError", "ProxyError", "UnsupportedProtocol"),
    }
)
"""Calls without an answer; a test compares this with httpx."""
STATUSES = frozenset(str(status.value) for status in HTTPStatus)
STAGES = {"parse": "read", "decode": "decode", "render": "render", "encode": "encode", "upload": "upload"}
"""Stages of a file's clock, and what they are called here."""
PATIENTS = {True: "created", False: "existing"}
NOTICES = ("delivered", "refused", "given_up")
CLOSED = ("request_timeout", "unread", "limit")
"""Limits of web.server.http_protocol that end a connection; a test compares this with them."""
SCHEDULED = ("started", "skipped", "failed")

_FILE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BUSY = (Stage.READ, Stage.RENDER, Stage.UPLOAD)
_LIVING = tuple(status for status in TaskStatus if not status.ended)


class Metrics:
    """A :class:`importing.telemetry.Telemetry` that counts."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a twin: since when it counts
        self._registry = registry = CollectorRegistry()
        self._collector = _GaugesCollector()
        self._in_progress: Counted[Stage] = Counted()
        self._make_file_metrics(registry)
        self._make_backend_metrics(registry)
        self._make_task_metrics(registry)
        build = Gauge("dicom_import_build_info", "The version that runs; always 1.", ["version"], registry=registry)
        build.labels(version).set(1)
        registry.register(self._collector)
        ProcessCollector(registry=registry)

    def watch(self, gauges: Callable[[], Gauges]) -> None:
        """Calls ``gauges`` at each scrape from now on."""
        self._collector.read = gauges

    def resume(self, last_success: datetime | None) -> None:
        """Sets when an import last ran to its end, as the history knows."""
        if last_success is not None:
            self._last_success.set(last_success.timestamp())

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    # --- events of the importer -----------------------------------------------------------------------------------

    def file_done(self, outcome: FileOutcome, *, dry_run: bool) -> None:
        """Of a dry run only ``would_upload`` counts: nothing of it failed or arrived."""
        if dry_run and outcome.kind is not OutcomeKind.WOULD_UPLOAD:
            return
        code = outcome.code if outcome.code in OUTCOME_HINTS else OTHER
        self._files_counter(outcome.kind, code).inc()
        if dry_run:
            return
        self._bytes.inc(outcome.bytes_uploaded)
        for stage, seconds in outcome.stage_seconds.items():
            self._stage_seconds.labels(STAGES.get(stage, OTHER)).observe(seconds)

    def patient_counted(self, change: PatientChange) -> None:
        if change.resolved is not None:
            self._patients.labels(PATIENTS[change.resolved]).inc()

    def paused(self, reason: PauseReason) -> None:
        self._pauses.labels(reason).inc()

    @contextmanager
    def in_flight(self, stage: Stage) -> Iterator[None]:
        self._in_progress[stage] += 1
        try:
            yield
        finally:
            self._in_progress[stage] -= 1

    def task_ended(self, record: TaskRecord) -> None:
        self._ended.labels(record.status, record.result or "none").inc()
        if ran_to_its_end(record) and record.completed_at is not None:
            self._last_success.set(record.completed_at.timestamp())

    def backend_called(self, operation: str, status: str, seconds: float) -> None:
        named = status if status in STATUSES or status in FAULTS else OTHER
        self._calls.labels(_known(operation), named).observe(seconds)

    def backend_retried(self, operation: str) -> None:
        self._retries.labels(_known(operation)).inc()

    def notice_sent(self, result: str) -> None:
        self._notices.labels(result).inc()

    def scheduled(self, result: str) -> None:
        self._scheduled.labels(result).inc()

    # --- the metrics -----------------------------------------------------------------------------------------------

    def _make_file_metrics(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        files = counter("dicom_import_files", "Files by outcome; a dry run's as would_upload.", ["outcome", "code"])
        self._files_counter = lru_cache(maxsize=None)(files.labels)  # finding a child costs more than counting
        self._stage_seconds = Histogram(
            "dicom_import_stage_duration_seconds",
            "Time of one file in each stage of the work.",
            ["stage"],
            buckets=_FILE_SECONDS,
            registry=registry,
        )
        help_text = "Files under way by stage; waiting: for a turn, a patient, the end of a pause."
        inflight = Gauge("dicom_import_inflight", help_text, ["stage"], registry=registry)
        for stage in _BUSY:
            inflight.labels(stage).set_function(partial(self._in_progress.__getitem__, stage))
        inflight.labels("waiting").set_function(self._waiting)
        self._bytes = counter("dicom_import_bytes_uploaded", "Bytes of pictures new in XieHe.")
        self._patients = counter("dicom_import_patients", "Patients met by tasks, once per task.", ["result"])
        _show_zeros(self._patients, PATIENTS.values())

    def _make_backend_metrics(self, registry: CollectorRegistry) -> None:
        self._calls = Histogram(
            "dicom_import_backend_request_duration_seconds",
            "HTTP exchanges with XieHe; status is the number or the fault.",
            ["operation", "status"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "dicom_import_retries", "Repetitions of calls to XieHe.", ["operation"], registry=registry
        )

    def _make_task_metrics(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._pauses = counter("dicom_import_pauses", "Times that a task was held.", ["reason"])
        self._ended = counter("dicom_import_tasks_ended", "Tasks that came to rest.", ["status", "result"])
        self._last_success = Gauge(
            "dicom_import_last_success_timestamp_seconds",
            "When an import last ran to its end (result success or partial); 0: never.",
            registry=registry,
        )
        self._notices = counter("dicom_import_webhook_deliveries", "Webhook deliveries by result.", ["result"])
        self._scheduled = counter("dicom_import_scheduled_runs", "What the schedule did, by source.", ["result"])
        for each, values in ((self._pauses, PauseReason), (self._notices, NOTICES), (self._scheduled, SCHEDULED)):
            _show_zeros(each, values)

    def _waiting(self) -> float:
        return self._in_progress[Stage.FILE] - sum(self._in_progress[stage] for stage in _BUSY)


class _GaugesCollector(Collector):
    """Reads current values when it is scraped."""

    def __init__(self) -> None:
        self.read: Callable[[], Gauges] = Gauges

    def collect(self) -> Iterator[Metric]:
        gauges = self.read()
        tasks = GaugeMetricFamily("dicom_import_tasks", "Tasks that have not ended, by status.", labels=["status"])
        for status in _LIVING:
            tasks.add_metric([status], gauges.tasks.get(status, 0))
        yield tasks
        paused = GaugeMetricFamily("dicom_import_tasks_paused", "Tasks held now, by reason.", labels=["reason"])
        for reason in PauseReason:
            paused.add_metric([reason], gauges.paused.get(reason, 0))
        yield paused
        yield from _gauges_of(gauges)

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering does not read from a service that is not open yet."""
        return iter(())


def _gauges_of(gauges: Gauges) -> Iterator[Metric]:
    processes = GaugeMetricFamily("dicom_import_render_processes", "Render processes.", labels=["state"])
    processes.add_metric(["alive"], gauges.render_alive)
    processes.add_metric(["missing"], gauges.render_workers - gauges.render_alive)
    yield processes
    restarts = CounterMetricFamily(
        "dicom_import_background_restarts", "Restarts of background jobs after a defect.", labels=["name"]
    )
    for job, count in gauges.background_restarts.items():
        restarts.add_metric([job], count)
    yield restarts
    closed = CounterMetricFamily(
        "dicom_import_connections_closed", "Connections of clients that a limit ended.", labels=["reason"]
    )
    for reason in CLOSED:
        closed.add_metric([reason], gauges.connections_closed.get(reason, 0))
    yield closed
    yield GaugeMetricFamily(
        "dicom_import_history_damaged", "1 if the history's file is damaged, and so not used.", gauges.history_damaged
    )
    yield GaugeMetricFamily(
        "dicom_import_uploads_in_flight_limit", "Uploads at once at most, now.", gauges.uploads_at_once
    )
    yield GaugeMetricFamily(
        "dicom_import_uploads_per_second_limit",
        "Uploads begun per second at most, now; no sample where there is no limit.",
        gauges.uploads_per_second,
    )
    yield GaugeMetricFamily(
        "dicom_import_next_scheduled_timestamp_seconds",
        "The next scheduled import; no sample where there is none.",
        gauges.next_scheduled_s,
    )


def _show_zeros(counter: Counter, values: Iterable[str]) -> None:
    """Prometheus can only see a first increase if the counter was 0 before."""
    for value in values:
        counter.labels(value)


def _known(operation: str) -> str:
    return operation if operation in OPERATIONS else OTHER
