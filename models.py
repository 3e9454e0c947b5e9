"""Data only: the frozen values that flow between the packages, and the closed sets as enums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

# --- closed sets ---------------------------------------------------------------------------------------------------


class TaskStatus(StrEnum):
    """The state of a task."""

    PENDING = "pending"
    """Accepted, not begun (or waiting for the active hours before its first file)."""
    RUNNING = "running"
    """Working."""
    PAUSED = "paused"
    """Waiting for the operator or for the end of ``pause_reason``. It continues at the next file."""
    COMPLETED = "completed"
    """Every scanned file has its outcome; ``result`` says whether some failed."""
    FAILED = "failed"
    """The run itself failed (own defect, history unusable)."""
    CANCELLED = "cancelled"
    """Ended by the operator; never resumed."""
    INTERRUPTED = "interrupted"
    """The service stopped during the task; it resumes where it was."""

    @property
    def ended(self) -> bool:
        """True if the task never continues. Interrupted tasks do."""
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
    """What to do if PatientID and the folder's name differ."""

    HOLD = "hold"
    """The file fails as ``patient_mismatch``; nothing is uploaded."""
    TRUST_DICOM = "trust_dicom"
    """The header's PatientID counts."""
    TRUST_FOLDER = "trust_folder"
    """The folder's name counts; the header's id is not even validated."""


class DemographicsMismatchPolicy(StrEnum):
    """What to do if birth date or sex contradict XieHe's patient."""

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
    """The source of an image's window."""

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
        path: absolute path as walked; holds surrogates if the name is not UTF-8 (see :func:`display_path`).
        month: the month as ``YYYY-MM``, in any MONTH_FOLDER_FORMAT.
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
    """A file that is not imported; ``reason`` is a stable code (``junk``, ``not_dicom``, ``for_processing``, ...)."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class MisplacedFile:
    """A file in a root or month folder. DICOM there is a failure, all else is ignored."""

    source: SourceFile


ScanEvent = SourceFile | SkippedFolder | IgnoredFile | MisplacedFile


def display_path(path: str) -> str:
    """The path as text that is valid UTF-8: undecodable bytes appear as ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# --- what a DICOM file holds ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileWarning:
    """Something that the operator should know about a file that did not fail; ``message`` is Chinese."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PatientHeader:
    """The patient of the header.

    Attributes:
        patient_id: PatientID without DICOM padding, in NFC; None if empty or absent.
        name: display name (王小东, Wang XiaoDong), or None if empty.
        sex: from PatientSex; UNKNOWN if absent or unknown.
        birth_date: from PatientBirthDate, or None if absent or invalid.
        charset_source: how the text was decoded: ``declared``, ``default``, ``utf-8``, ``gb18030``, ``big5``,
            ``shift-jis``, ``euc-kr`` or ``fallback``; None without a header.
    """

    patient_id: str | None
    name: str | None
    sex: Sex
    birth_date: date | None
    charset_source: str | None


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The elements of the header that are reported, or that name the image.

    Attributes:
        sop_instance_uid: SOP Instance UID, or None.
        transfer_syntax: Transfer Syntax UID, or None if the file has no meta information.
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
    """The window of an image, in modality units.

    Centre and width are None for a VOI LUT, and if a double does not hold them.
    """

    center: float | None
    width: float | None
    source: WindowSource


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How images are rendered (config.py has the settings).

    Attributes:
        window_center, window_width: the request's window, both or neither; beats the file's (not for colour).
        default_window_center, default_window_width: for CT in HU without a window.
        jpg_quality: 1-100.
        square_pixels: resample to square pixels by enlarging the coarser axis.
        max_frames: more frames than this are refused.
        max_pixels_bytes: a decoded frame larger than this is refused before anything is allocated.
        output_format: ``jpg`` or ``png``.
        max_side_px: images with a longer side are scaled down to it; None leaves them as they are.
        draw_overlays: draw graphics of overlay planes into the image.
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
    """One image on disk.

    Attributes:
        frame_number: 1-based.
        width_px, height_px: size of the image (after resampling).
        size_bytes: size of the file.
        window: the window used, None for colour.
        constant: True if every pixel has one value.
        storage_etag: the etag that C3/C4 report for this content, or None if it was not computed.
        path: its place. A render process does not send it; the service derives it (:func:`image_path`).
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
    """The path of a frame's image."""
    return f"{output_prefix}-{frame_number:04d}.{output_format}"


@dataclass(frozen=True, slots=True)
class Area:
    """Which folders may be read; domain.regular_files checks it.

    Attributes:
        roots: these, which may be links, with all below them; empty allows every path.
        excluded: resolved paths that are not allowed.
    """

    roots: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A job for a render process: read one file and, unless ``render`` is None, render its images, in one parse.

    Attributes:
        path: the file.
        named_dicom: the file has a DICOM name, so other content is a failure and not ignored.
        plain_image: PNG, JPEG, TIFF and BMP content is read too. Other content than that and DICOM is a failure.
        render: None for the header only.
        output_prefix: the image of each frame is written to :func:`image_path` (the folder exists).
        only_if_patient_id: render only if the header's PatientID is absent or equal to this one
            (domain/patient_identity.py); None renders with any id.
        exam_rules_path: the hospital's own exam-type rules, or None for the built-in table.
        frames: 1-based frame numbers to render, None for all.
        max_file_bytes: larger files are refused unread.
        skip_for_processing: raw detector data (FOR PROCESSING) are ignored.
        area: a file outside fails unread. The open file is checked, since a link may have taken its place.
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
    """The result of a :class:`ReadRequest`. At least one of ``ignored``, ``header`` and ``failure`` is set.

    Attributes:
        ignored: why the file is not imported (``not_dicom``, with no DICOM name either; ``for_processing``), or None.
        header: set if the header could be read, also beside a failure of rendering.
        images: one per rendered frame, in order; empty if rendering was not requested or not allowed.
        failure: code and Chinese detail of the FileError that ended it, or None.
        warnings: of rendering.
        size_bytes, mtime_ns: as seen before reading. The file is unstable if they differ after it.
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
    """A patient found or created. ``differs_in_form``: XieHe's id has another case or width than ours."""

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


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One image to be uploaded under ``stored_name`` to ``patient``; ``exam_type`` None sends none."""

    path: str
    stored_name: str
    patient: RemotePatient
    exam_type: str | None
    mime_type: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """XieHe has the image. ``image_file_id`` is None if the contract does not return it (C1, C2).

    ``found`` is True if an earlier, unanswered upload turned out to have been committed.
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
"""Skipped folders that a task holds and ``/status`` shows at most."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it is stored, without its counts and its files.

    ``skipped_folders`` holds :data:`SKIPPED_SHOWN` at most; the history has all. ``active_seconds`` is the time of work
    without pauses and interruptions; None if the task began under a version that did not measure it.
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
    """One row of the index of imported images: which instance has which name. Key: backend_url, patient_id, name_key.

    Attributes:
        backend_url: BACKEND_URL of the XieHe that has it.
        patient_id: hospital number as XieHe has it (RemotePatient.patient_id).
        row_id: XieHe's row id of the patient at that time. Another one now means that the patient was created anew.
        name_key: stored name without the output format's extension.
        stored_name: the name in XieHe, with extension.
        instance: SOP Instance UID, or ``sha256:<hex>`` of the file's bytes if it has none.
        sop_instance_uid: SOP Instance UID or None.
        frame_number: 1-based.
        source_path: display path of the source file.
        size_bytes, mtime_ns: of the source file when it was read.
        uploaded_by_us: False if XieHe had the name already, and this instance reserved it.
        task_id: the task that uploaded or reserved it.
        image_file_id: XieHe's id of the image, or None if it is not known.
        jpg_size: size of the uploaded image in bytes, or None.
        uploaded_at: when.
        storage_etag: etag of the content that was uploaded, or that XieHe had under a reserved name. None for rows of
            version 0.3.0, and for reserved names in C1/C2.
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
    """Written before an upload begins, removed with its image row. What is left after a crash is reconciled.

    Attributes:
        intent_id: unique (uuid4 hex), chosen by the caller.
        image: the index row to write once the upload is known to be committed.
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
    """What a patient adds to a task's counts.

    Attributes:
        found: the patient is new to this task.
        resolved: True: created; False: existed before; None: not known, or counted already.
    """

    found: bool
    resolved: bool | None


class VerifyStatus(StrEnum):
    """The state of a verification."""

    RUNNING = "running"
    """It compares the task's images with XieHe's lists."""
    COMPLETED = "completed"
    """Each image has its result."""
    FAILED = "failed"
    """It was cut off (XieHe not available, the service stopped). What was found until then is kept."""


class VerifyResult(StrEnum):
    """What XieHe has of an image that a task uploaded or called duplicate."""

    OK = "ok"
    """There, with the content that was uploaded."""
    OK_PRESENT = "ok_present"
    """There under its name, its size as expected or not known; the content cannot be compared."""
    MISSING = "missing"
    """XieHe answered, and does not have it."""
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
