"""The grayscale pipeline against values worked by hand from the standard, and its laws by hypothesis."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dicom.pixel_maths.colour import interpolate_422, to_rgb
from dicom.pixel_maths.grayscale import GrayscaleRules, Modality, render_grayscale
from dicom.pixel_maths.lookup_tables import Descriptor, LookupTable, PaletteTables, expand_segments, make_table
from dicom.pixel_maths.stored_values import CellLayout, native_bits, native_cells
from dicom.pixel_maths.voi import VoiChoice, VoiFunction, Window
from dicom.rendering.image_files import write_image
from models import WindowSource
from tests.unit.reference_rendering import window as reference_window

SIXTEEN = CellLayout(16)
SIGNED = CellLayout(16, signed=True)

# (function, center, width, {modality value: level}); the arithmetic of each group stands beside it.
WINDOW_TABLE: list[tuple[str, float, float, dict[int, int]]] = [
    # C.11.2.1.2.1: ((x - 49.5) / 9 + 0.5) * 255; 46 -> 0.1111 * 255 = 28.3; 50 -> 0.5556 * 255 = 141.7
    ("LINEAR", 50, 10, {44: 0, 45: 0, 46: 28, 49: 113, 50: 142, 53: 227, 54: 255, 55: 255}),
    # C.11.2.1.2.1, its own example: ((x - 2047.5) / 4095 + 0.5) * 255, the identity of 12 bits
    ("LINEAR", 2048, 4096, {0: 0, 1: 0, 2047: 127, 2048: 128, 4094: 255, 4095: 255}),
    # C.11.2.1.2.1, its own examples: c = 2048, w = 1 is a threshold at 2047.5; c = 0, w = 1 one at -0.5
    ("LINEAR", 2048, 1, {2047: 0, 2048: 255}),
    ("LINEAR", 0, 1, {-1: 0, 0: 255}),
    # C.11.2.1.2.1: ((x + 0.5) / 99 + 0.5) * 255; 0 -> 128.8; -50 -> 0; 49 -> 255
    ("LINEAR", 0, 100, {-50: 0, -49: 3, 0: 129, 48: 252, 49: 255}),
    # C.11.2.1.2.1: w = 2: ((x - 9.5) / 1 + 0.5) * 255
    ("LINEAR", 10, 2, {9: 0, 10: 255}),
    # C.11.2.1.3.2: ((x - 50) / 10 + 0.5) * 255
    ("LINEAR_EXACT", 50, 10, {44: 0, 45: 0, 47: 51, 50: 128, 53: 204, 55: 255}),
    # C.11.2.1.3.2: w = 0.5 is allowed here: black up to 9.75, white from 10.25
    ("LINEAR_EXACT", 10, 0.5, {9: 0, 10: 128, 11: 255}),
    # C.11.2.1.3.1: 255 / (1 + exp(-0.4 (x - 50))); 40 -> 255 / 55.6 = 4.59; 60 -> 255 / 1.0183 = 250.4
    ("SIGMOID", 50, 10, {-1000: 0, 40: 5, 50: 128, 60: 250, 1000: 255}),
]


def render(stored: list[int] | NDArray[Any], rules: GrayscaleRules, layout: CellLayout = SIGNED) -> list[int]:
    """Levels of stored values given as a row of 16-bit cells."""
    cells = np.asarray(stored, np.int64).astype(np.uint16).reshape(1, -1)
    return [int(level) for level in render_grayscale(cells, layout, rules).pixels[0]]


@pytest.mark.parametrize(("function", "center", "width", "expected"), WINDOW_TABLE)
def test_window_gives_the_levels_worked_by_hand(
    function: str, center: float, width: float, expected: dict[int, int]
) -> None:
    rules = GrayscaleRules(voi=VoiChoice(((center, width),), VoiFunction(function)))
    assert dict(zip(expected, render(list(expected), rules), strict=True)) == expected


def test_rescale_comes_before_the_window_and_inversion_last() -> None:
    # 2047 * 0.684 + 200 = 1600.148; ((1600.148 - 1599.5) / 2799 + 0.5) * 255 = 127.56; 255 - 127.56 = 127.44
    # 1000 * 0.684 + 200 = 884; ((884 - 1599.5) / 2799 + 0.5) * 255 = 62.31; 255 - 62.31 = 192.69
    rules = GrayscaleRules(Modality(0.684, 200.0), VoiChoice(((1600, 2800),)), invert=True)
    assert render([2047, 1000, 0, 4095], rules) == [127, 193, 255, 0]


def test_tiny_slope_is_not_rounded_away() -> None:
    # 5.6e-6 x 0..65535 is 0..0.367; halfway is stored 32767.5
    assert render([0, 32768, 65535], GrayscaleRules(Modality(5.6e-6)), SIXTEEN) == [0, 128, 255]


def test_negative_slope_turns_the_order_around() -> None:
    assert render([0, 50, 100], GrayscaleRules(Modality(-1.0))) == [255, 128, 0]


def test_modality_table_comes_before_the_window_and_extends_its_ends() -> None:
    # C.11.1.1: before the first mapped value the first entry, behind the last one the last
    table = LookupTable(-2, np.array([10, 20, 30], np.uint16), 8)
    rules = GrayscaleRules(Modality(table=table), VoiChoice(((20, 21),)))  # (x - 19.5) / 20 + 0.5
    assert render([-9, -2, -1, 0, 9], rules) == [6, 6, 134, 255, 255]


def test_voi_table_is_scaled_by_its_bits_and_beats_windows() -> None:
    # C.11.2.1.1: 12 bits, so 4095 is white; 819 / 4095 = 0.2
    table = LookupTable(100, np.array([0, 819, 2048], np.uint16), 12)
    rules = GrayscaleRules(voi=VoiChoice(((50, 10),), table=table))
    assert render([99, 100, 101, 102, 500], rules) == [0, 0, 51, 128, 128]


def test_request_beats_voi_table_window_and_default() -> None:
    table = LookupTable(0, np.array([7, 7], np.uint16), 8)
    voi = VoiChoice(((1000, 10),), table=table)
    rules = GrayscaleRules(voi=voi, requested=Window(50, 10), default=Window(0, 1))
    cells = np.array([[45, 46]], np.uint16)
    levels = render_grayscale(cells, SIXTEEN, rules)
    assert levels.pixels.tolist() == [[0, 28]]
    assert levels.window is not None
    assert (levels.window.center, levels.window.width, levels.window.source) == (50, 10, WindowSource.REQUEST)


@pytest.mark.parametrize(
    "unusable",
    [
        (0.0, 0.0),
        (float("nan"), 10.0),
        (10.0, float("inf")),
        (100.0, 0.21),
        (100.0, -5.0),
        (float("nan"), float("nan")),
    ],
)
def test_unusable_window_falls_to_the_next_pair_and_then_to_none(unusable: tuple[float, float]) -> None:
    after = GrayscaleRules(voi=VoiChoice((unusable, (50.0, 10.0))))
    assert render([45, 46, 54], after) == [0, 28, 255]
    assert render([45, 46, 54], GrayscaleRules(voi=VoiChoice((unusable,)))) == [0, 28, 255]  # min-max: (x - 45) / 9
    default = GrayscaleRules(voi=VoiChoice((unusable,)), default=Window(50, 10))
    assert render([45, 46, 500], default) == [0, 28, 255]


def test_smallest_to_largest_leaves_padding_out() -> None:
    # C.7.5.1.1.2: from -2000 to -1990 is padding; (x - 0) / 200
    rules = GrayscaleRules(Modality(2.0, -10.0), padding=(-2000, -1990))
    assert render([-2000, -1995, 0, 50, 100, 200], rules) == [0, 0, 0, 64, 128, 255]
    assert render([-2000, -1995], rules) == [0, 255]  # nothing but padding: then it counts


def test_constant_picture_is_black_without_a_division_by_zero() -> None:
    assert render([7, 7, 7], GrayscaleRules()) == [0, 0, 0]


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    cells = np.array([[0, 1, 100, 254]], np.uint8)
    levels = render_grayscale(cells, CellLayout(8), GrayscaleRules(full_range=(0, 255)))
    assert levels.pixels.tolist() == [[0, 1, 100, 254]]
    assert levels.window is not None
    assert (levels.window.center, levels.window.width, levels.window.source) == (128, 256, WindowSource.DEFAULT)


def test_bits_above_the_stored_ones_are_ignored_and_the_sign_is_extended() -> None:
    cells = np.array([0xF7FF, 0x0FFF, 0x1800], np.uint16)
    assert CellLayout(12).values(cells).tolist() == [0x7FF, 0xFFF, 0x800]
    assert CellLayout(12, signed=True).values(cells).tolist() == [2047, -1, -2048]
    assert CellLayout(12, shift=4).values(cells).tolist() == [0xF7F, 0x0FF, 0x180]


def test_wide_integers_and_floats_use_the_same_pipeline() -> None:
    rules = GrayscaleRules(Modality(0.5, 10.0), VoiChoice(((50, 10),)))
    sixteen = np.arange(60, 100, dtype=np.uint16).reshape(5, 8)
    expected = render_grayscale(sixteen, SIXTEEN, rules).pixels
    for dtype in (np.uint32, np.float32, np.float64):
        assert np.array_equal(render_grayscale(sixteen.astype(dtype), CellLayout(32), rules).pixels, expected)


def test_not_a_number_is_left_out_of_the_range_and_black() -> None:
    cells = np.array([[np.nan, np.inf, 0.0, 1.0, 2.0]], np.float32)
    assert render_grayscale(cells, SIXTEEN, GrayscaleRules()).pixels.tolist() == [[0, 255, 0, 128, 255]]


windows = st.tuples(
    st.floats(-5000, 70000, allow_nan=False), st.floats(1, 70000, allow_nan=False), st.sampled_from(list(VoiFunction))
)


@given(windows, st.floats(0.001, 30), st.floats(-2000, 2000), st.booleans(), st.booleans())
def test_any_window_agrees_with_the_float_rendering(
    window: tuple[float, float, VoiFunction], slope: float, intercept: float, signed: bool, invert: bool
) -> None:
    center, width, function = window
    stored = np.linspace(-32768 if signed else 0, 32767 if signed else 65535, 997).astype(np.int64)
    rules = GrayscaleRules(Modality(slope, intercept), VoiChoice(((center, width),), function), invert=invert)
    ours = np.array(render(stored, rules, CellLayout(16, signed=signed)))
    expected = reference_window(stored.astype(np.float64) * slope + intercept, center, width, str(function))
    assert np.abs(ours - (255 - expected if invert else expected)).max() <= 0.5 + 1e-6


@given(st.integers(1, 16), st.booleans(), st.data())
def test_any_bit_depth_is_spread_from_black_to_white_in_order(bits: int, signed: bool, data: st.DataObject) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed and bits > 1 else (0, (1 << bits) - 1)
    values = data.draw(st.lists(st.integers(low, high), min_size=2, max_size=50))
    garbage = data.draw(st.integers(0, 0xFFFF))
    cells = [(value & ((1 << bits) - 1)) | (garbage & ~((1 << bits) - 1) & 0xFFFF) for value in values]
    levels = render(cells, GrayscaleRules(), CellLayout(bits, signed=signed and bits > 1))
    if min(values) == max(values):
        assert set(levels) == {0}
        return
    assert levels[values.index(min(values))] == 0
    assert levels[values.index(max(values))] == 255
    assert [levels[i] for i in np.argsort(values, kind="stable")] == sorted(levels)


# --- tables --------------------------------------------------------------------------------------------------------


def _descriptor(count: int, first: int, bits: int, *, signed: bool = False, little: bool = True) -> Descriptor:
    return Descriptor.of((count, first, bits), signed=signed, little_endian=little)


def test_zero_entries_mean_65536() -> None:
    table = make_table(_descriptor(0, 0, 16), np.arange(65536, dtype="<u2").tobytes())
    assert table is not None
    assert table.entries.size == 65536
    assert table.lookup(np.array([65535.0])).tolist() == [65535]


def test_first_mapped_value_is_signed_where_the_data_are() -> None:
    table = make_table(_descriptor(3, 0xFFFE, 16, signed=True), b"\1\0\2\0\3\0")
    assert table is not None
    assert table.lookup(np.array([-3.0, -2.0, -1.0, 0.0, 1.0])).tolist() == [1, 1, 2, 3, 3]


def test_eight_bit_entries_are_read_packed_and_swapped_only_under_big_endian() -> None:
    little = make_table(_descriptor(4, 0, 8), b"\1\2\3\4")
    big = make_table(_descriptor(4, 0, 8, little=False), b"\2\1\4\3")
    assert little is not None
    assert big is not None
    assert little.entries.tolist() == big.entries.tolist() == [1, 2, 3, 4]


def test_table_that_is_too_short_is_none() -> None:
    assert make_table(_descriptor(4, 0, 16), b"\1\2\3") is None


def test_palette_keeps_the_high_byte_of_16_bit_entries() -> None:
    table = make_table(_descriptor(2, 0, 16), np.array([0x12FF, 0xFF00], "<u2").tobytes())
    assert table is not None
    assert PaletteTables(table, table, table).colours(np.array([0, 1, 5])).tolist() == [
        [0x12] * 3,
        [0xFF] * 3,
        [0xFF] * 3,
    ]


def test_segments_are_expanded_as_the_standard_tells() -> None:
    # C.7.9.2: discrete 2 entries (10, 20); linear 4 more up to 60: 30 40 50 60; indirect: the first segment again
    words = [0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0]
    table = expand_segments(_descriptor(8, 0, 16), np.array(words, "<u2").tobytes())
    assert table.entries.tolist() == [10, 20, 30, 40, 50, 60, 10, 20]


# --- cells and colours ---------------------------------------------------------------------------------------------


def test_one_bit_frames_need_not_begin_at_a_byte() -> None:
    data = np.packbits([0, 1, 1, 0, 1, 1, 0, 1, 1, 0], bitorder="little")
    assert native_bits(data, 5, 5, little_endian=True, words=True).tolist() == [1, 0, 1, 1, 0]


def test_big_endian_words_hold_bytes_in_swapped_pairs() -> None:
    data = np.array([2, 1, 4, 3], np.uint8)
    assert native_cells(data, 8, little_endian=False, words=True).tolist() == [1, 2, 3, 4]
    assert native_cells(data, 8, little_endian=False, words=False).tolist() == [2, 1, 4, 3]
    assert native_cells(data, 16, little_endian=False, words=True).tolist() == [0x0201, 0x0403]


def test_ybr_is_converted_by_the_standards_matrix() -> None:
    # C.7.6.3.1.2: R = Y + 1.402 (Cr - 128), G = Y - 0.3441 (Cb - 128) - 0.7141 (Cr - 128), B = Y + 1.772 (Cb - 128)
    cells = np.array([[[128, 128, 128], [76, 85, 255], [100, 200, 50]]], np.uint8)
    expected = [[128, 128, 128], [254, 0, 0], [0, 131, 228]]
    assert np.abs(to_rgb(cells, CellLayout(8), "YBR_FULL").astype(int)[0] - expected).max() <= 1


def test_ybr_partial_reaches_black_and_white_at_16_and_235() -> None:
    cells = np.array([[[16, 128, 128], [235, 128, 128]]], np.uint8)
    assert to_rgb(cells, CellLayout(8), "YBR_PARTIAL_422").tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_422_shares_chroma_between_two_pixels() -> None:
    cells = np.array([1, 2, 10, 20, 3, 4, 30, 40], np.uint8)
    assert interpolate_422(cells, 1, 4).tolist() == [[[1, 10, 20], [2, 10, 20], [3, 30, 40], [4, 30, 40]]]


def test_colours_of_other_depths_fill_eight_bits_without_a_stretch() -> None:
    sixteen = np.array([[[0, 0x1234, 0xFFFF]]], np.uint16)
    assert to_rgb(sixteen, CellLayout(16), "RGB").tolist() == [[[0, 0x12, 0xFF]]]
    twelve = np.array([[[0, 0x123, 0xFFF]]], np.uint16)
    assert to_rgb(twelve, CellLayout(12), "RGB").tolist() == [[[0, 0x12, 0xFF]]]
    wide = np.array([[[0, 0x12345678, 0xFFFFFFFF]]], np.uint32)
    assert to_rgb(wide, CellLayout(32), "RGB").tolist() == [[[0, 0x12, 0xFF]]]


# --- picture files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [1, 50, 95, 100])
@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (1, 1), (1, 1, 3), (1, 40), (40, 1), (17, 9, 3)])
def test_a_jpg_has_the_bytes_that_pillow_writes(shape: tuple[int, ...], quality: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    expected = BytesIO()
    Image.fromarray(pixels).save(expected, "JPEG", quality=quality, subsampling=0)
    size = write_image(str(tmp_path / "picture.jpg"), pixels, None, quality)
    assert (tmp_path / "picture.jpg").read_bytes() == expected.getvalue()
    assert size == len(expected.getvalue())


def test_pixels_that_do_not_lie_one_after_the_other_make_the_same_jpg(tmp_path: Path) -> None:
    screen = np.random.default_rng(6).integers(0, 256, (3, 30, 20), np.uint8)
    for name, pixels in (("views", np.moveaxis(screen, 0, -1)), ("column", screen.T[:1, :, 0])):
        write_image(str(tmp_path / f"{name}.jpg"), pixels, None, 95)
        write_image(str(tmp_path / "copy.jpg"), pixels.copy(), None, 95)
        assert (tmp_path / f"{name}.jpg").read_bytes() == (tmp_path / "copy.jpg").read_bytes()
