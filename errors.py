"""Every error of the service, in one tree.

::

    ImportServiceError                 ``code`` of each class; ``detail`` says what an operator can do (Chinese)
    ├─ ConfigurationError              the service cannot start; names the setting
    ├─ FileError                       this file fails, the task continues
    │  ├─ UnreadableFileError · EmptyFileError · UnstableFileError · FileTooLargeError · MisplacedFileError
    │  ├─ MovedOutsideRootsError
    │  ├─ NotDicomError · NotAnImageError · TruncatedFileError · NoPixelDataError · MissingAttributeError
    │  ├─ PatientIdInvalidError · PatientIdTooLongError
    │  ├─ HeldFileError                readable, but the patient needs manual review
    │  │  └─ PatientMismatchError · DemographicsMismatchError · PatientIdCollisionError · InstanceOfOtherPatientError
    │  ├─ PatientDeletedInXieHeError · PatientRejectedError · PatientUnavailableError
    │  ├─ UnsupportedImageError · UnsupportedTransferSyntaxError · TooManyFramesError
    │  ├─ PixelDecodeError
    │  │  └─ TruncatedPixelDataError
    │  ├─ RenderTimeoutError · RenderCrashedError · RenderOutOfMemoryError
    │  └─ UploadRejectedError · UploadUnconfirmedError
    ├─ BackendError                    XieHe cannot be used now: the task pauses and resumes later
    │  ├─ BackendAuthError · BackendContractError · BackendCertificateError
    │  └─ BackendUnavailableError
    │     └─ UploadUnavailableError · UploadsHeldError
    ├─ HostError                       as BackendError, but this machine is the cause
    │  └─ DiskFullError · OutputUnusableError · SourceVanishedError · RendererUnavailableError · OutOfDescriptorsError
    ├─ HistoryError                    the history cannot be used
    │  └─ DataDirInUseError · HistoryDamagedError
    ├─ SourceError                     the requested source cannot be imported
    │  └─ SourceNotFoundError → 400 · SourceNotAllowedError → 403 · SourceUnavailableError → 503
    ├─ CommandLineError                only in ``python -m cli``
    │  └─ ServiceUnreachableError · ServiceRefusedError · TaskNameError
    └─ TaskError
       ├─ FileRowNotFoundError → 404 · PictureNotAvailableError → 404
       ├─ TaskNotFoundError → 404 · TaskTransitionError → 409 · TaskOverlapError → 409
       ├─ DryRunTaskError → 409 · NothingToRetryError → 409
       ├─ TaskNotEndedError → 409 · VerifyRunningError → 409
       └─ ServiceStoppingError → 503 · TooManyClientsError → 503

Foreign errors (httpx, pydicom, sqlite3, OSError) are translated once, in the module where they arise, with ``from``.
No ``detail`` ever holds a patient's name or birth date, a token, or a response body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar


class ImportServiceError(Exception):
    """Root of the tree; ``detail`` is Chinese text for operators, ``code`` a stable name for programs."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImportServiceError], tuple[str]]:
        """Errors cross the pipe from the render processes as class and detail only."""
        return (type(self), (self.detail,))


class ConfigurationError(ImportServiceError):
    """A setting is missing, contradicts another, or is dangerous."""

    code = "configuration_error"


# --- one file ------------------------------------------------------------------------------------------------------


class FileError(ImportServiceError):
    """This file fails; the task continues with the next one."""

    code = "file_error"


class UnreadableFileError(FileError):
    """The operating system refuses to read the file (permissions, I/O error)."""

    code = "unreadable_file"


class EmptyFileError(FileError):
    """A file named like DICOM holds no byte."""

    code = "empty_file"


class UnstableFileError(FileError):
    """The file changed or vanished while it was read."""

    code = "unstable_file"


class MovedOutsideRootsError(FileError):
    """The file was listed under the roots; when it is read, its path leads outside."""

    code = "moved_outside_roots"


class FileTooLargeError(FileError):
    """The file, or what it would become in memory, exceeds the configured limit."""

    code = "file_too_large"


class MisplacedFileError(FileError):
    """A DICOM file in a root or month folder, outside any patient folder."""

    code = "misplaced_file"


class NotDicomError(FileError):
    """The content is not DICOM, though its name has a DICOM extension."""

    code = "not_dicom"


class NotAnImageError(FileError):
    """The content is neither a picture nor DICOM, though the name is in IMAGE_EXTENSIONS."""

    code = "not_an_image"


class TruncatedFileError(FileError):
    """The DICOM data set ends in the middle of an element."""

    code = "truncated_file"


class NoPixelDataError(FileError):
    """A DICOM object without an image (SR, PR, KO, RTPLAN ...)."""

    code = "no_pixel_data"


class MissingAttributeError(FileError):
    """An attribute that rendering needs is absent or unusable."""

    code = "missing_attribute"


class PatientIdInvalidError(FileError):
    """The effective patient id is empty or holds control characters."""

    code = "patient_id_invalid"


class PatientIdTooLongError(FileError):
    """The effective patient id has more characters than XieHe stores."""

    code = "patient_id_too_long"


class HeldFileError(FileError):
    """The file is readable, but its patient needs manual review first."""

    code = "held"


class PatientMismatchError(HeldFileError):
    """PatientID in the header differs from the folder's name."""

    code = "patient_mismatch"


class DemographicsMismatchError(HeldFileError):
    """Birth date and sex contradict the patient of that id in XieHe (probably a recycled number)."""

    code = "demographics_mismatch"


class PatientIdCollisionError(HeldFileError):
    """XieHe's database equates the id with another patient's, which differs in accents."""

    code = "patient_id_collision"


class InstanceOfOtherPatientError(HeldFileError):
    """The same SOP Instance UID is already stored for another patient."""

    code = "instance_of_other_patient"


class PatientDeletedInXieHeError(FileError):
    """The id exists in XieHe but is never listed: it belongs to a deleted patient."""

    code = "patient_deleted_in_xiehe"


class PatientRejectedError(FileError):
    """XieHe refuses to create this patient (validation)."""

    code = "patient_rejected"


class PatientUnavailableError(FileError):
    """XieHe fails all calls for this patient, while it serves others."""

    code = "patient_unavailable"


class UnsupportedImageError(FileError):
    """A kind of image that this service does not render."""

    code = "unsupported_image"


class UnsupportedTransferSyntaxError(FileError):
    """A transfer syntax without a decoder in this service."""

    code = "unsupported_transfer_syntax"


class TooManyFramesError(FileError):
    """More frames than MAX_FRAMES_PER_FILE."""

    code = "too_many_frames"


class PixelDecodeError(FileError):
    """The pixel data are damaged or contradict the header."""

    code = "pixel_decode_failed"


class TruncatedPixelDataError(PixelDecodeError):
    """Fewer bytes of pixel data than the header declares."""

    code = "truncated_pixel_data"


class RenderTimeoutError(FileError):
    """Rendering took longer than RENDER_TIMEOUT_SECONDS; its process was killed."""

    code = "render_timeout"


class RenderCrashedError(FileError):
    """The render process died on this file (a native decoder's crash)."""

    code = "render_crashed"


class RenderOutOfMemoryError(FileError):
    """Rendering needs more memory than RENDER_MEMORY_MB."""

    code = "render_out_of_memory"


class UploadRejectedError(FileError):
    """XieHe answers other calls, but refuses every attempt of this upload."""

    code = "upload_rejected"


class UploadUnconfirmedError(FileError):
    """XieHe is still completing this upload, so it must not be sent again."""

    code = "upload_unconfirmed"


def file_error(code: str, detail: str) -> FileError:
    """The error of a code, for failures that came as values from a render process."""
    return _file_errors()[code](detail)


def is_file_error(code: str) -> bool:
    """Whether :func:`file_error` knows the code."""
    return code in _file_errors()


@cache
def _file_errors() -> dict[str, type[FileError]]:
    found: dict[str, type[FileError]] = {}
    waiting: list[type[FileError]] = [FileError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting.extend(kind.__subclasses__())
    return found


# --- what pauses a task ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallEvidence:
    """What may be logged of a failed call: never a query, never a body.

    Attributes:
        method: HTTP method.
        path: path without query.
        status: HTTP status, or None without an answer.
        error_code: the backend's own ``error_code``, or the name of the transport fault.
        fields: names of the fields that a 422 rejects.
    """

    method: str
    path: str
    status: int | None = None
    error_code: str | None = None
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.method, self.path, "no answer" if self.status is None else str(self.status)]
        if self.error_code:
            parts.append(self.error_code)
        if self.fields:
            parts.append("fields " + ",".join(self.fields))
        return " ".join(parts)


class BackendError(ImportServiceError):
    """XieHe cannot be used now; the task pauses and no file fails."""

    code = "backend_error"

    def __init__(self, detail: str, evidence: CallEvidence | None = None) -> None:
        super().__init__(detail)
        self.evidence = evidence


class BackendUnavailableError(BackendError):
    """No usable answer after all attempts (5xx, 429, resets, time-outs)."""

    code = "backend_unavailable"


class UploadUnavailableError(BackendUnavailableError):
    """Lists work, but all attempts of this upload failed, because of the file or of all uploads."""


class UploadsHeldError(BackendUnavailableError):
    """Uploads are paused, so this attempt was not made."""


class BackendCertificateError(BackendError):
    """TLS: the certificate of XieHe, or of its storage, is not trusted."""

    code = "backend_certificate"


class BackendAuthError(BackendError):
    """Token and log-in are refused."""

    code = "backend_auth"


class BackendContractError(BackendError):
    """The answer fits none of the four known contracts."""

    code = "backend_contract"


class HostError(ImportServiceError):
    """This machine cannot continue now; the task pauses and no file fails."""

    code = "host_error"


class DiskFullError(HostError):
    """No space left for JPGs or history."""

    code = "disk_full"


class OutputUnusableError(HostError):
    """OUTPUT_DIR cannot be written for another reason than lack of space (permissions, read-only, gone)."""

    code = "output_unusable"


class SourceVanishedError(HostError):
    """The source folder is gone, e.g. its share is unmounted."""

    code = "source_missing"


class RendererUnavailableError(HostError):
    """The render cluster cannot be reached, or has no usable worker."""

    code = "renderer_unavailable"


class OutOfDescriptorsError(HostError):
    """This process or machine has no file descriptor left."""

    code = "out_of_descriptors"


# --- service and requests ------------------------------------------------------------------------------------------


class HistoryError(ImportServiceError):
    """The history database cannot be opened, read or written."""

    code = "history_unusable"


class HistoryDamagedError(HistoryError):
    """The history's file is damaged; its code is that of HistoryError."""


class DataDirInUseError(HistoryError):
    """Another process owns DATA_DIR."""

    code = "data_dir_in_use"


class SourceError(ImportServiceError):
    """The requested source cannot be imported."""

    code = "source_error"


class SourceNotFoundError(SourceError):
    """The source is missing, not a folder, or not given."""

    code = "source_not_found"


class SourceNotAllowedError(SourceError):
    """The source is outside the roots of DICOM_SOURCE_PATH."""

    code = "source_not_allowed"


class SourceUnavailableError(SourceError):
    """The folder or its share does not answer in time."""

    code = "source_unavailable"
    retry_after_s: ClassVar[int] = 5


class TaskError(ImportServiceError):
    """The request does not fit the task."""

    code = "task_error"


class TaskNotFoundError(TaskError):
    """No task of that id."""

    code = "task_not_found"


class FileRowNotFoundError(TaskError):
    """The task has no file of that number."""

    code = "file_not_found"


class PictureNotAvailableError(TaskError):
    """The file's image was not kept and cannot be rendered again."""

    code = "picture_not_available"


class TaskTransitionError(TaskError):
    """The task's state does not allow the operation; ``legal`` names those that it allows."""

    code = "task_transition_illegal"

    def __init__(self, detail: str, legal: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.legal = legal


class NothingToRetryError(TaskError):
    """No failed file of the task matches the request."""

    code = "nothing_to_retry"


class DryRunTaskError(TaskError):
    """A dry run has nothing to retry or to verify: it wrote nothing."""

    code = "dry_run_task"


class TaskNotEndedError(TaskError):
    """A task can be verified only after its end."""

    code = "task_not_ended"


class VerifyRunningError(TaskError):
    """The task is being verified already."""

    code = "verify_running"


class TaskOverlapError(TaskError):
    """The same or an overlapping source is being imported by the task ``task_id``."""

    code = "source_busy"

    def __init__(self, detail: str, task_id: str) -> None:
        super().__init__(detail)
        self.task_id = task_id


class ServiceStoppingError(TaskError):
    """The service is shutting down and takes no new work."""

    code = "service_stopping"


class TooManyClientsError(TaskError):
    """The limit of simultaneous clients is reached; ``retry_after_s`` says when to try again."""

    code = "too_many_clients"
    retry_after_s: ClassVar[int] = 5


# --- command line --------------------------------------------------------------------------------------------------


class CommandLineError(ImportServiceError):
    """The command failed."""

    code = "command_line_error"


class ServiceUnreachableError(CommandLineError):
    """No service answers. ``detail`` is its URL and the fault; the command words what to do."""

    code = "service_unreachable"


class ServiceRefusedError(CommandLineError):
    """The service answered with a problem document; ``problem`` is its code."""

    code = "service_refused"

    def __init__(self, detail: str, problem: str) -> None:
        super().__init__(detail)
        self.problem = problem


class TaskNameError(CommandLineError):
    """The abbreviation of a task id matches none, or several."""

    code = "task_name_unclear"
