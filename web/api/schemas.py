"""The JSON of the HTTP API. Field names of the user's document are a contract; further fields are only ever added."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, create_model, model_validator

from domain.outcome_codes import OUTCOME_HINTS
from domain.report_columns import REPORT_COLUMNS
from import_service import JobState
from models import (
    Counts,
    DemographicsMismatchPolicy,
    FileWarning,
    OutcomeKind,
    PatientMismatchPolicy,
    PauseReason,
    TaskResult,
    TaskStatus,
    VerifyResult,
)


def format_time(moment: datetime) -> str:
    """Whole seconds, UTC, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("不能含有空字符")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("不是有效的 UTF-8 文本") from None
    return text


def _known_code(code: str) -> str:
    if code not in OUTCOME_HINTS:
        raise ValueError("没有这样的原因代码；各代码见 README 的“结果代码”")
    return code


Timestamp = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
PlainText = Annotated[str, AfterValidator(_no_nul)]
WindowCenter = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
WindowWidth = Annotated[float, Field(allow_inf_nan=False, ge=1, le=1e9)]


class _ResponseModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class _RequestModel(BaseModel):
    """A request body. Unknown fields are refused: a misspelt option must not be ignored silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImportOverrides(_RequestModel):
    """Options that POST /import and retry share. Null means the value of the settings (retry: of the parent task)."""

    window_center: WindowCenter | None = Field(None, description="窗位，须与 window_width 一起给出；优先于文件自带的窗")
    window_width: WindowWidth | None = Field(None, description="窗宽，至少为 1")
    on_patient_mismatch: PatientMismatchPolicy | None = Field(None, description="文件头与目录名的患者ID不同时怎么办")
    on_demographics_mismatch: DemographicsMismatchPolicy | None = Field(
        None, description="出生日期、性别与 XieHe 不符时怎么办"
    )
    reupload_removed: bool = Field(False, description="重新上传曾导入、但 XieHe 中已看不到的影像")
    run_now: bool = Field(False, description="不等 ACTIVE_HOURS，立即运行")

    @model_validator(mode="after")
    def _window_is_a_pair(self) -> ImportOverrides:
        if (self.window_center is None) != (self.window_width is None):
            raise ValueError("window_center 与 window_width 必须同时给出")
        return self


class ImportRequest(ImportOverrides):
    """Body of POST /import; may be left out altogether."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"source_path": "/data/dicom/2024-01", "description": "2024年1月份影像导入"}]},
    )

    source_path: Annotated[PlainText, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="根目录、月份目录或患者目录；省略时取 DICOM_SOURCE_PATH"
    )
    description: Annotated[PlainText, Field(max_length=1000)] | None = Field(None, description="任务说明，仅供查看")
    dry_run: bool = Field(False, description="试运行：读取、比对、转换，但不写入 XieHe；报告说明正式导入会怎样")


class RetryRequest(ImportOverrides):
    """Body of POST /import/{id}/retry; may be left out altogether."""

    code: Annotated[str, AfterValidator(_known_code)] | None = Field(None, description="只重试这一原因的失败文件")


class _TaskState(_ResponseModel):
    task_id: str
    status: TaskStatus


class TaskChanged(_TaskState):
    """Answer of pause, resume and cancel."""

    message: str


class ImportStarted(TaskChanged):
    """Answer of POST /import and of retry."""

    started_at: Timestamp
    parent_id: str | None = None


class Counters(create_model("Counters", __base__=_ResponseModel, **get_type_hints(Counts))):  # type: ignore[misc]
    """The counters of a task: the fields of :class:`models.Counts`."""


class ProgressEntry(Counters):
    """The counters, then how far the task is."""

    files_found: int
    total_is_final: bool
    percent: float | None
    files_per_second: float | None
    eta_seconds: int | None
    current_folder: Annotated[str | None, Field(description="正在处理的患者目录，如 2024-01/P001")]


class ErrorEntry(_ResponseModel):
    """One failed file."""

    file: str
    patient_id: str | None
    code: str
    error: str
    hint: str
    timestamp: Timestamp


class Notice(_ResponseModel):
    """Something about the task as a whole."""

    code: str
    message: str


class FolderSkipped(_ResponseModel):
    """A folder that does not fit the layout."""

    path: str
    reason: str
    hint: str


class Plan(_ResponseModel):
    """What a dry run found that an import would do."""

    patients_to_create: int
    patients_to_reuse: int
    files_to_upload: int
    images_to_upload: int
    duplicates: int
    held: int
    unreadable: int
    no_pixel: int
    bytes_to_upload: int
    estimated_seconds: int | None
    estimate_basis: str
    estimate_task_id: Annotated[str | None, Field(description="用作依据的导入任务")]


class TaskOptions(_ResponseModel):
    """The options of the request, or of the settings at that time."""

    window_center: float | None
    window_width: float | None
    on_patient_mismatch: PatientMismatchPolicy
    on_demographics_mismatch: DemographicsMismatchPolicy
    reupload_removed: bool


class TaskSummary(_TaskState):
    """One row of GET /import/tasks."""

    dry_run: bool
    source_path: str
    description: str | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    duration_seconds: float | None
    active_seconds: Annotated[float | None, Field(description="实际工作的秒数，不含暂停和中断；旧版本的任务为 null")]
    progress: ProgressEntry
    errors_total: int
    result: TaskResult | None
    result_detail: str | None
    pause_reason: PauseReason | None
    parent_id: str | None
    retried_by: str | None


class TaskStatusResponse(TaskSummary):
    """GET /import/{id}/status: the summary, and the failures. ``seq`` differs after each change."""

    seq: int
    options: TaskOptions
    plan: Plan | None
    errors: list[ErrorEntry]
    warnings: list[Notice]
    skipped_folders: Annotated[list[FolderSkipped], Field(description="最多 100 个；全部见 report?include=skipped")]
    skipped_folders_total: int


class CodeCount(_ResponseModel):
    """Files of one outcome code."""

    outcome: OutcomeKind
    code: str
    files: int
    hint: str


class MonthCount(_ResponseModel):
    """Files of one month."""

    month: str | None
    scanned: int
    uploaded: int
    duplicate: int
    failed: int


class TaskStatsResponse(Counters, _TaskState):
    """GET /import/{id}/stats: the counters flat, then breakdowns."""

    dry_run: bool
    plan: Plan | None
    duration_seconds: float | None
    errors: list[ErrorEntry]
    errors_total: int
    by_code: list[CodeCount]
    by_month: list[MonthCount]
    stage_seconds: dict[str, float]


class TaskListResponse(_ResponseModel):
    """GET /import/tasks."""

    total: int
    tasks: list[TaskSummary]


class HealthResponse(_ResponseModel):
    """GET /health: the process is alive."""

    status: Literal["healthy"] = "healthy"
    timestamp: Timestamp


class Check(_ResponseModel):
    """One dependency."""

    name: str
    ok: bool
    detail: str


class BackgroundResponse(_ResponseModel):
    """One background job: ``waiting`` for its restart after a defect; ``since`` belongs to the state."""

    name: str
    state: JobState
    since: Timestamp
    restarts: int


class ReadyResponse(_ResponseModel):
    """GET /health/ready."""

    status: Literal["ready", "not_ready"]
    timestamp: Timestamp
    contract: str | None
    checks: list[Check]
    background: list[BackgroundResponse]


_JSON_TYPES: dict[Any, Any] = {datetime: Timestamp, tuple[FileWarning, ...]: list[Notice]}
_REPORT_FIELDS: dict[str, Any] = {column.name: _JSON_TYPES.get(column.type, column.type) for column in REPORT_COLUMNS}


class ReportEntry(create_model("ReportEntry", __base__=_ResponseModel, **_REPORT_FIELDS)):  # type: ignore[misc]
    """One scanned file in GET /import/{id}/report; ``number`` is 1, 2, 3 ... in the order of recording."""


class VerifyStarted(_ResponseModel):
    """Answer of POST /import/{id}/verify."""

    task_id: str
    status: Literal["running"] = "running"
    message: str


class VerifyResponse(_ResponseModel):
    """GET /import/{id}/verify: the task's last verification."""

    task_id: str
    status: Literal["none", "running", "completed", "failed"]
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    images_total: int = 0
    images_checked: int = 0
    ok: int = 0
    ok_present: int = 0
    missing: int = 0
    differs: int = 0
    detail: str | None = None


class VerifyRow(_ResponseModel):
    """One image in GET /import/{id}/verify/report; ``number`` is its file's row in the report."""

    number: int
    source_path: str
    patient_id: str | None
    frame: int
    upload_filename: str | None
    image_file_id: int | None
    result: VerifyResult
    detail: str


class CodeFiles(_ResponseModel):
    """Files whose latest outcome has this code."""

    code: str
    files: int


class MonthEntry(_ResponseModel):
    """One month of GET /months: each file counts with its latest outcome over all tasks but dry runs."""

    month: str | None
    state: Literal["done", "partial", "running", "waiting", "not_imported"]
    files: int
    imported: int
    failed: int
    held: int
    no_pixel: int
    on_disk: bool | None
    source_paths: list[str]
    last_task_id: str | None
    last_imported_at: Timestamp | None
    by_code: list[CodeFiles]


class MonthsResponse(_ResponseModel):
    """GET /months, newest first."""

    months: list[MonthEntry]
    counted_at: Timestamp


class FilesResponse(_ResponseModel):
    """GET /import/{id}/files: ``total`` rows match; ``next_after`` continues behind these, null at the end."""

    total: int
    files: list[ReportEntry]
    next_after: int | None


class IgnoredReportRow(_ResponseModel):
    """One ignored file in the report; ``code`` is the reason."""

    source_path: str
    outcome: Literal["ignored"] = "ignored"
    code: str
    detail: str
    hint: str


class SkippedReportRow(_ResponseModel):
    """One folder that was left out in the report; ``detail`` is the reason."""

    source_path: str
    outcome: Literal["skipped"] = "skipped"
    code: Literal["skipped_folder"] = "skipped_folder"
    detail: str
    hint: str


class SourceFolder(_ResponseModel):
    """One folder in GET /sources."""

    name: str
    path: str
    kind: Literal["root", "month", "patient", "folder"]
    importable: bool


class SourcesResponse(_ResponseModel):
    """GET /sources: one level of folders; without a path the level above the roots."""

    path: str | None
    kind: Literal["roots", "root", "month", "patient", "folder"]
    parent: str | None
    importable: bool
    roots: list[str]
    folders: list[SourceFolder]
    truncated: bool


class ServiceResponse(_ResponseModel):
    """GET /: what this is."""

    name: str
    version: str
    documentation: str
    next_scheduled_import: Timestamp | None
    routes: dict[str, str]


class Problem(_ResponseModel):
    """RFC 9457 problem document; ``code`` is stable, ``detail`` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    task_id: str | None = None
    legal: list[str] | None = None
    errors: list[dict[str, str]] | None = None
