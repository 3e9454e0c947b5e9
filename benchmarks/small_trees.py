"""Trees of many small files, made quickly; and XieHe and a history that know such a tree already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sample_images import patient_id
from history import History, SeenSource, TaskScope
from models import FileOutcome, ImportedImage, ImportOptions, OutcomeKind, TaskRecord, TaskResult, TaskStatus
from sandbox.collation import fold
from sandbox.database import Database
from tests.dicom_files import a_dicom_file

_MONTHS = 5
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class TreeShape:
    """``patients`` folders in months, each of ``files`` files; the first patient's number is ``first``."""

    patients: int
    files: int
    first: int = 0

    @property
    def total(self) -> int:
        return self.patients * self.files

    def folder(self, patient: int) -> str:
        return f"2024-{1 + patient * _MONTHS // self.patients:02d}/{patient_id(self.first + patient)}"


@dataclass(frozen=True, slots=True)
class Planted:
    """A file of the tree: where it lies and what the walk will see of it."""

    path: Path
    month: str
    patient: int
    number: int
    size_bytes: int
    mtime_ns: int

    @property
    def uid(self) -> str:
        return f"1.2.826.0.1.3680043.8.498.2{self.patient:06d}{self.number:06d}"

    @property
    def image_id(self) -> int:
        return 1 + self.patient * 1_000_000 + self.number


def write_small_dicom(root: Path, shape: TreeShape, size: int = 16) -> None:
    """DICOM files of ``size`` x ``size`` pixels, each an instance of its own."""
    uid, whose = "1.2.826.0.1.3680043.8.498.1000000000000", patient_id(0)
    template = a_dicom_file(whose, uid=uid, size=size)
    for patient in range(shape.patients):
        folder = root / shape.folder(patient)
        folder.mkdir(parents=True)
        own = template.replace(whose.encode(), patient_id(shape.first + patient).encode())
        for number in range(shape.files):
            planted = Planted(folder, "", shape.first + patient, number, 0, 0)
            (folder / f"IM{number:05d}.dcm").write_bytes(own.replace(uid.encode(), planted.uid.encode()))


def plant(root: Path, shape: TreeShape, content: bytes = b"") -> Iterator[Planted]:
    """Files of any content."""
    for patient in range(shape.patients):
        folder = root / shape.folder(patient)
        folder.mkdir(parents=True)
        for number in range(shape.files):
            path = folder / f"IM{number:05d}.dcm"
            path.write_bytes(content)
            status = path.stat()
            yield Planted(path, folder.parent.name, patient, number, status.st_size, status.st_mtime_ns)


def fill_xiehe(data_dir: Path, files: Sequence[Planted]) -> None:
    """A sandbox's data as if it had received a picture of each file."""
    data_dir.mkdir(parents=True)
    database = Database(data_dir / "sandbox.sqlite3")
    now = int(time.time())
    with database.transaction():
        for patient in sorted({file.patient for file in files}):
            name = patient_id(patient)
            database.run(
                "INSERT INTO patients (id, patient_id, patient_id_folded, name, name_folded, gender, created_at)"
                " VALUES (?, ?, ?, '测试', ?, '女', ?)",
                *(1 + patient, name, fold(name), fold("测试"), now),
            )
        for file in files:
            database.run(
                "INSERT INTO images (id, file_uuid, filename, mime_type, file_size, status, patient_row, uploaded_by,"
                " stored_path, created_at, uploaded_at)"
                " VALUES (?, ?, ?, 'image/jpeg', 900, 'UPLOADED', ?, 1, '', ?, ?)",
                *(file.image_id, file.uid, f"{file.path.stem}.jpg", 1 + file.patient, now, now),
            )
    database.close()


async def fill_history(data_dir: Path, backend_url: str, root: Path, files: Sequence[Planted]) -> None:
    """A history as if a task had imported each file."""
    async with History.open(str(data_dir)) as history:
        begun = datetime.now(UTC)
        record = TaskRecord("earlier", str(root), ImportOptions(), TaskStatus.RUNNING, begun, begun)
        await history.add_task(record)
        await history.count_on_board("earlier", TaskScope(backend_url, str(root)))
        waiting = iter(files)

        async def work() -> None:
            for file in waiting:
                image, seen = _image(file, backend_url), _seen(file, backend_url)
                await history.record_outcome("earlier", _outcome(file), [image], seen)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        await history.save_task(_ended(record))


def _ended(record: TaskRecord) -> TaskRecord:
    return TaskRecord(
        record.task_id,
        record.source_path,
        record.options,
        TaskStatus.COMPLETED,
        record.created_at,
        record.started_at,
        datetime.now(UTC),
        TaskResult.SUCCESS,
    )


def _outcome(file: Planted) -> FileOutcome:
    return FileOutcome(
        source_path=str(file.path),
        month=file.month,
        kind=OutcomeKind.UPLOADED,
        code="uploaded",
        detail="已上传",
        finished_at=datetime.now(UTC),
        patient_id=patient_id(file.patient),
        sop_instance_uid=file.uid,
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="DX",
        upload_filename=f"{file.path.stem}.jpg",
        image_file_id=file.image_id,
        frames_total=1,
        frames_uploaded=1,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        duration_seconds=0.1,
        stage_seconds={"parse": 0.001, "decode": 0.02, "render": 0.02, "encode": 0.04, "upload": 0.1},
    )


def _image(file: Planted, backend_url: str) -> ImportedImage:
    return ImportedImage(
        backend_url=backend_url,
        patient_id=patient_id(file.patient),
        row_id=1 + file.patient,
        name_key=file.path.stem,
        stored_name=f"{file.path.stem}.jpg",
        instance=file.uid,
        sop_instance_uid=file.uid,
        frame_number=1,
        source_path=str(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        uploaded_by_us=True,
        task_id="earlier",
        image_file_id=file.image_id,
        jpg_size=900,
        uploaded_at=datetime.now(UTC),
    )


def _seen(file: Planted, backend_url: str) -> SeenSource:
    return SeenSource(
        backend_url=backend_url,
        source_path=str(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        patient_dir=patient_id(file.patient),
        patient_id=patient_id(file.patient),
        header_patient_id=patient_id(file.patient),
        instance=file.uid,
        sop_instance_uid=file.uid,
        name_keys=(file.path.stem,),
    )
