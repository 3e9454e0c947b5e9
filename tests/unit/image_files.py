"""Small DICOM image files for the tests, written by pydicom or byte by byte."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_2000_LOSSY = "1.2.840.10008.1.2.4.91"
HTJ2K = "1.2.840.10008.1.2.4.201"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def image(pixels: NDArray[Any], **elements: Any) -> Dataset:
    """A data set around ``pixels``, (rows, columns), (frames, rows, columns), either with 3 samples behind.

    Cell size, sign and samples follow the array; ``elements`` override or add by keyword, None removes.
    """
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UID(SECONDARY_CAPTURE), UID("1.2.826.0.1.3680043.8.498.1")
    ds.PatientID, ds.PatientName, ds.Modality = "P001", "Test^Patient", "OT"
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    framed = pixels.ndim == 3 + colour
    ds.Rows, ds.Columns = pixels.shape[framed : framed + 2]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 1 if pixels.dtype.kind == "i" else 0
    ds.add_new(0x7FE00010, "OB" if ds.BitsAllocated == 8 else "OW", _even(pixels.tobytes()))
    if framed:
        ds.NumberOfFrames = len(pixels)
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    if "BitsStored" in elements and "HighBit" not in elements:
        ds.HighBit = ds.BitsStored - 1
    return ds


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def encapsulated(ds: Dataset, frames: list[bytes]) -> Dataset:
    """The data set with ``frames`` as its compressed pixel data, one fragment each, offset table empty."""
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(_even(frame))) + _even(frame) for frame in (b"", *frames)]
    ds.add_new(0x7FE00010, "OB", b"".join(items))
    ds["PixelData"].is_undefined_length = True
    return ds


def to_bytes(ds: Dataset, syntax: str = EXPLICIT, encoding: str | None = None) -> bytes:
    """The data set as a whole file. For big endian, the pixels have to be given in that order already.

    ``encoding`` is the standard transfer syntax whose elements look like those of ``syntax``, which it is by default.
    """
    encoding = encoding or syntax
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.8.498.9")
    header, body = BytesIO(), BytesIO()
    write_file_meta_info(DicomIO(header), meta)
    ds.save_as(body, implicit_vr=encoding == IMPLICIT, little_endian=encoding != BIG_ENDIAN)
    data = _deflate(body.getvalue()) if encoding == DEFLATED else body.getvalue()
    return bytes(128) + b"DICM" + header.getvalue() + data


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An explicit little-endian element; ``length`` may lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HL", 0, size) + value
    return head + struct.pack("<H", size) + value


def gradient(rows: int = 16, columns: int = 20, top: int = 4095) -> NDArray[np.uint16]:
    """(rows, columns) uint16 rising from 0 to ``top``, no two neighbours equal."""
    return np.linspace(0, top, rows * columns).astype(np.uint16).reshape(rows, columns)
