"""The models of the API from the values of the service."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from domain.outcome_codes import hint_for, ignored_words
from domain.report_columns import REPORT_COLUMN_NAMES, REPORT_COLUMNS
from import_service import DryRunPlan, IgnoredRow, MonthStatus, ReportLine, ReportRow, TaskBreakdown, TaskView
from models import FileOutcome, ImportOptions, OutcomeKind, SkippedFolder, TaskRecord, TaskStatus, display_path
from web.api import schemas as api
from web.api.report_writer import Cell

_CODE_AT, _HINT_AT = map(REPORT_COLUMN_NAMES.index, ("code", "hint"))


def summary(view: TaskView) -> api.TaskSummary:
    """One row of the task list."""
    record = view.record
    return api.TaskSummary(
        task_id=record.task_id,
        status=record.status,
        dry_run=record.options.dry_run,
        source_path=display_path(record.source_path),
        description=record.options.description,
        created_at=record.created_at,
        started_at=record.started_at,
        completed_at=record.completed_at,
        duration_seconds=_duration(record),
        active_seconds=None if record.active_seconds is None else round(record.active_seconds, 1),
        progress=_progress(view),
        errors_total=view.counts.failed_files,
        result=record.result,
        result_detail=record.result_detail,
        pause_reason=record.pause_reason,
        parent_id=record.parent_id,
        retried_by=record.retried_by,
    )


def status(view: TaskView, plan: DryRunPlan | None) -> api.TaskStatusResponse:
    """GET /import/{id}/status."""
    notices = [api.Notice(code=warning.code, message=warning.message) for warning in view.record.warnings]
    if view.pause_detail and view.record.pause_reason:
        notices.append(api.Notice(code=view.record.pause_reason, message=view.pause_detail))
    return api.TaskStatusResponse(
        **dict(summary(view)),
        seq=view.seq,
        options=_options(view.record.options),
        plan=_plan(plan),
        errors=[error_entry(outcome) for outcome in view.failures],
        warnings=notices,
        skipped_folders=[
            api.FolderSkipped(path=display_path(folder.path), reason=folder.reason, hint=folder.hint)
            for folder in view.record.skipped_folders
        ],
        skipped_folders_total=view.skipped_folders_total,
    )


def stats(view: TaskView, breakdown: TaskBreakdown, plan: DryRunPlan | None) -> api.TaskStatsResponse:
    """GET /import/{id}/stats."""
    return api.TaskStatsResponse(
        task_id=view.record.task_id,
        status=view.record.status,
        **asdict(view.counts),
        dry_run=view.record.options.dry_run,
        plan=_plan(plan),
        duration_seconds=_duration(view.record),
        errors=[error_entry(outcome) for outcome in view.failures],
        errors_total=view.counts.failed_files,
        by_code=_by_code(breakdown),
        by_month=_by_month(breakdown),
        stage_seconds={stage: round(seconds, 3) for stage, seconds in breakdown.stage_seconds.items()},
    )


def error_entry(outcome: FileOutcome) -> api.ErrorEntry:
    """One failed file in ``errors``."""
    return api.ErrorEntry(
        file=display_path(outcome.source_path),
        patient_id=outcome.patient_id,
        code=outcome.code,
        error=outcome.detail,
        hint=hint_for(outcome.code),
        timestamp=outcome.finished_at,
    )


def report_row(row: ReportRow) -> api.ReportEntry:
    """One scanned file in the report."""
    outcome = row.outcome
    values = {column.name: getattr(outcome, column.field) for column in REPORT_COLUMNS if column.field}
    known = {"number": row.number, "source_path": display_path(outcome.source_path), "hint": hint_for(outcome.code)}
    entry: api.ReportEntry = api.ReportEntry.model_validate(values | known, from_attributes=True)
    return entry


def board_month(entry: MonthStatus) -> api.MonthEntry:
    """One month of the board."""
    values = asdict(entry)
    values["source_paths"] = [display_path(path) for path in entry.source_paths]
    values["by_code"] = [api.CodeFiles(code=code, files=files) for code, files in entry.by_code]
    return api.MonthEntry(**values)


def report_values(line: ReportLine) -> tuple[Cell, ...]:
    """One scanned file in the streamed report, in the order of REPORT_COLUMNS: the values of :func:`report_row`."""
    return (*line[:_HINT_AT], hint_for(str(line[_CODE_AT])), *line[_HINT_AT:])


def ignored_values(row: IgnoredRow) -> tuple[Cell, ...]:
    """One ignored file in the report, in the order of api.IgnoredReportRow."""
    words = ignored_words(row.file.reason)
    return (display_path(row.file.path), "ignored", row.file.reason, words.detail, words.hint)


def skipped_values(folder: SkippedFolder) -> tuple[Cell, ...]:
    """One folder that was left out in the report, in the order of api.SkippedReportRow."""
    return (display_path(folder.path), "skipped", "skipped_folder", folder.reason, folder.hint)


def started(view: TaskView, message: str) -> api.ImportStarted:
    """Answer of POST /import: when it was accepted."""
    record = view.record
    return api.ImportStarted(
        task_id=record.task_id,
        status=record.status,
        message=message,
        started_at=_accepted_at(record),
        parent_id=record.parent_id,
    )


def _options(options: ImportOptions) -> api.TaskOptions:
    return api.TaskOptions(**{name: getattr(options, name) for name in api.TaskOptions.model_fields})


def _plan(plan: DryRunPlan | None) -> api.Plan | None:
    return None if plan is None else api.Plan(**asdict(plan))


def _accepted_at(record: TaskRecord) -> datetime:
    return record.started_at or record.created_at


def _duration(record: TaskRecord) -> float | None:
    if record.completed_at is None or record.started_at is None:
        return None
    return max(0.0, (record.completed_at - record.started_at).total_seconds())


def _progress(view: TaskView) -> api.ProgressEntry:
    progress = view.progress
    running = view.record.status is TaskStatus.RUNNING
    return api.ProgressEntry(
        **asdict(view.counts),
        files_found=progress.total_files,
        total_is_final=progress.total_is_final,
        percent=progress.percent,
        files_per_second=progress.files_per_second if running else None,
        eta_seconds=progress.eta_seconds,
        current_folder=None if view.current_folder is None else display_path(view.current_folder),
    )


def _by_code(breakdown: TaskBreakdown) -> list[api.CodeCount]:
    sums: dict[tuple[OutcomeKind, str], int] = {}
    for tally in breakdown.tallies:
        sums[tally.kind, tally.code] = sums.get((tally.kind, tally.code), 0) + tally.files
    return [
        api.CodeCount(outcome=kind, code=code, files=files, hint=hint_for(code))
        for (kind, code), files in sorted(sums.items())
    ]


def _by_month(breakdown: TaskBreakdown) -> list[api.MonthCount]:
    months: dict[str | None, dict[OutcomeKind, int]] = {}
    for tally in breakdown.tallies:
        kinds = months.setdefault(tally.month, {})
        kinds[tally.kind] = kinds.get(tally.kind, 0) + tally.files
    return [
        api.MonthCount(
            month=month,
            scanned=sum(kinds.values()),
            uploaded=kinds.get(OutcomeKind.UPLOADED, 0) + kinds.get(OutcomeKind.WOULD_UPLOAD, 0),
            duplicate=kinds.get(OutcomeKind.DUPLICATE, 0),
            failed=kinds.get(OutcomeKind.FAILED, 0),
        )
        for month, kinds in sorted(months.items(), key=lambda item: item[0] or "")
    ]
