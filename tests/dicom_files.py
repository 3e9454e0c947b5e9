"""Small real DICOM files and trees of them, for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

Tree = Mapping[str, "Tree | bytes"]


def a_dicom_file(
    patient_id: str | None = "P001",
    *,
    uid: str | None = "",
    shade: int = 100,
    frames: int = 1,
    size: int = 16,
    **attributes: object,
) -> bytes:
    """A whole file's bytes: a small 16-bit picture with a gradient; ``uid`` "" makes a new one, None leaves it out."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = UID(uid) if uid else generate_uid()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    if uid is not None:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.SpecificCharacterSet = "ISO_IR 192"
    if patient_id is not None:
        ds.PatientID = patient_id
    ds.PatientName, ds.PatientSex, ds.PatientBirthDate, ds.Modality = "Zhang^San=张^三", "M", "19800102", "DX"
    _add_picture(ds, shade, frames, size)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _add_picture(ds: Dataset, shade: int, frames: int, size: int) -> None:
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = 512, 1024
    if frames > 1:
        ds.NumberOfFrames = frames
    ramp = np.arange(size * size, dtype=np.uint16).reshape(size, size) % 512
    ds.PixelData = b"".join((ramp + shade + 20 * number).astype("<u2").tobytes() for number in range(frames))


def write_tree(root: Path, tree: Tree) -> Path:
    """Makes folders of mappings and files of bytes; returns ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            write_tree(root / name, content)
    return root
