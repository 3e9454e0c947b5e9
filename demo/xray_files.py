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

from demo.film import Detector, Film
from demo.people import Person
from demo.spine_curve import FRONTAL_STRAIGHT, LATERAL_NORMAL, Bump, SpineCurve, View
from demo.spine_drawing import LATERAL_MIDDLE_X, LEAD, MIDDLE_X, draw_frontal, draw_lateral

FRONTAL_TYPE, LATERAL_TYPE = "正位X光片", "侧位X光片"
LEFT_BEND_TYPE, RIGHT_BEND_TYPE = "左侧曲位", "右侧曲位"

DX_14_BIT = Detector(mm_per_pixel=0.2, bits=14)
DX_12_BIT = Detector(mm_per_pixel=0.25, bits=12)
CR_INVERTED = Detector(mm_per_pixel=0.25, bits=12, inverted=True, grain=0.018)
_CR_SLOPE = 0.684
_TIME_OF_DAY = "093000"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One X-ray to be drawn, and how its header names it.

    Attributes:
        exam_type: XieHe's exam type that has to come out of the header.
        described: attributes by which the header tells the projection, keyword → value.
    """

    view: View
    bumps: tuple[Bump, ...]
    detector: Detector
    exam_type: str
    described: tuple[tuple[str, str], ...]


S_CURVE = (Bump(26, 2.6, 5.5), Bump(42, -2.0, 5.0))
LUMBAR_CURVE = (Bump(27, -0.8, 6.0), Bump(41, 2.4, 5.5))
LONG_CURVE = (Bump(32, -3.2, 8.0),)
MILD_CURVE = (Bump(26, 1.0, 5.5), Bump(42, -0.7, 5.0))
FRONTAL_BY_VIEW = (("ViewPosition", "AP"), ("SeriesDescription", "全脊柱"))
FRONTAL_BY_TEXT = (("SeriesDescription", "全脊柱正位 站立"),)
LATERAL_BY_VIEW = (("ViewPosition", "LL"), ("SeriesDescription", "全脊柱"))
LATERAL_BY_TEXT = (("SeriesDescription", "Whole Spine LAT"),)

FRONTAL_DX = Exposure(View.FRONTAL, S_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_VIEW)
FRONTAL_LUMBAR_DX = Exposure(View.FRONTAL, LUMBAR_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_TEXT)
FRONTAL_LONG_DX = Exposure(View.FRONTAL, LONG_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_VIEW)
FRONTAL_MILD_DX = Exposure(View.FRONTAL, MILD_CURVE, DX_14_BIT, FRONTAL_TYPE, FRONTAL_BY_TEXT)
LATERAL_DX = Exposure(View.LATERAL, LATERAL_NORMAL, DX_14_BIT, LATERAL_TYPE, LATERAL_BY_VIEW)
FRONTAL_CR = Exposure(View.FRONTAL, FRONTAL_STRAIGHT, CR_INVERTED, FRONTAL_TYPE, FRONTAL_BY_TEXT)
LATERAL_CR = Exposure(View.LATERAL, LATERAL_NORMAL, CR_INVERTED, LATERAL_TYPE, LATERAL_BY_TEXT)
LEFT_BEND = Exposure(
    View.FRONTAL, (Bump(0, 8.5, 20), Bump(40, -1.0, 6)), DX_12_BIT, LEFT_BEND_TYPE, (("SeriesDescription", "左侧屈位"),)
)
RIGHT_BEND = Exposure(
    View.FRONTAL,
    (Bump(0, -8.5, 20), Bump(40, 1.0, 6)),
    DX_12_BIT,
    RIGHT_BEND_TYPE,
    (("SeriesDescription", "Spine right bending"),),
)


def write_xray(path: Path, exposure: Exposure, person: Person, *, day: str, seed: int) -> str:
    """Draws and writes one X-ray, and returns its SOP Instance UID; the same arguments give the same file."""
    stored = _film(exposure).expose(exposure.detector, LEAD, seed)
    inverted = exposure.detector.inverted
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ComputedRadiographyImageStorage if inverted else DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[person.patient_id, day, str(seed)])
    person.write_into(ds)
    ds.Modality = "CR" if inverted else "DX"
    ds.StudyDate, ds.StudyTime, ds.BodyPartExamined = day, _TIME_OF_DAY, "SPINE"
    for keyword, value in exposure.described:
        setattr(ds, keyword, value)
    _describe_pixels(ds, stored, exposure.detector)
    ds.PixelData = stored.astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return str(ds.SOPInstanceUID)


def _film(exposure: Exposure) -> Film:
    if exposure.view is View.LATERAL:
        return draw_lateral(SpineCurve(LATERAL_MIDDLE_X, exposure.bumps))
    return draw_frontal(SpineCurve(MIDDLE_X, exposure.bumps))


def _describe_pixels(ds: Dataset, stored: NDArray[np.uint16], detector: Detector) -> None:
    """Image Pixel module (PS3.3 C.7.6.3), and the window that shows bone and soft tissue alike."""
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, detector.bits, detector.bits - 1
    ds.ImagerPixelSpacing = [detector.mm_per_pixel, detector.mm_per_pixel]
    low, high = (float(value) for value in np.percentile(stored, [1, 99.8]))
    slope = _CR_SLOPE if detector.inverted else 1.0
    ds.PhotometricInterpretation = "MONOCHROME1" if detector.inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if detector.inverted else "IDENTITY"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, slope, "US"
    ds.WindowCenter, ds.WindowWidth = round(slope * (low + high) / 2, 1), round(slope * (high - low), 1)
