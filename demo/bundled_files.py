"""Real DICOM files out of pydicom's own wheel, made over to the demonstration's patients. Nothing is downloaded."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from demo.people import Person

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
"""The folder itself, not pydicom's get_testdata_file: that one fetches what it doesn't find."""


def copy_bundled(name: str, person: Person, target: Path, *, with_patient_id: bool = True) -> int:
    """Writes a bundled file as one of ``person``'s, and returns how many pictures are in it.

    Transfer syntax and pixel bytes stay as they are. It gets a SOP Instance UID of its own, since many of the bundled
    files are variants of one instance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them are there because they are odd
        ds = pydicom.dcmread(TEST_FILES / name)
        ds.decode()
        person.write_into(ds)
        if not with_patient_id:
            del ds.PatientID
        _give_uid(ds, person.patient_id, target.name, name)
        ds.save_as(target)
    return int(ds.get("NumberOfFrames") or 1) if "PixelData" in ds else 0


def cut_off(path: Path) -> None:
    """Leaves two thirds of a file, as a copy that broke off does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def _give_uid(ds: Dataset, *sources: str) -> None:
    ds.SOPInstanceUID = generate_uid(entropy_srcs=list(sources))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
