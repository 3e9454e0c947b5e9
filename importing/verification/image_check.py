"""Compares one file's images with XieHe's list of its patient: the same, another, or missing. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.content_etag import equal_content
from history import ReportRow
from importing.images.kept_files import kept_paths
from importing.naming.listed_names import PatientNames
from importing.naming.stored_names import MAX_FOLDER_BYTES, name_key, safe_local_name, stem_of
from models import FileOutcome, ImportedImage, OutcomeKind, RemoteImage, VerifiedImage, VerifyResult

LocalEtag = Callable[[str, int | None], str | None]
"""The content of a kept image as an ETag of XieHe's form; None if no file of that size is there."""


@dataclass(frozen=True, slots=True)
class PatientImages:
    """XieHe's images of a patient, and the history's. ``gone``: XieHe has no such patient."""

    gone: bool
    names: PatientNames
    known: Mapping[str, ImportedImage]
    known_by_id: Mapping[int, ImportedImage]

    @classmethod
    def of(cls, listed: Sequence[RemoteImage] | None, known: Sequence[ImportedImage]) -> PatientImages:
        """``listed`` is None if the patient is gone."""
        return cls(
            gone=listed is None,
            names=PatientNames(listed or (), known),
            known={row.name_key: row for row in known},
            known_by_id={row.image_file_id: row for row in known if row.image_file_id},
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
        """One result for each image that the file uploaded or found."""
        return [self._result(file, expected, images) for expected in self._expected(file.outcome, images)]

    def _expected(self, outcome: FileOutcome, images: PatientImages) -> Iterator[_Expected]:
        for frame, key in self._keys(outcome, images):
            image_id = outcome.image_file_id if frame == 1 else None
            row = images.known_by_id.get(image_id or 0) or images.known.get(key)
            yield _Expected(frame, key, (row and row.image_file_id) or image_id, row)

    def _keys(self, outcome: FileOutcome, images: PatientImages) -> list[tuple[int, str]]:
        """Frames and names; of a partly failed file those that arrived."""
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
        listed = images.names.find(expected.image_file_id, expected.key, expected.row)
        if listed is None:
            result, detail = _missing(file.outcome, images)
        else:
            result, detail = self._compared(file.outcome, expected, listed)
        name = expected.row.stored_name if expected.row else file.outcome.upload_filename
        image_id = listed.image_file_id if listed else expected.image_file_id
        return VerifiedImage(file.number, expected.frame, name, image_id, result, detail)

    def _compared(self, outcome: FileOutcome, expected: _Expected, listed: RemoteImage) -> tuple[VerifyResult, str]:
        row, moved = expected.row, _moved(expected, listed)
        size = row.jpg_size if row and row.uploaded_by_us else None
        if size is not None and listed.size_bytes is not None and size != listed.size_bytes:
            return VerifyResult.DIFFERS, f"大小不同：上传时 {size} 字节，XieHe 中 {listed.size_bytes} 字节{moved}"
        if row is None or not row.uploaded_by_us:
            return VerifyResult.OK_PRESENT, f"XieHe 中有此名称的影像，不是本服务上传的，内容无法比较{moved}"
        if listed.storage_etag is None:
            return VerifyResult.OK_PRESENT, f"大小一致；此版本的 XieHe 不提供内容校验值{moved}"
        ours = [row.storage_etag] if row.storage_etag else self._kept_etags(outcome, expected.frame, row)
        if not ours:
            return VerifyResult.OK_PRESENT, f"大小一致；本机没有保留上传的图像，内容无法比较{moved}"
        compared = [equal_content(etag, listed.storage_etag) for etag in ours]
        if all(same is None for same in compared):
            return VerifyResult.OK_PRESENT, f"大小一致；XieHe 的内容校验值是另一种形式，内容无法比较{moved}"
        same = any(compared)
        return (VerifyResult.OK, f"内容一致{moved}") if same else (VerifyResult.DIFFERS, f"大小相同，但内容不同{moved}")

    def _kept_etags(self, outcome: FileOutcome, frame: int, row: ImportedImage) -> list[str]:
        """ETags of each file that may be the kept image; a later task of that month may have kept it."""
        if outcome.jpg_path and frame == 1:
            paths: tuple[str, ...] = (outcome.jpg_path,)
        else:
            folder = safe_local_name(outcome.patient_id or "", MAX_FOLDER_BYTES)
            paths = kept_paths(os.path.join(self.output_dir, outcome.month or "", folder), row.stored_name)
        return list(filter(None, (self.local_etag(path, row.jpg_size) for path in paths)))


def _moved(expected: _Expected, listed: RemoteImage) -> str:
    """Says if XieHe has renamed the image, or lists it under another id."""
    renamed = name_key(listed.filename) != expected.key
    moved = f"；XieHe 中已改名为 {listed.filename}" if renamed else ""
    if expected.image_file_id not in (None, listed.image_file_id):
        moved += f"；XieHe 中的影像编号由 {expected.image_file_id} 变为 {listed.image_file_id}"
    return moved


def _missing(outcome: FileOutcome, images: PatientImages) -> tuple[VerifyResult, str]:
    if images.gone:
        return VerifyResult.MISSING, f"XieHe 中已没有患者 {outcome.patient_id}（已删除，或当前账号无权查看）"
    return VerifyResult.MISSING, "XieHe 没有列出该影像（已删除，或当前账号无权查看）"
