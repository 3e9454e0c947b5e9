"""DICOM files as they come from the machines, one of each kind, drawn and encoded here.

The films are the demonstration's: drawn anatomy with grain, so that pictures of them are as large as real ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import rle.utils
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from demo.xray_drawing import WIDTH_CM, Detector, draw, expose
from demo.xray_files import S_CURVE

Pixels = NDArray[Any]
Encode = Callable[[Pixels, int], bytes]

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"
_DX, _CT = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
_US, _US_CINE, _XA = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.12.1"
_UID = "1.2.826.0.1.3680043.8.498.1{:012d}"
_UID_OF_TEMPLATE, _ID_OF_TEMPLATE, _ID = _UID.format(0), "B00000", "B{:05d}"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image.

    Attributes:
        name: short, e.g. ``dx_native``.
        title: for people.
        syntax: Transfer Syntax UID.
        draw: makes the stored values of one frame.
        bits: Bits Stored.
        header: attributes beside the pixels.
        encode: a frame's stored values → its codestream; None for native pixels.
        frames: how many.
    """

    name: str
    title: str
    syntax: str
    draw: Callable[[float], Pixels]
    bits: int
    header: Mapping[str, object]
    encode: Encode | None = None
    frames: int = 1


def film(scale: float = 1.0) -> Pixels:
    """A full-spine film cut to 3000x2500, 14 bits."""
    rows, columns = round(3000 * scale), round(2500 * scale)
    spacing_mm = 10 * WIDTH_CM / columns
    detector = Detector(mm_per_row=spacing_mm, mm_per_column=spacing_mm, bits=14, grain=_GRAIN)
    exposed = expose(draw(S_CURVE, lateral=False), detector, seed=1)
    top = (exposed.shape[0] - rows) // 3
    return np.ascontiguousarray(exposed[top : top + rows, :columns])


def slice_of_body(scale: float = 1.0) -> Pixels:
    """A 512x512 slice, 12 bits, in Hounsfield units + 1024."""
    side = round(512 * scale)
    small = np.asarray(Image.fromarray(film(0.25)[: 2 * side, :]).resize((side, side)), np.float32)
    grain = np.random.default_rng(2).standard_normal((side, side), np.float32)
    return np.clip(small / 8 + 12 * grain, 0, 4095).astype(np.uint16)


def fan(scale: float = 1.0) -> NDArray[np.uint8]:
    """An ultrasound screen, 768x1024 RGB: a speckled fan on black with a colour bar."""
    rows, columns = round(768 * scale), round(1024 * scale)
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    angle, depth = np.arctan2(across - columns / 2, down + 1), np.hypot(across - columns / 2, down) / rows
    speckle = np.random.default_rng(3).gamma(2.0, 28.0, (rows, columns))
    inside = (np.abs(angle) < 0.6) & (depth < 0.95)
    gray = np.where(inside, speckle * (0.6 + 0.4 * np.sin(9 * depth)), 0).clip(0, 255).astype(np.uint8)
    screen = np.stack([gray, gray, gray], axis=-1)
    screen[rows // 4 : rows // 2, 10:24] = np.linspace(0, 255, rows // 2 - rows // 4)[:, None, None] * (1, 0.5, 0.1)
    return screen


def _lossless_jpeg(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=1))


def _baseline_jpeg(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=90, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"))


def _jpeg_2000(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", bitspersample=bits, reversible=True))


def _run_lengths(pixels: Pixels, bits: int) -> bytes:
    rows, columns = pixels.shape
    sizes = {"rows": rows, "columns": columns, "samples_per_pixel": 1, "number_of_frames": 1}
    return bytes(rle.utils.encode_pixel_data(pixels.tobytes(), **sizes, bits_allocated=16, byteorder="<"))


def _jpeg_ls(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels))


def _htj2k(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels))


_GRAIN = 0.012
_AS_DX = {"SOPClassUID": _DX, "Modality": "DX", "WindowCenter": 7000, "WindowWidth": 12000, "ViewPosition": "AP",
          "ImagerPixelSpacing": [0.144, 0.144]}  # fmt: skip
_AS_CT = {"SOPClassUID": _CT, "Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU",
          "WindowCenter": 40, "WindowWidth": 1200, "PixelSpacing": [0.7, 0.7]}  # fmt: skip
_AS_US = {"SOPClassUID": _US, "Modality": "US", "PlanarConfiguration": 0}
_AS_CINE = {"SOPClassUID": _US_CINE, "Modality": "US", "PlanarConfiguration": 0}
_AS_XA = {"SOPClassUID": _XA, "Modality": "XA", "WindowCenter": 1500, "WindowWidth": 2500}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("dx_native", "DX 3000×2500 native", str(ExplicitVRLittleEndian), film, 14, _AS_DX),
        Kind("dx_jpeg_lossless", "DX 3000×2500 JPEG Lossless", JPEG_LOSSLESS, film, 14, _AS_DX, _lossless_jpeg),
        Kind("dx_jpeg_ls", "DX 3000×2500 JPEG-LS", JPEG_LS, film, 14, _AS_DX, _jpeg_ls),
        Kind("dx_jpeg_2000", "DX 3000×2500 JPEG 2000", JPEG_2000, film, 14, _AS_DX, _jpeg_2000),
        Kind("dx_htj2k", "DX 3000×2500 HTJ2K", HTJ2K, film, 14, _AS_DX, _htj2k),
        Kind("dx_rle", "DX 3000×2500 RLE", RLE, film, 14, _AS_DX, _run_lengths),
        Kind("ct_native", "CT 512×512 native", str(ExplicitVRLittleEndian), slice_of_body, 12, _AS_CT),
        Kind("us_rgb", "Ultrasound 1024×768 RGB native", str(ExplicitVRLittleEndian), fan, 8, _AS_US),
        Kind("us_jpeg", "Ultrasound 1024×768 JPEG baseline", JPEG_BASELINE, fan, 8, _AS_US, _baseline_jpeg),
        Kind("multi_frame", "XA 512×512, 20 frames, native", str(ExplicitVRLittleEndian), slice_of_body, 12, _AS_XA,
             frames=20),
        Kind("cine_jpeg", "Ultrasound 1024×768, 20 frames, JPEG baseline", JPEG_BASELINE, fan, 8, _AS_CINE,
             _baseline_jpeg, 20),
    )
}  # fmt: skip


@dataclass(slots=True)
class SampleShelf:
    """Draws each kind once and writes copies of it that differ in patient and SOP Instance UID alone.

    Attributes:
        scale: of the pictures' sides; below 1 for a quick look.
    """

    scale: float = 1.0
    _templates: dict[str, bytes] = field(default_factory=dict)
    _drawn: dict[Callable[[float], Pixels], Pixels] = field(default_factory=dict)

    def write(self, kind: Kind, path: Path, patient: int = 0) -> Path:
        """A new instance of the kind, of patient ``patient_id(patient)``."""
        template = self._templates.get(kind.name) or self._templates.setdefault(kind.name, self._make(kind))
        uid = _UID.format(next(_numbers))
        path.parent.mkdir(parents=True, exist_ok=True)
        head, tail = template[:_HEAD_BYTES], memoryview(template)[_HEAD_BYTES:]
        head = head.replace(_UID_OF_TEMPLATE.encode(), uid.encode())
        with path.open("wb") as file:
            file.write(head.replace(_ID_OF_TEMPLATE.encode(), patient_id(patient).encode()))
            file.write(tail)
        return path

    def _make(self, kind: Kind) -> bytes:
        if kind.draw not in self._drawn:
            self._drawn[kind.draw] = kind.draw(self.scale)
        pixels = self._drawn[kind.draw]
        frames = list(_frames(pixels, kind))
        ds = _data_set(kind, pixels)
        if kind.encode is None:
            ds.PixelData = b"".join(frame.tobytes() for frame in frames)
        else:
            ds.PixelData = encapsulate([kind.encode(frame, kind.bits) for frame in frames])
            ds["PixelData"].VR = "OB"
        return _written(ds)


_HEAD_BYTES = 4096


def patient_id(number: int) -> str:
    """The id, and folder name, of an invented patient."""
    return _ID.format(number)


def _frames(pixels: Pixels, kind: Kind) -> Iterator[Pixels]:
    for number in range(kind.frames):
        yield np.ascontiguousarray(np.roll(pixels, 3 * number, axis=1))


def _data_set(kind: Kind, pixels: Pixels) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(kind.syntax)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPInstanceUID, ds.PatientID = _UID_OF_TEMPLATE, _ID_OF_TEMPLATE
    ds.PatientName, ds.PatientSex, ds.PatientBirthDate = "Bench^Mark=测^试", "F", "19800102"
    for keyword, value in kind.header.items():
        setattr(ds, keyword, value)
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = _photometric(kind, pixels)
    ds.BitsAllocated, ds.BitsStored = 8 * pixels.dtype.itemsize, kind.bits
    ds.HighBit, ds.PixelRepresentation = kind.bits - 1, 0
    if kind.frames > 1:
        ds.NumberOfFrames = kind.frames
    return ds


def _photometric(kind: Kind, pixels: Pixels) -> str:
    if pixels.ndim == 2:
        return "MONOCHROME2"
    return "YBR_FULL_422" if kind.syntax == JPEG_BASELINE else "RGB"


def _written(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
