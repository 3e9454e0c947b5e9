"""Data only: the frozen values that flow between the rooms, and the closed sets as enums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

# --- closed sets ---------------------------------------------------------------------------------------------------


class TaskStatus(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    """Accepted, not begun (or waiting for the active hours before its first file)."""
    RUNNING = "running"
    """Working."""
    PAUSED = "paused"
    """Waiting, by the operator's wish or for the reason in ``pause_reason``; goes on where it stood."""
    COMPLETED = "completed"
    """Every scanned file has its outcome; ``result`` tells whether some failed."""
    FAILED = "failed"
    """The run itself could not go on (own defect, history unusable)."""
    CANCELLED = "cancelled"
    """Ended by the operator; never taken up by itself."""
    INTERRUPTED = "interrupted"
    """The service stopped under it; resumes where it was."""

    @property
    def ended(self) -> bool:
        """True where the task will not go on (interrupted tasks will)."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class TaskResult(StrEnum):
    """How an ended task went; null until the end."""

    SUCCESS = "success"
    """No failures (files without pixel data aside)."""
    PARTIAL = "partial"
    """Something arrived or was there already, and something failed or was left out."""
    FAILED = "failed"
    """Failures and nothing uploaded or duplicate, or nothing in the source fits."""


class PauseReason(StrEnum):
    """Why a task is paused."""

    USER = "user"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    BACKEND_AUTH = "backend_auth"
    DISK_FULL = "disk_full"
    SOURCE_MISSING = "source_missing"
    RENDERER_UNAVAILABLE = "renderer_unavailable"
    OUT_OF_DESCRIPTORS = "out_of_descriptors"
    OUTSIDE_ACTIVE_HOURS = "outside_active_hours"


class OutcomeKind(StrEnum):
    """The ways in which a scanned file can end."""

    UPLOADED = "uploaded"
    """Every frame is in XieHe, and at least one is new."""
    DUPLICATE = "duplicate"
    """Every frame was there before."""
    FAILED = "failed"
    """At least one frame is not in XieHe; the code says why."""
    WOULD_UPLOAD = "would_upload"
    """A dry run: it would be uploaded."""


class PatientMismatchPolicy(StrEnum):
    """What to do where PatientID and the folder's name differ."""

    HOLD = "hold"
    """The file fails as ``patient_mismatch``; nothing is uploaded."""
    TRUST_DICOM = "trust_dicom"
    """The header's PatientID counts."""
    TRUST_FOLDER = "trust_folder"
    """The folder's name counts; the header's id is not even validated."""


class DemographicsMismatchPolicy(StrEnum):
    """What to do where birth date or sex contradict XieHe's patient."""

    WARN = "warn"
    HOLD = "hold"
    HOLD_IF_BOTH = "hold_if_both"


class Sex(StrEnum):
    """XieHe's four genders, as it wants them on create."""

    MALE = "MALE"
    FEMALE = "FEMALE"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


class WindowSource(StrEnum):
    """Where the window of a picture came from."""

    REQUEST = "request"
    """``window_center``/``window_width`` of POST /import."""
    FILE = "file"
    """Window Center/Width of the file (PS3.3 C.11.2.1.2)."""
    VOI_LUT = "voi_lut"
    """VOI LUT Sequence of the file (PS3.3 C.11.2.1.1)."""
    DEFAULT = "default"
    """DEFAULT_WINDOW_* for CT in HU; 128/256 (identity) for 8-bit images without a window."""
    MINMAX = "minmax"
    """Smallest to largest value that is not padding."""
    PERCENTILE = "percentile"
    """The 0.5 to the 99.5 percentile of the values that are not padding; radiographs of more than 8 bits only."""


class Contract(StrEnum):
    """The four forms of XieHe's HTTP API."""

    C1 = "C1"
    C2 = "C2"
    C3 = "C3"
    C4 = "C4"


# --- the source tree -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One regular file below a patient folder.

    Attributes:
        path: absolute path as walked; may hold surrogates where the name is not UTF-8 (see :func:`display_path`).
        month: the month as ``YYYY-MM``, whatever MONTH_FOLDER_FORMAT spells it like.
        patient_dir: name of the patient folder.
        size_bytes: size at the walk.
        mtime_ns: modification time at the walk, nanoseconds since the epoch.
    """

    path: str
    month: str
    patient_dir: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SkippedFolder:
    """A folder that does not fit the layout and was not walked. ``reason`` and ``hint`` are Chinese."""

    path: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is none to import; ``reason`` is a stable name (``junk``, ``not_dicom``, ``for_processing``, ...)."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class MisplacedFile:
    """A file lying in a root or month folder, to be looked into: DICOM there is a failure, all else is ignored."""

    source: SourceFile


ScanEvent = SourceFile | SkippedFolder | IgnoredFile | MisplacedFile


def display_path(path: str) -> str:
    """The path as text that is valid UTF-8: undecodable bytes appear as ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# --- what a DICOM file says ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileWarning:
    """Something the operator should know of a file that went through; ``message`` is Chinese."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PatientHeader:
    """The patient as the header tells it.

    Attributes:
        patient_id: PatientID trimmed of DICOM padding and in NFC, or None where empty or absent.
        name: display name (王小东, Wang XiaoDong), or None where empty.
        sex: from PatientSex; UNKNOWN where absent or unknown.
        birth_date: from PatientBirthDate, or None where absent or invalid.
        charset_source: how the text was decoded: ``declared``, ``default``, ``utf-8``, ``gb18030``, ``big5``,
            ``shift-jis``, ``euc-kr`` or ``fallback``; None where there is no header.
    """

    patient_id: str | None
    name: str | None
    sex: Sex
    birth_date: date | None
    charset_source: str | None


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What of the image's header is reported or used to name it.

    Attributes:
        sop_instance_uid: SOP Instance UID, or None.
        transfer_syntax: Transfer Syntax UID, or None where the file has no meta information.
        modality: Modality, or None.
        frames: Number of Frames, at least 1.
        exam_type: XieHe's exam type (正位X光片 ...), or None.
        exam_rule: name of the rule that decided it, or None.
    """

    sop_instance_uid: str | None
    transfer_syntax: str | None
    modality: str | None
    frames: int
    exam_type: str | None = None
    exam_rule: str | None = None


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """One parse of one file."""

    patient: PatientHeader
    image: ImageHeader
    warnings: tuple[FileWarning, ...] = ()


# --- rendering -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WindowUsed:
    """The window that made a picture, in modality units.

    Centre and width are None for a VOI LUT, and where a double does not hold them.
    """

    center: float | None
    width: float | None
    source: WindowSource


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How pictures are made (see config.py for the settings behind it).

    Attributes:
        window_center, window_width: the request's window, both or neither; beats the file's (not for colour).
        default_window_center, default_window_width: for CT in HU without a window.
        jpg_quality: 1-100.
        square_pixels: resample to square pixels by enlarging the coarser axis.
        max_frames: more frames than this are refused.
        max_pixels_bytes: a decoded frame larger than this is refused before anything is allocated.
        output_format: ``jpg`` or ``png``.
        max_side_px: pictures whose longer side exceeds this are scaled down to it; None leaves them as they are.
        draw_overlays: draw graphics of overlay planes into the picture.
    """

    window_center: float | None = None
    window_width: float | None = None
    default_window_center: float = 40.0
    default_window_width: float = 400.0
    jpg_quality: int = 95
    square_pixels: bool = True
    max_frames: int = 500
    max_pixels_bytes: int = 1024**3
    output_format: str = "jpg"
    max_side_px: int | None = None
    draw_overlays: bool = False


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """One picture on disk.

    Attributes:
        frame_number: 1-based.
        width_px, height_px: size of the picture (after resampling).
        size_bytes: size of the file.
        window: the window used, None for colour.
        constant: True where every pixel has one value.
        storage_etag: what C3/C4 tell of an image with this content, or None where it was not worked out.
        path: where it lies. A render process does not send it; the service derives it (:func:`image_path`).
    """

    frame_number: int
    width_px: int
    height_px: int
    size_bytes: int
    window: WindowUsed | None
    constant: bool = False
    storage_etag: str | None = None
    path: str = field(default="", metadata={"sent": False})


def image_path(output_prefix: str, frame_number: int, output_format: str) -> str:
    """Where the image of a frame is made."""
    return f"{output_prefix}-{frame_number:04d}.{output_format}"


@dataclass(frozen=True, slots=True)
class Area:
    """Which folders may be read; domain.regular_files checks it.

    Attributes:
        roots: these, which may be links, with all below them; empty allows every path.
        excluded: but not these; resolved paths.
    """

    roots: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A job for a render process: read one file and, unless ``render`` is None, make its pictures, in one parse.

    Attributes:
        path: the file.
        named_dicom: its name says DICOM (so that other content is a failure, not to be ignored).
        plain_image: PNG, JPEG, TIFF and BMP content is read, too (the name says so, or it is a picture of ours); other
            content than that and DICOM is a failure, not to be ignored.
        render: None for the header only.
        output_prefix: the image of each frame is written to :func:`image_path` (the folder exists).
        only_if_patient_id: render only where the header's PatientID is absent or equal to this one (the comparison
            of semantics.md); None renders whatever the id is.
        exam_rules_path: the hospital's own exam-type rules, or None for the built-in table.
        frames: 1-based frame numbers to render, None for all.
        max_file_bytes: larger files are refused unread.
        skip_for_processing: raw detector data (FOR PROCESSING) are ignored.
        area: a file outside fails unread; checked once it is open, since a link may have taken its place.
    """

    path: str
    named_dicom: bool
    output_prefix: str
    render: RenderOptions | None = None
    only_if_patient_id: str | None = None
    exam_rules_path: str | None = None
    frames: tuple[int, ...] | None = None
    max_file_bytes: int = 2 * 1024**3
    plain_image: bool = False
    skip_for_processing: bool = False
    area: Area = Area()


@dataclass(frozen=True, slots=True)
class ReadReply:
    """What came of a :class:`ReadRequest`. Exactly one of ``ignored``, ``header`` or ``failure`` leads.

    Attributes:
        ignored: why the file is none to import (``not_dicom``: nor is it named so; ``for_processing``), or None.
        header: present where the header could be read, also beside a failure of rendering.
        images: one per rendered frame, in order; empty where rendering was not asked for or not allowed.
        failure: code and Chinese detail of the FileError that ended it, or None.
        warnings: of rendering.
        size_bytes, mtime_ns: as seen before reading; the file is unstable where they differ after it.
        stage_seconds: e.g. ``{"parse": .., "decode": .., "encode": ..}``.
    """

    ignored: str | None = None
    header: DicomHeader | None = None
    images: tuple[RenderedImage, ...] = ()
    failure: Failure | None = None
    warnings: tuple[FileWarning, ...] = ()
    size_bytes: int = 0
    mtime_ns: int = 0
    content_sha256: str | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A FileError as a value: stable code and Chinese detail."""

    code: str
    detail: str


# --- XieHe ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewPatient:
    """A patient to be created."""

    patient_id: str
    name: str
    sex: Sex
    birth_date: date | None


@dataclass(frozen=True, slots=True)
class RemotePatient:
    """A patient in XieHe. ``row_id`` is XieHe's own; ``patient_id`` the hospital number. Never mix them up."""

    row_id: int
    patient_id: str
    sex: Sex
    birth_date: date | None


@dataclass(frozen=True, slots=True)
class PatientLookup:
    """A patient found or made. ``differs_in_form``: XieHe's id has another case or width than ours."""

    patient: RemotePatient
    created: bool
    differs_in_form: bool = False


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A complete image in XieHe."""

    image_file_id: int
    filename: str
    size_bytes: int | None
    storage_etag: str | None
    uploaded_by: int | None = None


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One picture to be uploaded under ``stored_name`` to ``patient``; ``exam_type`` None sends none."""

    path: str
    stored_name: str
    patient: RemotePatient
    exam_type: str | None
    mime_type: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """XieHe has the picture. ``image_file_id`` is None where the contract does not tell it (C1, C2).

    ``found`` is True where an earlier, unanswered upload turned out to have landed.
    """

    image_file_id: int | None
    stored_name: str
    size_bytes: int
    found: bool = False


# --- outcomes and counts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """How one scanned file ended: the one definition of the report's columns.

    domain/report_columns.py derives the report's columns and their order from these fields, history/row_mapping.py the
    history's. A new field comes last, and needs a migration in history/schema.py and the place that fills it.

    Attributes:
        window_center, window_width: the window used, in modality units; None for colour and VOI LUTs.
        bytes_uploaded: size of the images that are new in XieHe by this file (of a dry run: that would be).
        held: a person must decide whose image it is.
    """

    source_path: str
    month: str | None
    patient_id: str | None = None
    sop_instance_uid: str | None = None
    transfer_syntax: str | None = None
    kind: OutcomeKind
    code: str
    detail: str
    upload_filename: str | None = None
    jpg_path: str | None = None
    image_file_id: int | None = None
    window_center: float | None = None
    window_width: float | None = None
    finished_at: datetime
    window_source: WindowSource | None = None
    modality: str | None = None
    exam_type: str | None = None
    exam_rule: str | None = None
    charset_source: str | None = None
    frames_total: int = 0
    frames_uploaded: int = 0
    bytes_uploaded: int = 0
    held: bool = False
    warnings: tuple[FileWarning, ...] = ()
    size_bytes: int = 0
    mtime_ns: int = 0
    duration_seconds: float = 0.0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """The seven counters of the contract and the extra ones; all but the patients count files."""

    total_files_scanned: int = 0
    total_patients_found: int = 0
    new_patients_created: int = 0
    existing_patients_skipped: int = 0
    new_images_uploaded: int = 0
    duplicate_images_skipped: int = 0
    failed_files: int = 0
    held_files: int = 0
    no_pixel_files: int = 0
    ignored_files: int = 0
    frames_uploaded: int = 0
    bytes_uploaded: int = 0


# --- tasks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What one POST /import asked for, after the settings filled the gaps; stored with the task."""

    description: str | None = None
    window_center: float | None = None
    window_width: float | None = None
    on_patient_mismatch: PatientMismatchPolicy = PatientMismatchPolicy.HOLD
    on_demographics_mismatch: DemographicsMismatchPolicy = DemographicsMismatchPolicy.HOLD_IF_BOTH
    reupload_removed: bool = False
    run_now: bool = False
    retry_code: str | None = None
    dry_run: bool = False


SKIPPED_SHOWN = 100
"""Skipped folders that a task carries with it and ``/status`` shows, whatever their number."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it is stored: everything but its live counts and its file rows.

    ``status`` and the reasons are the last written; ``warnings`` concern the task as a whole. ``skipped_folders`` holds
    :data:`SKIPPED_SHOWN` at most; the history has all. ``active_seconds`` is the time that the task worked, without its
    pauses and interruptions; None for a task that began under a version which did not measure it.
    """

    task_id: str
    source_path: str
    options: ImportOptions
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    result: TaskResult | None = None
    result_detail: str | None = None
    pause_reason: PauseReason | None = None
    parent_id: str | None = None
    retried_by: str | None = None
    warnings: tuple[FileWarning, ...] = ()
    skipped_folders: tuple[SkippedFolder, ...] = ()
    active_seconds: float | None = None


# --- history -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImage:
    """One row of the index of imported images: who has which name. Key: backend_url, patient_id, name_key.

    Attributes:
        backend_url: BACKEND_URL of the XieHe that has it.
        patient_id: hospital number as XieHe has it (RemotePatient.patient_id).
        row_id: XieHe's row id of the patient at that time; another row id now means that the patient was made anew.
        name_key: stored name without the output format's extension.
        stored_name: the name in XieHe, with extension.
        instance: SOP Instance UID, or ``sha256:<hex>`` of the file's bytes where it has none.
        sop_instance_uid: SOP Instance UID or None.
        frame_number: 1-based.
        source_path: display path of the source file.
        size_bytes, mtime_ns: of the source file when it was read.
        uploaded_by_us: False where XieHe had the name before us and this instance merely claimed it.
        task_id: the task that uploaded or claimed it.
        image_file_id: XieHe's id of the image, or None where it is not known.
        jpg_size: size of the uploaded picture in bytes, or None.
        uploaded_at: when.
        storage_etag: tells the content that was uploaded, or that XieHe had under a claimed name; None for rows of
            version 0.3.0, and for claimed names in C1/C2.
    """

    backend_url: str
    patient_id: str
    row_id: int
    name_key: str
    stored_name: str
    instance: str
    sop_instance_uid: str | None
    frame_number: int
    source_path: str
    size_bytes: int
    mtime_ns: int
    uploaded_by_us: bool
    task_id: str
    image_file_id: int | None
    jpg_size: int | None
    uploaded_at: datetime
    storage_etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadIntent:
    """Written before an upload begins, removed when its image row is written; what is left is settled after a restart.

    Attributes:
        intent_id: unique (uuid4 hex), chosen by the caller.
        image: the index row that will be written once the upload is known to have landed.
        known_ids: image ids that XieHe listed under this name before the upload.
        session: C4 session id or C3 image file id, once known.
        created_at: when.
    """

    intent_id: str
    image: ImportedImage
    known_ids: tuple[int, ...]
    created_at: datetime
    session: str | None = None


@dataclass(frozen=True, slots=True)
class PatientChange:
    """What meeting a patient adds to a task's counts.

    Attributes:
        found: the patient is new to this task.
        resolved: True created, False there before, None not (or no longer) news.
    """

    found: bool
    resolved: bool | None


class VerifyStatus(StrEnum):
    """Where a verification stands."""

    RUNNING = "running"
    """XieHe is being asked."""
    COMPLETED = "completed"
    """Each image has its result."""
    FAILED = "failed"
    """It could not go on (XieHe cannot be asked, the service stopped); what was found until then stands."""


class VerifyResult(StrEnum):
    """What XieHe has of an image that a task uploaded or called duplicate."""

    OK = "ok"
    """There, with the very content that was uploaded."""
    OK_PRESENT = "ok_present"
    """There under its name, its size as expected or not known; the content cannot be compared."""
    MISSING = "missing"
    """XieHe was asked and does not have it."""
    DIFFERS = "differs"
    """There, but of another name, size or content."""


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """One image's result; ``number`` is its file's row in the report, ``frame`` counts from 1."""

    number: int
    frame: int
    upload_filename: str | None
    image_file_id: int | None
    result: VerifyResult
    detail: str


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """One image's result beside its file's display path and patient."""

    source_path: str
    patient_id: str | None
    image: VerifiedImage


@dataclass(frozen=True, slots=True)
class Verification:
    """A task's last verification; ``found`` counts images by result."""

    status: VerifyStatus
    started_at: datetime
    completed_at: datetime | None = None
    images_total: int = 0
    found: Mapping[VerifyResult, int] = field(default_factory=dict)
    detail: str | None = None
