"""LUTs whose data contradict their descriptor (PS3.3 C.11.1.1): levels worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom.pixel_maths.lookup_tables import Descriptor, make_table
from models import WindowSource
from tests.unit import image_files
from tests.unit.films import RAMP, Render, film, lut

IDENTITY = np.arange(4096)
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
RAMP_LEVELS = list(range(256))  # the identity of 12 bits: 4095 n / 255 is stored, n is seen


# --- depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_entries_of_12_bits_reach_white_whatever_depth_is_declared(render_film: Render, bits: int, vr: str) -> None:
    data: Any = IDENTITY.tolist() if vr == "US" else IDENTITY.astype("<u2").tobytes()
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, bits])
    item.add_new(0x00283006, vr, data)
    made = render_film(film(VOILUTSequence=Sequence([item])))
    assert made.row == RAMP_LEVELS
    assert made.window.source is WindowSource.VOI_LUT
    assert made.codes == []


@pytest.mark.parametrize(
    ("top", "bits", "white"),
    [
        (255, 16, 255),  # 8 bits in wide words: 255 / 255
        (1023, 16, 255),  # 10 bits: 1023 / 1023
        (1023, 12, 255),  # Agfa's 10 bits under 12
        (4095, 12, 255),
        (3000, 12, 187),  # a part of 12 bits only: 3000 / 4095 * 255 = 186.8
        (60000, 16, 233),  # a part of 16 bits only: 60000 / 65535 * 255 = 233.5
        (65535, 12, 255),  # deeper than declared
        (65535, 16, 255),
        (100, 8, 100),  # a part of 8 bits only, and no less than 8: 100 / 255 * 255
    ],
)
def test_white_is_the_power_of_two_above_the_largest_entry(
    render_film: Render, top: int, bits: int, white: int
) -> None:
    entries = (IDENTITY * top // 4095).tolist()
    made = render_film(film(VOILUTSequence=lut(entries, bits)))
    assert (made.row[0], made.row[255]) == (0, white)
    assert made.row == sorted(made.row)


def test_inverse_table_of_a_lying_depth_is_scaled_the_same(render_film: Render) -> None:
    made = render_film(film(VOILUTSequence=lut(IDENTITY[::-1].tolist(), 16), PhotometricInterpretation="MONOCHROME1"))
    # (4095 - x) / 4095 is inverted again by MONOCHROME1
    assert made.row == RAMP_LEVELS


def test_big_endian_table_is_scaled_the_same(render_film: Render) -> None:
    pixels = np.tile(RAMP, (64, 1)).astype(">u2")
    sequence = lut(IDENTITY.astype(">u2").tobytes(), 16)
    ds = film(pixels, VOILUTSequence=sequence)
    assert render_film(ds, image_files.BIG_ENDIAN).row == RAMP_LEVELS


def test_values_of_a_modality_table_do_not_depend_on_its_depth(render_film: Render) -> None:
    # entries 2 x, seen through a window over 0..8190: 2 x / 8190 = x / 4095
    sequence = lut((2 * IDENTITY).tolist(), 16)
    assert render_film(film(ModalityLUTSequence=sequence, WindowCenter=4095.5, WindowWidth=8191)).row == RAMP_LEVELS


def test_dark_palette_of_16_bits_keeps_its_colours(render_film: Render) -> None:
    # C.7.6.3.1.5: the high byte; 0x2000 is dark red, and no white is to be made of it
    ds = film(np.zeros((4, 4), np.uint8), Modality="US", PhotometricInterpretation="PALETTE COLOR")
    for colour, entry in (("Red", 0x2000), ("Green", 0), ("Blue", 0)):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", np.array([entry, entry], "<u2").tobytes())
    assert render_film(ds).pictures[0][0, 0].tolist() == [0x20, 0, 0]


# --- length --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 3, 64])
@pytest.mark.parametrize("bits", [12, 16])
def test_last_entry_stands_in_for_a_few_that_are_missing(render_film: Render, missing: int, bits: int) -> None:
    made = render_film(film(VOILUTSequence=lut(IDENTITY[:-missing].tolist(), bits, count=4096), **WINDOW))
    expected = [min(int(x), 4095 - missing) / 4095 * 255 for x in RAMP]
    assert np.abs(np.array(made.row) - expected).max() <= 0.5
    assert made.codes == ["lut_data_mismatch"]


@pytest.mark.parametrize("words", [1, 1000, 2048, 2049, 3000])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_files_window_counts_where_much_of_the_table_is_missing(render_film: Render, words: int, bits: int) -> None:
    made = render_film(film(VOILUTSequence=lut(IDENTITY[:words].tolist(), bits, count=4096), **WINDOW))
    assert (made.window.source, made.window.center) == (WindowSource.FILE, 2048)
    assert made.row == pytest.approx(RAMP_LEVELS, abs=1)
    assert made.codes == ["lut_data_mismatch"]


def test_next_table_counts_where_the_first_is_cut(render_film: Render) -> None:
    items = [*lut(IDENTITY[:99].tolist(), 12, count=4096), *lut(IDENTITY.tolist(), 12)]
    made = render_film(film(VOILUTSequence=Sequence(items)))
    assert (made.row, made.codes) == (RAMP_LEVELS, ["lut_data_mismatch"])


def test_values_are_spread_where_there_is_no_window_beside_the_cut_table(render_film: Render) -> None:
    made = render_film(film(VOILUTSequence=lut(IDENTITY[:2000].tolist(), 12, count=4096)))
    assert made.window.source is WindowSource.PERCENTILE
    assert made.codes == ["lut_data_mismatch"]


def test_surplus_entries_are_left_alone(render_film: Render) -> None:
    entries = [*IDENTITY.tolist(), 9, 9, 9]
    made = render_film(film(VOILUTSequence=lut(entries, 12, count=4096)))
    assert (made.row, made.codes) == (RAMP_LEVELS, [])


def test_empty_item_is_no_damage(render_film: Render) -> None:
    made = render_film(film(VOILUTSequence=Sequence([Dataset()]), **WINDOW))
    assert (made.window.source, made.codes) == (WindowSource.FILE, [])


def test_zero_entries_are_65536_and_may_be_short_too(render_film: Render) -> None:
    pixels = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (4, 1))
    entries = np.arange(65535).tolist()  # the last one is missing
    made = render_film(film(pixels, BitsStored=16, VOILUTSequence=lut(entries, 16, count=0)))
    assert made.row == RAMP_LEVELS
    assert made.codes == ["lut_data_mismatch"]


def test_cut_modality_table_is_told_of_and_not_used(render_film: Render) -> None:
    made = render_film(film(ModalityLUTSequence=lut(IDENTITY[:700].tolist(), 16, count=4096), **WINDOW))
    assert made.row == pytest.approx(RAMP_LEVELS, abs=1)
    assert made.codes == ["lut_data_mismatch"]


@pytest.mark.parametrize(
    ("bits", "data", "expected"),
    [
        (8, bytes(range(1, 5)), [1, 2, 3, 4]),  # packed
        (8, b"\1\0\2\0\3\0\4\0", [1, 2, 3, 4]),  # 8 bits, a word each
        (8, bytes(range(1, 6)), [1, 2, 3, 4]),  # packed and too long
        (8, b"\0\1\0\2\0\3\0\4", [256, 512, 768, 1024]),  # words that say 8 bits
        (8, b"\1\0\2\0\3\0", None),  # words, one of four short: not bytes 1 0 2 0
        (12, bytes(range(1, 5)), None),  # never packed
        (16, b"\1\0\2\0\3\0\4\0\5", [1, 2, 3, 4]),
        (16, b"\1\0\2\0\3\0\4", None),
        (16, b"\1\0\2\0\3", None),
        (0, bytes(range(1, 5)), [1, 2, 3, 4]),  # no width at all: by length
        (0, b"\1\0\2\0\3\0\4\0", [1, 2, 3, 4]),
        (8, b"\1", None),
    ],
)
def test_width_is_as_declared_unless_the_data_forbid_it(bits: int, data: bytes, expected: list[int] | None) -> None:
    table = make_table(Descriptor(4, 0, bits), data)
    assert (None if table is None else table.entries.tolist()) == expected


def test_odd_count_of_packed_entries_has_a_byte_of_padding() -> None:
    table = make_table(Descriptor(3, 0, 8), b"\1\2\3\0")
    assert table is not None
    assert (table.entries.tolist(), table.complete) == ([1, 2, 3], True)


@pytest.mark.parametrize(("data", "expected"), [(b"\1\2\3\4", [1, 2, 3, 4]), (b"\1\0\2\0\3\0", None)])
def test_palette_holds_bytes_under_16_bits_only_where_there_is_one_for_each(
    data: bytes, expected: list[int] | None
) -> None:
    table = make_table(Descriptor(4, 0, 16, packable=True), data)
    assert (None if table is None else table.entries.tolist()) == expected
