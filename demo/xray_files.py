"""The drawn X-rays as DICOM files, the way DX and CR equipment writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from demo.people import Person
from demo.xray_drawing import Bend, Detector, draw, expose

FRONTAL_TYPE, LATERAL_TYPE = "正位X光片", "侧位X光片"
LEFT_BEND_TYPE, RIGHT_BEND_TYPE = "左侧曲位", "右侧曲位"

DX_14_BIT = Detector(mm_per_row=0.2, mm_per_column=0.2, bits=14)
DX_NOT_SQUARE = Detector(mm_per_row=0.3, mm_per_column=0.2, bits=12)
CR_INVERTED = Detector(mm_per_row=0.25, mm_per_column=0.25, bits=12, inverted=True)
_CR_SLOPE = 0.684


@dataclass(frozen=True, slots=True)
class Exposure:
    """One X-ray to draw, and how its header names it.

    Attributes:
        exam_type: XieHe's exam type that the header has to yield.
        described: attributes that describe the projection, keyword → value.
    """

    bends: tuple[Bend, ...]
    detector: Detector
    exam_type: str
    described: tuple[tuple[str, str], ...]

    @property
    def lateral(self) -> bool:
        return self.exam_type == LATERAL_TYPE


S_CURVE = (Bend(22, 2.6, 5.5), Bend(38, -2.0, 5.0))
LUMBAR_CURVE = (Bend(22, -0.8, 6.0), Bend(38, 2.4, 5.5))
LONG_CURVE = (Bend(30, -3.2, 8.0),)
MILD_CURVE = (Bend(22, 1.0, 5.5), Bend(38, -0.7, 5.0))
STRAIGHT = (Bend(30, 0.3, 8.0),)
LATERAL_CURVE = (Bend(10, -1.6, 6), Bend(26, 2.6, 8), Bend(44, -2.0, 6))
BENT_TO_THE_LEFT = (Bend(0, 8.5, 20), Bend(40, -1.0, 6))
BENT_TO_THE_RIGHT = (Bend(0, -8.5, 20), Bend(40, 1.0, 6))
FRONTAL_BY_VIEW = (("ViewPosition", "AP"), ("SeriesDescription", "全脊柱"))
FRONTAL_BY_TEXT = (("SeriesDescription", "全脊柱正位 站立"),)
LATERAL_BY_VIEW = (("ViewPosition", "LL"), ("SeriesDescription", "全脊柱"))
LATERAL_BY_TEXT = (("SeriesDescription", "Whole Spine LAT"),)

FRONTAL_DX = Exposure(S_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_VIEW)
FRONTAL_LUMBAR_DX = Exposure(LUMBAR_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_TEXT)
FRONTAL_LONG_DX = Exposure(LONG_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_VIEW)
FRONTAL_MILD_DX = Exposure(MILD_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_TEXT)
LATERAL_DX = Exposure(LATERAL_CURVE, DX_14_BIT, LATERAL_TYPE, LATERAL_BY_VIEW)
FRONTAL_CR = Exposure(STRAIGHT, CR_INVERTED, FRONTAL_TYPE, FRONTAL_BY_TEXT)
LATERAL_CR = Exposure(LATERAL_CURVE, CR_INVERTED, LATERAL_TYPE, LATERAL_BY_TEXT)
LEFT_BEND = Exposure(BENT_TO_THE_LEFT, DX_NOT_SQUARE, LEFT_BEND_TYPE, (("SeriesDescription", "左侧屈位"),))
RIGHT_BEND = Exposure(
    BENT_TO_THE_RIGHT, DX_NOT_SQUARE, RIGHT_BEND_TYPE, (("SeriesDescription", "Spine right bending"),)
)


def write_xray(path: Path, exposure: Exposure, person: Person, *, day: str, seed: int) -> str:
    """Draws and writes one X-ray, and returns its SOP Instance UID; the same arguments give the same file."""
    stored = expose(draw(exposure.bends, lateral=exposure.lateral), exposure.detector, seed)
    inverted = exposure.detector.inverted
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ComputedRadiographyImageStorage if inverted else DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[person.patient_id, day, str(seed)])
    person.write_into(ds)
    ds.Modality = "CR" if inverted else "DX"
    ds.StudyDate, ds.StudyTime, ds.BodyPartExamined = day, "093000", "SPINE"
    for keyword, value in exposure.described:
        setattr(ds, keyword, value)
    _describe_pixels(ds, stored, exposure.detector)
    ds.PixelData = stored.astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return str(ds.SOPInstanceUID)


def _describe_pixels(ds: Dataset, stored: NDArray[np.uint16], detector: Detector) -> None:
    """Image Pixel module (PS3.3 C.7.6.3), and the window that shows bone and soft tissue alike."""
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, detector.bits, detector.bits - 1
    ds.ImagerPixelSpacing = [detector.mm_per_row, detector.mm_per_column]
    low, high = (float(value) for value in np.percentile(stored, [1, 99.8]))
    slope = _CR_SLOPE if detector.inverted else 1.0
    ds.PhotometricInterpretation = "MONOCHROME1" if detector.inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if detector.inverted else "IDENTITY"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, slope, "US"
    ds.WindowCenter, ds.WindowWidth = round(slope * (low + high) / 2, 1), round(slope * (high - low), 1)
