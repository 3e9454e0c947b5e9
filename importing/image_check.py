"""One file's images against what XieHe lists of its patient: there, the same, another, or gone. Asks nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from importing.kept_files import kept_paths
from importing.stored_names import MAX_FOLDER_BYTES, name_key, safe_local_name, stem_of
from models import FileOutcome, ImportedImage, OutcomeKind, RemoteImage, ReportRow, VerifiedImage, VerifyResult

LocalEtag = Callable[[str, int | None], str | None]
"""The content of a picture of ours as XieHe would tell it; None where none of that size lies there any more."""


@dataclass(frozen=True, slots=True)
class PatientImages:
    """What XieHe lists of a patient (nothing where it is gone), beside what the history knows of it."""

    gone: bool = False
    by_id: Mapping[int, RemoteImage] = field(default_factory=dict)
    by_name: Mapping[str, RemoteImage] = field(default_factory=dict)
    known: Mapping[str, ImportedImage] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Sequence[RemoteImage] | None, known: Sequence[ImportedImage]) -> PatientImages:
        """By id, and by the name without the output format's ending; ``listed`` is None where the patient is gone."""
        return cls(
            gone=listed is None,
            by_id={image.image_file_id: image for image in listed or ()},
            by_name={name_key(image.filename): image for image in listed or ()},
            known={row.name_key: row for row in known},
        )


@dataclass(frozen=True, slots=True)
class _Expected:
    """An image that should be in XieHe."""

    frame: int
    key: str
    image_file_id: int | None
    row: ImportedImage | None


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The rules of one verification."""

    task_id: str
    output_dir: str
    local_etag: LocalEtag

    def results(self, file: ReportRow, images: PatientImages) -> list[VerifiedImage]:
        """One for each image that the file brought or found."""
        return [self._result(file, expected, images) for expected in self._expected(file.outcome, images)]

    def _expected(self, outcome: FileOutcome, images: PatientImages) -> Iterator[_Expected]:
        for frame, key in self._keys(outcome, images):
            row = images.known.get(key)
            image_id = row.image_file_id if row else None
            yield _Expected(frame, key, image_id or (outcome.image_file_id if frame == 1 else None), row)

    def _keys(self, outcome: FileOutcome, images: PatientImages) -> list[tuple[int, str]]:
        """Frames and names; of a file that failed in part those that arrived."""
        if outcome.kind is OutcomeKind.FAILED:
            ours = [row for row in images.known.values() if self._is_of(row, outcome)]
            return sorted((row.frame_number, row.name_key) for row in ours)
        first = name_key(outcome.upload_filename or stem_of(os.path.basename(outcome.source_path)))
        if outcome.frames_total <= 1:
            return [(1, first)]
        base = first.removesuffix("-0001")
        return [(number, f"{base}-{number:04d}") for number in range(1, outcome.frames_total + 1)]

    def _is_of(self, row: ImportedImage, outcome: FileOutcome) -> bool:
        return (row.task_id, row.source_path, row.uploaded_by_us) == (self.task_id, outcome.source_path, True)

    def _result(self, file: ReportRow, expected: _Expected, images: PatientImages) -> VerifiedImage:
        listed = images.by_id.get(expected.image_file_id or 0) or images.by_name.get(expected.key)
        if listed is None:
            result, detail = _missing(file.outcome, images)
        else:
            result, detail = self._compared(file.outcome, expected, listed)
        name = expected.row.stored_name if expected.row else file.outcome.upload_filename
        image_id = listed.image_file_id if listed else expected.image_file_id
        return VerifiedImage(file.number, expected.frame, name, image_id, result, detail)

    def _compared(self, outcome: FileOutcome, expected: _Expected, listed: RemoteImage) -> tuple[VerifyResult, str]:
        row, moved = expected.row, ""
        if name_key(listed.filename) != expected.key:
            return VerifyResult.DIFFERS, f"XieHe 中的文件名已变为 {listed.filename}"
        if expected.image_file_id not in (None, listed.image_file_id):
            moved = f"；XieHe 中的影像编号由 {expected.image_file_id} 变为 {listed.image_file_id}"
        size = row.jpg_size if row and row.uploaded_by_us else None
        if size is not None and listed.size_bytes is not None and size != listed.size_bytes:
            return VerifyResult.DIFFERS, f"大小不同：上传时 {size} 字节，XieHe 中 {listed.size_bytes} 字节{moved}"
        if row is None or not row.uploaded_by_us:
            return VerifyResult.OK_PRESENT, f"XieHe 中有此名称的影像，不是本服务上传的，内容无法比较{moved}"
        if listed.storage_etag is None:
            return VerifyResult.OK_PRESENT, f"名称和大小一致；此版本的 XieHe 不提供内容校验值{moved}"
        paths = self._local_paths(outcome, expected.frame, row)
        ours = list(filter(None, (self.local_etag(path, size) for path in paths)))
        if not ours:
            return VerifyResult.OK_PRESENT, f"名称和大小一致；本机没有保留上传的图像，内容无法比较{moved}"
        same = listed.storage_etag in ours
        return (VerifyResult.OK, f"内容一致{moved}") if same else (VerifyResult.DIFFERS, f"大小相同，但内容不同{moved}")

    def _local_paths(self, outcome: FileOutcome, frame: int, row: ImportedImage) -> tuple[str, ...]:
        """Where the image may be kept; a later task of the same month put it there, too."""
        if outcome.jpg_path and frame == 1:
            return (outcome.jpg_path,)
        folder = safe_local_name(outcome.patient_id or "", MAX_FOLDER_BYTES)
        return kept_paths(os.path.join(self.output_dir, outcome.month or "", folder), row.stored_name)


def _missing(outcome: FileOutcome, images: PatientImages) -> tuple[VerifyResult, str]:
    if images.gone:
        return VerifyResult.MISSING, f"XieHe 中已没有患者 {outcome.patient_id}（已删除，或当前账号无权查看）"
    return VerifyResult.MISSING, "XieHe 没有列出该影像（已删除，或当前账号无权查看）"
