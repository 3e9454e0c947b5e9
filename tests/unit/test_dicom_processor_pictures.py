"""Pictures of every kind: pydicom's own files against the slow float rendering, made ones against worked levels."""

from __future__ import annotations

import math
import os
import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom.header.parsing import parse
from dicom.rendering.frame_rendering import RenderedFrame, StageClock, render_frames
from errors import FileError, NoPixelDataError, NotDicomError
from models import RenderOptions
from tests.unit import image_files as files
from tests.unit.image_files import gradient, image, to_bytes
from tests.unit.reference_rendering import reference_frame

DATA = Path(pydicom.data.__file__).parent

REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "pixel_decode_failed",  # its SIZ says 3722445056 columns
    "MR_truncated.dcm": "truncated_pixel_data",
    "badVR.dcm": "missing_attribute",  # NumberOfFrames is "1A"
    "meta_missing_tsyntax.dcm": "missing_attribute",  # no Rows
    "nested_priv_SQ.dcm": "missing_attribute",  # no Rows
    "rtplan_truncated.dcm": "truncated_file",
}


def frames_of(content: bytes, **options: Any) -> list[RenderedFrame]:
    parsed = parse(BytesIO(content), len(content))
    return list(render_frames(parsed, RenderOptions(**options), None, StageClock()))


def levels_of(ds: Dataset, syntax: str = files.EXPLICIT, **options: Any) -> list[NDArray[np.uint8]]:
    """Levels of every frame of a made file."""
    return [frame.levels.pixels for frame in frames_of(to_bytes(ds, syntax), **options)]


def pydicom_images() -> list[str]:
    """Every file of pydicom's wheel that has pixels and a picture in them."""
    found = []
    for path in sorted(DATA.rglob("*")):
        if not path.is_file():
            continue
        try:
            with open(path, "rb") as stream:
                parsed = parse(stream, path.stat().st_size)
        except FileError:
            continue
        if parsed.pixels is not None and path.name not in REFUSED:
            found.append(str(path))
    return found


@pytest.mark.parametrize("path", pydicom_images(), ids=os.path.basename)
def test_pydicoms_picture_agrees_with_the_float_rendering(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for frame in frames_of(Path(path).read_bytes()):
            difference = np.abs(frame.levels.pixels - reference_frame(path, frame.number - 1))
            assert difference.mean() <= 0.5
            assert difference.max() <= 1.01


def test_there_are_pictures_to_compare() -> None:
    assert len(pydicom_images()) >= 95


@pytest.mark.parametrize(("name", "code"), list(REFUSED.items()))
def test_pydicoms_damaged_file_is_refused_with_its_reason(name: str, code: str) -> None:
    content = next(DATA.rglob(name)).read_bytes()
    with pytest.raises(FileError) as refusal:
        frames_of(content)
    assert refusal.value.code == code


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "rtstruct.dcm", "waveform_ecg.dcm"])
def test_pydicoms_object_without_a_picture_is_called_so(name: str) -> None:
    content = next(DATA.rglob(name)).read_bytes()
    with pytest.raises(NoPixelDataError):
        frames_of(content)


@pytest.mark.parametrize("name", ["zipMR.gz", "rtplan.dump", "README.txt"])
def test_pydicoms_other_file_is_no_dicom(name: str) -> None:
    found = next(DATA.rglob(name), None)
    if found is None:
        pytest.skip(f"this pydicom ships no {name}")
    with pytest.raises(NotDicomError):
        frames_of(found.read_bytes())


# --- stored values -------------------------------------------------------------------------------------------------

ROW = np.array([[0, 1000, 2000, 4095]], np.uint16)
ROW_LEVELS = [[0, 62, 125, 255]]  # 255 * x / 4095 = 62.27, 124.54


def test_overlay_in_the_unused_bits_leaves_no_trace() -> None:
    assert levels_of(image(ROW | 0xA000, BitsStored=12))[0].tolist() == ROW_LEVELS


def test_value_in_the_upper_bits_is_shifted_down() -> None:
    assert levels_of(image(ROW << 4, BitsStored=12, HighBit=15))[0].tolist() == ROW_LEVELS


def test_sign_that_was_not_extended_is_extended() -> None:
    cells = (ROW.astype(np.int32) - 2048) & 0x0FFF
    ds = image(cells.astype(np.uint16), BitsStored=12, PixelRepresentation=1)
    assert levels_of(ds)[0].tolist() == ROW_LEVELS


def test_big_endian_pixels_are_the_same_picture() -> None:
    assert levels_of(image(ROW.astype(">u2"), BitsStored=12), files.BIG_ENDIAN)[0].tolist() == ROW_LEVELS


def test_deflated_pixels_are_the_same_picture() -> None:
    assert levels_of(image(ROW, BitsStored=12), files.DEFLATED)[0].tolist() == ROW_LEVELS


def test_32_bit_integers_are_spread_over_their_range() -> None:
    wide = ROW.astype(np.uint32) * 1_000_000
    assert levels_of(image(wide))[0].tolist() == ROW_LEVELS


@pytest.mark.parametrize(("dtype", "keyword"), [(np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")])
def test_floating_point_pixels_are_spread_over_their_range(dtype: type, keyword: str) -> None:
    ds = image(ROW)
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = dtype().itemsize * 8
    setattr(ds, keyword, (ROW.astype(dtype) / 1e6).tobytes())
    assert levels_of(ds)[0].tolist() == ROW_LEVELS


def test_one_bit_frames_follow_each_other_without_padding() -> None:
    bits = np.random.default_rng(3).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    ds = image(bits)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    assert [frame.tolist() for frame in levels_of(ds)] == (bits * 255).tolist()


@pytest.mark.parametrize("columns", [19, 20])
@pytest.mark.parametrize("rows", [15, 16])
def test_odd_sizes_lose_no_pixel(rows: int, columns: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (rows, columns)).astype(np.uint8)
    assert np.array_equal(levels_of(image(pixels))[0], pixels)


# --- grayscale -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inverse",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "INVERSE"},
    ],
)
def test_inversion_happens_once(inverse: dict[str, str]) -> None:
    expected = (255 - np.array(ROW_LEVELS)).tolist()
    ours = levels_of(image(ROW, BitsStored=12, **inverse))[0]
    assert np.abs(ours.astype(int) - expected).max() <= 1
    assert ours[0, 0] == 255


def test_padding_of_another_sign_is_still_padding() -> None:
    cells = np.array([[-2000, 0, 100, 200]], np.int16)
    ds = image(cells)
    ds.add_new(0x00280120, "US", 0x10000 - 2000)
    assert levels_of(ds)[0].tolist() == [[0, 0, 128, 255]]


def test_padding_range_limit_is_padding_too() -> None:
    cells = np.array([[-2000, -1990, 0, 100, 200]], np.int16)
    assert levels_of(image(cells, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1985))[0].tolist() == [
        [0, 0, 0, 128, 255]
    ]


def test_rescale_under_vr_un_counts() -> None:
    ds = image(ROW, Modality="CT")
    ds.add_new(0x00281052, "UN", b"-1024 ")
    ds.add_new(0x00281053, "UN", b"1 ")
    # default window 40/400 in HU: black up to -160, white from 239; 1000 - 1024 = -24 -> (-63.5 / 399 + 0.5) * 255
    assert levels_of(ds)[0].tolist() == [[0, 87, 255, 255]]


@pytest.mark.parametrize(("relationship", "applied"), [("LOG", False), ("DISP", False), ("LIN", True)])
def test_angiography_shows_stored_values(relationship: str, applied: bool) -> None:
    """PS3.3 C.8.7.1.1.2: with LOG or DISP the Modality LUT leads away from what is meant for display."""
    elements = {"RescaleSlope": 2, "RescaleIntercept": 0, "WindowCenter": 2048, "WindowWidth": 4096}
    ds = image(ROW, Modality="XA", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1", **elements)
    ds.PixelIntensityRelationship = relationship
    doubled = [[0, 125, 249, 255]]
    assert levels_of(ds)[0].tolist() == (doubled if applied else ROW_LEVELS)


def _groups(**macros: dict[str, Any]) -> Sequence:
    item = Dataset()
    for keyword, elements in macros.items():
        inner = Dataset()
        for name, value in elements.items():
            setattr(inner, name, value)
        setattr(item, keyword, Sequence([inner]))
    return Sequence([item])


def test_functional_groups_of_the_frame_beat_the_shared_ones() -> None:
    ds = image(np.stack([ROW, ROW]), SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1")
    ds.SharedFunctionalGroupsSequence = _groups(
        PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 0},
        FrameVOILUTSequence={"WindowCenter": 4096, "WindowWidth": 8192},
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [
            _groups(FrameVOILUTSequence={"WindowCenter": 2048, "WindowWidth": 4096})[0],
            _groups(PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": 0})[0],
        ]
    )
    first, second = levels_of(ds)
    assert first.tolist() == [[0, 125, 249, 255]]  # shared slope 2, own window: ((2000 - 2047.5) / 4095 + 0.5) * 255
    assert second.tolist() == [[0, 31, 62, 127]]  # own slope 1, shared window: ((4095 - 4095.5) / 8191 + 0.5) * 255


def test_table_sequences_skip_their_empty_items() -> None:
    table = Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 8])
    table.add_new(0x00283006, "US", [255 - value * 255 // 4095 for value in range(4096)])
    ds = image(ROW, BitsStored=12, WindowCenter=1, WindowWidth=1, VOILUTSequence=Sequence([Dataset(), table]))
    expected = [255 - int(value) * 255 // 4095 for value in ROW[0]]
    assert levels_of(ds)[0].tolist() == [expected]


def test_modality_table_with_monochrome1() -> None:
    table = Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 16])
    table.add_new(0x00283006, "US", [value * 16 for value in range(4096)])
    table.ModalityLUTType = "US"
    ds = image(ROW, BitsStored=12, PhotometricInterpretation="MONOCHROME1", ModalityLUTSequence=Sequence([table]))
    assert np.abs(levels_of(ds)[0].astype(int) - (255 - np.array(ROW_LEVELS))).max() <= 1


def test_big_endian_table_is_read_in_its_order() -> None:
    table = Dataset()
    table.add_new(0x00283002, "US", [4, 0, 16])
    table.add_new(0x00283006, "OW", struct.pack(">4H", 0, 257, 257 * 128, 65535))
    cells = np.array([[0, 1, 2, 3]], ">u2")
    ds = image(cells, VOILUTSequence=Sequence([table]))
    assert levels_of(ds, files.BIG_ENDIAN)[0].tolist() == [[0, 1, 128, 255]]


# --- colour --------------------------------------------------------------------------------------------------------

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)


def _palette(first: int, bits: int, data: dict[str, bytes], count: int, keyword: str = "{}Palette") -> dict[str, Any]:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, value in data.items():
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        elements[f"{keyword.format(colour)}ColorLookupTableData"] = value
    return elements


def _planes(order: str = "<", bits: int = 16) -> dict[str, bytes]:
    kind = f"{order}u2" if bits == 16 else "u1"
    scale = 257 if bits == 16 else 1
    return {
        name: (COLOURS[0, :, sample].astype(np.uint16) * scale).astype(kind).tobytes()
        for sample, name in enumerate(("Red", "Green", "Blue"))
    }


def test_palette_of_16_bits_is_looked_up() -> None:
    ds = image(np.array([[0, 1, 2, 3]], np.uint8), **_palette(0, 16, _planes(), 4))
    assert np.array_equal(levels_of(ds)[0], COLOURS)


def test_palette_bytes_are_swapped_in_big_endian_files() -> None:
    ds = image(np.array([[0, 1, 2, 3]], np.uint8), **_palette(0, 16, _planes(">"), 4))
    assert np.array_equal(levels_of(ds, files.BIG_ENDIAN)[0], COLOURS)


def test_palette_of_8_bits_is_packed() -> None:
    ds = image(np.array([[0, 1, 2, 3]], np.uint8), **_palette(0, 8, _planes(bits=8), 4))
    assert np.array_equal(levels_of(ds)[0], COLOURS)


def test_palette_may_begin_below_zero() -> None:
    elements = _palette(0, 16, _planes(), 4)
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [4, -2, 16]
    ds = image(np.array([[-2, -1, 0, 1]], np.int16), **elements)
    assert np.array_equal(levels_of(ds)[0], COLOURS)


def test_segmented_palette_is_expanded() -> None:
    segments = struct.pack("<7H", 0, 1, 0, 1, 255, 255 * 257, 0)[:-2]  # one 0, then 255 steps up to white
    data = dict.fromkeys(("Red", "Green", "Blue"), segments)
    ds = image(np.array([[0, 1, 128, 255]], np.uint8), **_palette(0, 16, data, 256, "Segmented{}Palette"))
    assert levels_of(ds)[0][0, :, 0].tolist() == [0, 1, 128, 255]


def test_supplemental_palette_colours_only_the_values_above_its_first() -> None:
    elements = _palette(100, 16, _planes(), 4) | {"PhotometricInterpretation": "MONOCHROME2"}
    ds = image(np.array([[0, 50, 100, 103]], np.uint8), PixelPresentation="MIXED", **elements)
    assert levels_of(ds)[0].tolist() == [[[0] * 3, [50] * 3, [255, 0, 0], [10, 20, 30]]]


def test_colour_by_plane_is_the_same_picture() -> None:
    planar = np.ascontiguousarray(np.moveaxis(COLOURS, -1, 0))
    ds = image(COLOURS, PlanarConfiguration=1)
    ds.PixelData = planar.tobytes()
    assert np.array_equal(levels_of(ds)[0], COLOURS)


def test_native_ybr_422_is_as_wide_as_it_says() -> None:
    ds = image(COLOURS, PhotometricInterpretation="YBR_FULL_422")
    ds.PixelData = bytes([76, 76, 85, 255, 29, 29, 255, 107])
    red, blue = levels_of(ds)[0][0, 0], levels_of(ds)[0][0, 3]
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 1
    assert np.abs(blue.astype(int) - [0, 0, 255]).max() <= 1


def test_full_samples_under_a_422_label_are_full_samples() -> None:
    ds = image(np.full((2, 2, 3), (76, 85, 255), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    assert np.abs(levels_of(ds)[0].astype(int) - [255, 0, 0]).max() <= 1


def test_odd_big_endian_colour_loses_no_byte() -> None:
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    ds = image(pixels)
    ds.add_new(0x7FE00010, "OW", np.append(pixels.reshape(-1), np.uint8(0)).view(np.uint16).byteswap().tobytes())
    assert np.array_equal(levels_of(ds, files.BIG_ENDIAN)[0], pixels)


def test_geometry_may_stand_in_the_functional_groups() -> None:
    ds = image(gradient(), SharedFunctionalGroupsSequence=_groups(PixelMeasuresSequence={"PixelSpacing": [0.4, 0.2]}))
    (frame,) = frames_of(to_bytes(ds))
    assert math.isclose(frame.geometry.aspect, 2.0)
