"""pydicom data set → the plain numbers that rendering needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom.header.values import bytes_of, has, integer, items, named, numbers, require_integer, text, vr_of
from dicom.pixel_maths.grayscale import Modality
from dicom.pixel_maths.lookup_tables import Descriptor, LookupTable, PaletteTables, expand_segments, make_table
from dicom.pixel_maths.stored_values import NumberKind
from dicom.pixel_maths.voi import VoiChoice, VoiFunction
from errors import MissingAttributeError

_SIGN_BIT_16 = 0x8000

_XA_XRF_CLASSES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2", "1.2.840.10008.5.1.4.1.1.12.3"}
)
_PROJECTION = frozenset({"CR", "DX", "DR", "RG", "MG", "RF", "XA", "IO", "PX"})
_SHUTTERS = frozenset({"RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP"})


# --- the image as a whole ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageAttributes:
    """The Image Pixel module (PS3.3 C.7.6.3) and other attributes of all frames."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int
    modality: str | None
    kind: NumberKind

    @property
    def frame_pixels(self) -> int:
        return self.rows * self.columns

    @property
    def monochrome(self) -> bool:
        return self.photometric in ("MONOCHROME1", "MONOCHROME2")

    @property
    def projection(self) -> bool:
        return (self.modality or "").upper() in _PROJECTION


def image_attributes(ds: Dataset, kind: NumberKind) -> ImageAttributes:
    """Raises MissingAttributeError if an attribute is absent or impossible."""
    rows, columns = require_integer(ds, "Rows"), require_integer(ds, "Columns")
    allocated = {NumberKind.FLOAT32: 32, NumberKind.FLOAT64: 64}.get(kind) or require_integer(ds, "BitsAllocated")
    photometric = _photometric(ds)
    samples = integer(ds, "SamplesPerPixel") or (3 if photometric.startswith(("RGB", "YBR")) else 1)
    if rows < 1 or columns < 1:
        raise MissingAttributeError(f"图像尺寸无效：Rows={rows}，Columns={columns}")
    stored = integer(ds, "BitsStored") or allocated
    if not 1 <= stored <= allocated:
        raise MissingAttributeError(f"BitsStored={stored} 与 BitsAllocated={allocated} 矛盾")
    high_bit = integer(ds, "HighBit")
    return ImageAttributes(
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        planar=samples > 1 and integer(ds, "PlanarConfiguration") == 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if high_bit is not None and stored - 1 <= high_bit < allocated else stored - 1,
        signed=integer(ds, "PixelRepresentation") == 1,
        frames=number_of_frames(ds),
        modality=text(ds, "Modality"),
        kind=kind,
    )


def _photometric(ds: Dataset) -> str:
    """Photometric Interpretation; MONOCHROME2 for one-sample files without it, which ACR-NEMA wrote."""
    value = (text(ds, "PhotometricInterpretation") or "").upper().replace(" ", "_")
    if value:
        return "PALETTE COLOR" if value == "PALETTE_COLOR" else value
    if (integer(ds, "SamplesPerPixel") or 1) == 1:
        return "MONOCHROME2"
    raise MissingAttributeError(f"缺少属性 {named('PhotometricInterpretation')}，无法解释彩色像素")


def number_of_frames(ds: Dataset) -> int:
    """1 if absent, empty or 0. Raises MissingAttributeError if it is no number."""
    values = numbers(ds, "NumberOfFrames")
    if not values:
        return 1
    if not values[0].is_integer() or values[0] < 0:
        raise MissingAttributeError(f"属性 {named('NumberOfFrames')} 不是整数，无法确定帧数")
    return max(int(values[0]), 1)


# --- what may differ from frame to frame ---------------------------------------------------------------------------


def _scopes(ds: Dataset, frame: int, macro: str) -> Iterator[Dataset]:
    """The places of a functional group's attributes: per frame, shared, top level (PS3.3 C.7.6.16)."""
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    if frame < len(per_frame):
        yield from items(per_frame[frame], macro)[:1]
    for shared in items(ds, "SharedFunctionalGroupsSequence")[:1]:
        yield from items(shared, macro)[:1]
    yield ds


def modality_transform(ds: Dataset, frame: int, image: ImageAttributes) -> Modality:
    """The Modality LUT stage (PS3.3 C.11.1) of a frame (0-based). Raises MissingAttributeError for bad numbers."""
    if _not_for_display(ds):
        return Modality()
    item, table, damaged = _first_table(ds, "ModalityLUTSequence", image.signed)
    if table is not None:
        hounsfield = image.modality == "CT" and text(item, "ModalityLUTType") == "HU"
        return Modality(table=table, hounsfield=hounsfield, damaged_table=damaged)
    for scope in _scopes(ds, frame, "PixelValueTransformationSequence"):
        if has(scope, "RescaleSlope") or has(scope, "RescaleIntercept"):
            slope = _rescale_value(scope, "RescaleSlope", 1.0) or 1.0
            intercept = _rescale_value(scope, "RescaleIntercept", 0.0)
            return Modality(slope, intercept, hounsfield=_in_hounsfield(scope, image), damaged_table=damaged)
    return Modality(hounsfield=image.modality == "CT" and image.signed, damaged_table=damaged)


def _not_for_display(ds: Dataset) -> bool:
    """XA and XRF with intensity LOG or DISP: the Modality LUT is not for display (PS3.3 C.8.7.1.1.2)."""
    if text(ds, "SOPClassUID") not in _XA_XRF_CLASSES and text(ds, "Modality") not in ("XA", "XRF"):
        return False
    return text(ds, "PixelIntensityRelationship") in ("LOG", "DISP")


def _rescale_value(ds: Dataset, keyword: str, default: float) -> float:
    values = numbers(ds, keyword)
    if not values:
        return default
    if not math.isfinite(values[0]):
        raise MissingAttributeError(f"属性 {named(keyword)} 不是数字，无法换算像素值")
    return values[0]


def _in_hounsfield(scope: Dataset, image: ImageAttributes) -> bool:
    """Whether rescaled values are HU: declared, or a CT that declares nothing else (PS3.3 C.8.2.1, C.11.1.1.2)."""
    unit = text(scope, "RescaleType")
    return image.modality == "CT" and unit in (None, "HU", "US")


def voi_choice(ds: Dataset, frame: int, image: ImageAttributes, modality: Modality) -> VoiChoice:
    """The VOI stage (PS3.3 C.11.2) of a frame (0-based): all windows in order, and the first usable LUT.

    The LUT's first mapped value is signed if the output of ``modality`` is (C.11.2.1.1).
    """
    signed = modality.table is None and (image.signed or modality.intercept < 0)
    damaged = False
    for scope in _scopes(ds, frame, "FrameVOILUTSequence"):
        windows = tuple(zip(numbers(scope, "WindowCenter"), numbers(scope, "WindowWidth"), strict=False))
        _, table, damaged_here = _first_table(scope, "VOILUTSequence", signed)
        damaged = damaged or damaged_here
        if windows or table is not None:
            return VoiChoice(windows, VoiFunction.named(text(scope, "VOILUTFunction")), table, damaged)
    return VoiChoice(damaged_table=damaged)


def window_is_unreadable(ds: Dataset) -> bool:
    """Whether the data set has windows, but none of numbers."""
    windows = list(zip(numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth"), strict=False))
    return bool(windows) and all(math.isnan(center) or math.isnan(width) for center, width in windows)


def padding_range(ds: Dataset, image: ImageAttributes) -> tuple[float, float] | None:
    """Pixel Padding Value and Range Limit, in stored values, inclusive (PS3.3 C.7.5.1.1.2), or None."""
    keywords = {
        NumberKind.INTEGER: ("PixelPaddingValue", "PixelPaddingRangeLimit"),
        NumberKind.FLOAT32: ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
        NumberKind.FLOAT64: ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
    }[image.kind]
    found = [numbers(ds, keyword)[:1] for keyword in keywords]
    ends = [_padding_sign(value[0], image) for value in found if value and not math.isnan(value[0])]
    return (min(ends), max(ends)) if ends and found[0] else None


def _padding_sign(value: float, image: ImageAttributes) -> float:
    """The value, signed as the pixels are, whatever its VR is."""
    if image.kind is not NumberKind.INTEGER:
        return value
    wrapped = int(value) & 0xFFFF
    return float(wrapped - 0x10000 if image.signed and wrapped & _SIGN_BIT_16 else wrapped)


def is_inverted(ds: Dataset, image: ImageAttributes) -> bool:
    """Whether low values are bright: MONOCHROME1 (C.7.6.3.1.2) or Presentation LUT Shape INVERSE (C.11.6)."""
    return image.photometric == "MONOCHROME1" or text(ds, "PresentationLUTShape") == "INVERSE"


def has_shutter(ds: Dataset, frame: int) -> bool:
    """Whether a Display Shutter hides a part of the frame (0-based; PS3.3 C.7.6.11, C.7.6.16.2.16)."""
    scopes = _scopes(ds, frame, "FrameDisplayShutterSequence")
    return any(text(scope, "ShutterShape") in _SHUTTERS for scope in scopes)


def is_for_processing(ds: Dataset) -> bool:
    """Whether the pixels are raw detector data, not for viewing (PS3.3 C.8.11.1.1.1)."""
    return (text(ds, "PresentationIntentType") or "").upper() == "FOR PROCESSING"


def has_burned_in_text(ds: Dataset) -> bool:
    """Whether the pixels hold text that may identify the patient (PS3.3 C.7.6.1)."""
    return (text(ds, "BurnedInAnnotation") or "").upper() == "YES"


# --- lookup tables -------------------------------------------------------------------------------------------------


def _first_table(scope: Dataset, keyword: str, signed: bool) -> tuple[Dataset, LookupTable | None, bool]:
    """(item of the first usable table in a LUT sequence, the table, whether it or one before it is damaged)."""
    damaged = False
    for item in items(scope, keyword):
        table = _lookup_table(item, signed)
        damaged = damaged or _is_damaged(item, table)
        if table is not None:
            return item, table, damaged
    return scope, None, damaged


def _is_damaged(item: Dataset, table: LookupTable | None) -> bool:
    """Whether LUT Data contradict the descriptor; an empty item is not damaged."""
    return not table.complete if table is not None else bool(bytes_of(item, "LUTData")[0])


def _lookup_table(item: Dataset, signed: bool) -> LookupTable | None:
    """A Modality or VOI LUT item (PS3.3 C.11.1.1); None if it is empty or unusable."""
    descriptor = numbers(item, "LUTDescriptor")
    data, little_endian = bytes_of(item, "LUTData")
    if len(descriptor) < 3 or not data or not all(map(math.isfinite, descriptor)):
        return None
    signed = signed or vr_of(item, "LUTDescriptor") == "SS"
    return make_table(Descriptor.of(descriptor, signed=signed, little_endian=little_endian), data)


def palette_tables(ds: Dataset, signed: bool) -> PaletteTables | None:
    """The Palette Color LUTs (PS3.3 C.7.6.3.1.5, .6); None if absent. Raises MissingAttributeError if unusable."""
    tables = [_palette_table(ds, colour, signed) for colour in ("Red", "Green", "Blue")]
    if all(table is None for table in tables):
        return None
    red, green, blue = tables
    if red is None or green is None or blue is None:
        raise MissingAttributeError("调色板（Palette Color LUT）不完整或已损坏，无法还原颜色")
    return PaletteTables(red, green, blue)


def _palette_table(ds: Dataset, colour: str, signed: bool) -> LookupTable | None:
    descriptor = numbers(ds, f"{colour}PaletteColorLookupTableDescriptor")
    if len(descriptor) < 3 or not all(map(math.isfinite, descriptor)):
        return None
    data, little_endian = bytes_of(ds, f"{colour}PaletteColorLookupTableData")
    if data:
        table = Descriptor.of(descriptor, signed=signed, little_endian=little_endian, packable=True)
        return make_table(table, data)
    segments, little_endian = bytes_of(ds, f"Segmented{colour}PaletteColorLookupTableData")
    if not segments:
        return None
    return expand_segments(Descriptor.of(descriptor, signed=signed, little_endian=little_endian), segments)


def is_supplemental(ds: Dataset, frame: int) -> bool:
    """Whether values from the palette's first on are coloured in a monochrome image (PS3.3 C.7.6.19)."""
    presentation = [text(ds, "PixelPresentation")]
    for macro in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        presentation += [text(scope, "PixelPresentation") for scope in _scopes(ds, frame, macro)]
    return any(value in ("COLOR", "MIXED") for value in presentation)


# --- geometry ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PixelGeometry:
    """Distance of pixel centres.

    Attributes:
        row_mm, column_mm: between rows and between columns, in mm; None without a scale.
        aspect: height of a pixel divided by its width.
        unreadable: the file's distances or ratio are unusable, so ``aspect`` is a guess.
    """

    row_mm: float | None
    column_mm: float | None
    aspect: float
    unreadable: bool = False


def pixel_geometry(ds: Dataset, frame: int) -> PixelGeometry:
    """The first usable of Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing (PS3.3 10.7.1.3).

    Without any of them, Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7).
    """
    given = False
    for scope in _scopes(ds, frame, "PixelMeasuresSequence"):
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            pair = _positive_pair(scope, keyword)
            if pair is not None:
                return PixelGeometry(pair[0], pair[1], pair[0] / pair[1])
            given = given or text(scope, keyword) is not None
    pair = _positive_pair(ds, "PixelAspectRatio")
    if pair is not None:
        return PixelGeometry(None, None, pair[0] / pair[1])
    return PixelGeometry(None, None, 1.0, unreadable=given or text(ds, "PixelAspectRatio") is not None)


def _positive_pair(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(ds, keyword)
    if len(values) < 2 or not all(math.isfinite(value) and value > 0 for value in values[:2]):
        return None
    return values[0], values[1]
