"""What the steps of one file's import have found out: a frozen value that each step replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from errors import FileError
from importing.naming.stored_names import BYTES_HASH
from importing.patients.patient_cache import NameReservation
from importing.uploads.image_upload import UploadedImages
from models import DicomHeader, FileWarning, ReadReply, SourceFile


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file between the scan and its outcome.

    Attributes:
        started: monotonic time.
        output_prefix: begins the paths of its rendered images.
        reply: the newest reply of a render process.
        error: why the file fails, if the step that failed has learnt more than that.
    """

    source: SourceFile
    started: float
    output_prefix: str
    reply: ReadReply = field(default_factory=ReadReply)
    header: DicomHeader | None = None
    patient_id: str | None = None
    reservation: NameReservation | None = None
    uploaded: UploadedImages = field(default_factory=UploadedImages)
    error: FileError | None = None
    warnings: tuple[FileWarning, ...] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        """SOP Instance UID, or ``sha256:<hex>`` of the file's bytes if it has none."""
        uid = self.header.image.sop_instance_uid if self.header else None
        return uid or f"{BYTES_HASH}{self.reply.content_sha256}"

    def raise_error(self) -> None:
        """Raises ``error``, if there is one."""
        if self.error is not None:
            raise self.error

    def warned(self, warnings: Iterable[FileWarning]) -> Self:
        """With these warnings, each once."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))

    def after_read(self, reply: ReadReply) -> Self:
        """With what a render process replied."""
        seconds = {**self.stage_seconds}
        for stage, more in reply.stage_seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + more
        warnings = (*reply.warnings, *(reply.header.warnings if reply.header else ()))
        return replace(self, reply=reply, header=reply.header or self.header, stage_seconds=seconds).warned(warnings)
