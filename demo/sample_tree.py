"""Writes the sample tree, with the outcome that each file must get."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from demo.bundled_files import copy_bundled, cut_off
from demo.people import PEOPLE, Person
from demo.sample_plan import (
    BUNDLED,
    IGNORED,
    MISFITS,
    NOT_DICOM,
    NOT_DICOM_CONTENT,
    OTHER_PLACES,
    UNFIT_FOLDER,
    WITHOUT_PATIENT_ID,
    XRAYS,
)
from demo.xray_files import write_xray

_DICOM_EXTENSIONS = (".dcm", ".dicom")


@dataclass(frozen=True, slots=True)
class Expected:
    """One file of the tree and the outcome that the first import must give it.

    Attributes:
        path: absolute.
        outcome, code: as the report names them.
        patient_id: whose folder holds it.
        names: its pictures' names in XieHe, none where it must not be imported.
        exam_type: XieHe's exam type, None for none.
    """

    path: str
    outcome: str
    code: str
    patient_id: str
    names: tuple[str, ...] = ()
    exam_type: str | None = None


@dataclass(frozen=True, slots=True)
class SampleTree:
    """The tree on disk and what is known of it."""

    root: Path
    files: tuple[Expected, ...]
    ignored: int
    skipped_folder: Path

    @property
    def people(self) -> list[Person]:
        """The patients that have to be in XieHe afterwards."""
        ids = {file.patient_id for file in self.files if file.names}
        return [person for person in PEOPLE.values() if person.patient_id in ids]


def build_sample_tree(root: Path) -> SampleTree:
    """Writes all files below ``root``; the same each time."""
    files = [*_xrays(root), *_bundled(root), *_misfits(root)]
    for name, content in IGNORED.items():
        _place(root, name).write_bytes(content)
    copy_bundled("CT_small.dcm", PEOPLE["P001"], _place(root, f"{UNFIT_FOLDER}/P001/IM0001.dcm"))
    return SampleTree(root, tuple(files), len(IGNORED), root / UNFIT_FOLDER)


def _xrays(root: Path) -> Iterator[Expected]:
    """The drawn ones. Two different films of one patient and one name: the later one has to get a suffix."""
    taken: set[tuple[str, str]] = set()
    for seed, (name, exposure) in enumerate(XRAYS.items()):
        path, person = _place(root, name), _owner(name)
        uid = write_xray(path, exposure, person, day=f"{name[:4]}{name[5:7]}15", seed=seed)
        key = (person.patient_id, path.stem)
        code, stem = ("uploaded_renamed", f"{path.stem}_{_suffix(uid)}") if key in taken else ("uploaded", path.stem)
        taken.add(key)
        yield Expected(str(path), "uploaded", code, person.patient_id, (f"{stem}.jpg",), exposure.exam_type)


def _bundled(root: Path) -> Iterator[Expected]:
    for folder, sources in BUNDLED.items():
        for source in sources:
            name = f"{folder}/{OTHER_PLACES.get(source, source)}"
            path, person = _place(root, name), _owner(name)
            pictures = copy_bundled(source, person, path, with_patient_id=source not in WITHOUT_PATIENT_ID)
            yield Expected(str(path), "uploaded", "uploaded", person.patient_id, _picture_names(name, pictures))


def _misfits(root: Path) -> Iterator[Expected]:
    for name, misfit in MISFITS.items():
        path = _place(root, name)
        copy_bundled(misfit.source, PEOPLE[misfit.owner], path)
        if misfit.cut_off:
            cut_off(path)
        yield Expected(str(path), "failed", misfit.code, _owner(name).patient_id)
    path = _place(root, NOT_DICOM)
    path.write_bytes(NOT_DICOM_CONTENT)
    yield Expected(str(path), "failed", "not_dicom", _owner(NOT_DICOM).patient_id)


def _picture_names(name: str, pictures: int) -> tuple[str, ...]:
    """``<stem>.jpg``, or ``<stem>-0001.jpg`` and so on."""
    place = PurePosixPath(name)
    stem = place.stem if place.suffix.lower() in _DICOM_EXTENSIONS else place.name
    if pictures == 1:
        return (f"{stem}.jpg",)
    return tuple(f"{stem}-{number:04d}.jpg" for number in range(1, pictures + 1))


def _suffix(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def _place(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _owner(name: str) -> Person:
    return PEOPLE[name.split("/")[1]]
