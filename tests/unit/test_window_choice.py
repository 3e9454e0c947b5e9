"""Which window a radiograph is shown in: one that fits, else most of its values. Levels worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.sequence import Sequence

from models import WindowSource
from tests.unit.films import RAMP, Film, Render, film, lut

PROJECTION = ["CR", "DX", "DR", "RG", "MG", "RF", "XA", "IO", "PX"]


def _chest() -> NDArray[np.uint16]:
    """(100, 100): 13 % of the pixels are 31 ... 199, the others 200 ... 16344, evenly."""
    values = np.concatenate([np.linspace(31, 199, 1300), np.linspace(200, 16344, 8700)])
    return values.astype(np.uint16).reshape(100, 100)


def _knee(tissue: int = 5771, marker: int = 16383) -> NDArray[np.uint16]:
    """(100, 100): tissue 0 ... 5771 evenly, and in the last row 40 pixels of a lead marker, 0.4 %."""
    cells = np.linspace(0, tissue, 10_000).astype(np.uint16)
    cells[-40:] = marker
    return cells.reshape(100, 100)


def _levels(made: Film) -> list[int]:
    return made.pictures[0].reshape(-1).tolist()


# --- a window that does not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", PROJECTION)
def test_window_for_other_units_is_passed_over(render_film: Render, modality: str) -> None:
    # -600/1600 is black up to -1400 and white from 199 on: 87 % white. Its overlap with the middle of the values is
    # 199 - 31 - 6 (the 0.5 percentile: 31 + 168 * 50/1299 = 37), of 16251 (the 99.5: 16344 - 50/8699 * 16144): 1 %
    made = render_film(film(_chest(), Modality=modality, BitsStored=14, WindowCenter=-600, WindowWidth=1600))
    assert made.window.source is WindowSource.PERCENTILE
    assert made.window.center - made.window.width / 2 == pytest.approx(37, abs=1)  # type: ignore[operator]
    assert made.window.center + made.window.width / 2 == pytest.approx(16251, abs=2)  # type: ignore[operator]
    assert made.codes == ["window_does_not_fit"]
    assert np.mean(made.pictures[0]) == pytest.approx(111, abs=2)  # mean value 7212; (7212 - 37) / 16214 * 255 = 113


@pytest.mark.parametrize("modality", ["CT", "MR", "OT", "US", "NM", "SC"])
def test_other_modalities_keep_their_window(render_film: Render, modality: str) -> None:
    made = render_film(film(_chest(), Modality=modality, BitsStored=14, WindowCenter=-600, WindowWidth=1600))
    assert (made.window.source, made.window.center, made.codes) == (WindowSource.FILE, -600, [])


def test_requested_window_is_always_used(render_film: Render) -> None:
    made = render_film(film(_chest(), BitsStored=14), window_center=-600.0, window_width=1600.0)
    assert (made.window.source, made.window.center, made.codes) == (WindowSource.REQUEST, -600, [])


def test_next_window_that_fits_is_used(render_film: Render) -> None:
    windows = {"WindowCenter": [-600, 100_000, 8000], "WindowWidth": [1600, 10, 16000]}
    made = render_film(film(_chest(), BitsStored=14, **windows))
    assert (made.window.source, made.window.center, made.window.width) == (WindowSource.FILE, 8000, 16000)
    assert made.codes == ["window_does_not_fit"]


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 30000, "WindowWidth": 1000},  # all black
        {"WindowCenter": -5000, "WindowWidth": 1000},  # all white
        {"WindowCenter": 30000, "WindowWidth": 1000, "PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": 30000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},  # 4 * 13000 / 1000: 0.0 at the top
        {"WindowCenter": 30000, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 8000, "WindowWidth": 1, "VOILUTFunction": "LINEAR"},  # black or white, nothing between
        {"WindowCenter": 20, "WindowWidth": 50, "PixelPaddingValue": 31},
        {"WindowCenter": 2000, "WindowWidth": 4000, "RescaleSlope": 1, "RescaleIntercept": 40000},
    ],
)
def test_window_beside_the_values_is_passed_over(render_film: Render, elements: dict[str, Any]) -> None:
    made = render_film(film(_chest(), BitsStored=14, **elements))
    assert made.codes == ["window_does_not_fit"]
    assert made.window.source is WindowSource.PERCENTILE
    assert 90 < np.mean(made.pictures[0]) < 160


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1000, "WindowWidth": 2000},  # 1..2000 of 16214 is 12 %: much white, but meant so
        {"WindowCenter": 30000, "WindowWidth": 30000},  # 15000..45000: 8 % overlap
        {"WindowCenter": 20000, "WindowWidth": 60000},
        # no overlap (17000..23000), but black below 10654 only: 255 / (1 + exp(4 * 9346 / 6000)) = 0.5
        {"WindowCenter": 20000, "WindowWidth": 6000, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 8000, "WindowWidth": 16000, "PixelPaddingValue": 31},
        {"WindowCenter": 42000, "WindowWidth": 4000, "RescaleSlope": 1, "RescaleIntercept": 40000},
    ],
)
def test_window_that_meets_the_values_is_used(render_film: Render, elements: dict[str, Any]) -> None:
    made = render_film(film(_chest(), BitsStored=14, **elements))
    assert (made.window.source, made.codes) == (WindowSource.FILE, [])


def test_much_air_at_one_end_is_normal(render_film: Render) -> None:
    # nine tenths are air at 16000, white in the window 0..4000 of the body
    cells = np.full((100, 100), 16000, np.uint16)
    cells[:10] = np.linspace(0, 4000, 1000).astype(np.uint16).reshape(10, 100)
    made = render_film(film(cells, BitsStored=14, WindowCenter=2000, WindowWidth=4000))
    assert (made.window.source, made.codes) == (WindowSource.FILE, [])


@pytest.mark.parametrize(("clipped", "source"), [(0.79, WindowSource.FILE), (0.81, WindowSource.PERCENTILE)])
def test_more_than_four_fifths_have_to_be_clipped(render_film: Render, clipped: float, source: WindowSource) -> None:
    # 101..299 are shown and the rest, from 1000 on, is white; the window covers 2 % of the range
    shown = round(10_000 * (1 - clipped))
    values = np.concatenate([np.linspace(110, 290, shown), np.linspace(1000, 10_000, 10_000 - shown)])
    made = render_film(
        film(values.astype(np.uint16).reshape(100, 100), BitsStored=14, WindowCenter=200, WindowWidth=200)
    )
    assert made.window.source is source


def test_padding_does_not_count_as_clipped(render_film: Render) -> None:
    # nine tenths are padding, black in the window; the rest fills it
    cells = np.zeros((100, 100), np.uint16)
    cells[:10] = np.linspace(1000, 1100, 1000).astype(np.uint16).reshape(10, 100)
    made = render_film(film(cells, WindowCenter=1050, WindowWidth=100, PixelPaddingValue=0))
    assert (made.window.source, made.codes) == (WindowSource.FILE, [])


def test_padding_does_not_hide_that_all_else_is_clipped(render_film: Render) -> None:
    # three tenths are padding in the middle of the window, all else is white
    cells = np.linspace(10_000, 16_000, 10_000).astype(np.uint16).reshape(100, 100)
    cells[:30] = 500
    made = render_film(film(cells, BitsStored=14, WindowCenter=500, WindowWidth=1000, PixelPaddingValue=500))
    assert made.codes == ["window_does_not_fit"]


def test_eight_bits_are_shown_as_they_are_where_their_window_does_not_fit(render_film: Render) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    made = render_film(film(ramp, WindowCenter=5000, WindowWidth=100))
    assert (made.row, made.window.source, made.codes) == (
        list(range(256)),
        WindowSource.DEFAULT,
        ["window_does_not_fit"],
    )


@pytest.mark.parametrize(("border", "low", "bits"), [(16383, 200, 14), (65535, 200, 16), (0, 15000, 14)])
def test_a_border_of_one_value_does_not_make_a_window_unfit(
    render_film: Render, border: int, low: int, bits: int
) -> None:
    """A tightly collimated film: nine tenths are border; a window of 700 is made for the anatomy between."""
    cells = np.full((100, 100), border, np.uint16)
    cells[40:70, 30:60] = np.linspace(low, low + 700, 30).astype(np.uint16)
    made = render_film(film(cells, BitsStored=bits, WindowCenter=low + 350, WindowWidth=700))
    assert (made.window.source, made.codes) == (WindowSource.FILE, [])
    assert made.pictures[0][50, [30, 59]].tolist() == [0, 255]


def test_constant_film_keeps_its_window(render_film: Render) -> None:
    made = render_film(film(np.full((8, 8), 100, np.uint16), WindowCenter=3000, WindowWidth=10))
    assert (made.window.source, made.codes) == (WindowSource.FILE, ["constant_picture"])


def test_table_beside_the_values_is_passed_over_for_the_window(render_film: Render) -> None:
    table = lut(np.arange(100).tolist(), 8, first=60000)
    made = render_film(film(VOILUTSequence=table, WindowCenter=2048, WindowWidth=4096))
    assert (made.window.source, made.codes) == (WindowSource.FILE, ["window_does_not_fit"])
    assert made.row[::51] == pytest.approx([0, 51, 102, 153, 204, 255], abs=1)


def test_each_frame_is_judged_alone(render_film: Render) -> None:
    frames = np.stack([np.linspace(0, 200, 400), np.linspace(0, 16000, 400)]).astype(np.uint16).reshape(2, 20, 20)
    made = render_film(film(frames, Modality="XA", BitsStored=14, WindowCenter=100, WindowWidth=200))
    used = [picture.window.source for picture in made.reply.images if picture.window]
    assert used == [WindowSource.FILE, WindowSource.PERCENTILE]
    assert "第 2 帧" in made.reply.warnings[0].message


# --- no window -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", PROJECTION)
def test_lead_marker_does_not_darken_a_radiograph(render_film: Render, modality: str) -> None:
    # percentiles of n = 10000: places 49.995 and 9949.005 of 0, 0.577, 1.154 ...: 28.86 -> 28.. and 5742
    made = render_film(film(_knee(), Modality=modality, BitsStored=14))
    assert made.window.source is WindowSource.PERCENTILE
    assert made.window.center == pytest.approx((28.4 + 5741.6) / 2, abs=1)
    assert made.window.width == pytest.approx(5741.6 - 28.4, abs=2)
    assert _levels(made)[0] == 0
    assert _levels(made)[5000] == pytest.approx((2885 - 28.4) / 5713 * 255, abs=1)
    assert _levels(made)[-41:] == [255] * 41
    assert made.codes == []


@pytest.mark.parametrize("modality", ["MR", "OT", "US", "NM"])
def test_other_modalities_are_spread_from_smallest_to_largest(render_film: Render, modality: str) -> None:
    made = render_film(film(_knee(), Modality=modality, BitsStored=14))
    assert (made.window.source, made.window.width) == (WindowSource.MINMAX, 16383)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        # places 0.005 (n - 1) and 0.995 (n - 1) in order of size, between neighbours by proportion
        ([0, 1000, 2000, 4095], 15.0, 4063.575),  # 0.015 * 1000; 2000 + 2095 * 0.985
        ([4095, 0], 20.475, 4074.525),
        ([7] * 100 + [9] * 100, 7, 9),
        ([*range(201)], 1.0, 199.0),
        ([5] + [100] * 998 + [4000], 100, 100.0),  # both the same: then smallest to largest, see below
    ],
)
def test_percentiles_are_those_of_all_pixels(render_film: Render, values: list[int], low: float, high: float) -> None:
    made = render_film(film(np.array([values], np.uint16)))
    source = WindowSource.PERCENTILE
    if low == high:
        source, low, high = WindowSource.MINMAX, min(values), max(values)
    assert made.window.source is source
    assert made.window.center == pytest.approx((low + high) / 2)
    assert made.window.width == pytest.approx(high - low)


def test_padding_is_left_out_of_the_percentiles(render_film: Render) -> None:
    cells = np.full((20, 201), 4000, np.uint16)  # 19 rows of padding
    cells[0] = np.arange(201)
    made = render_film(film(cells, PixelPaddingValue=4000))
    assert (made.window.center, made.window.width) == pytest.approx((100, 198))


def test_rescale_signs_and_inversion_are_heeded(render_film: Render) -> None:
    cells = np.arange(-100, 101, dtype=np.int16).reshape(1, -1)
    made = render_film(film(cells, RescaleSlope=-2, RescaleIntercept=50, PhotometricInterpretation="MONOCHROME1"))
    # modality values 250 ... -150; percentiles -148 and 248; -100 is 250, the largest, hence black after inversion
    assert (made.window.center, made.window.width) == pytest.approx((50, 396))
    assert (made.row[0], made.row[100], made.row[200]) == (0, 128, 255)


def test_percentiles_are_taken_behind_a_modality_table(render_film: Render) -> None:
    table = lut((np.arange(4096) * 10).tolist(), 16)
    made = render_film(film(np.arange(201, dtype=np.uint16).reshape(1, -1), ModalityLUTSequence=table))
    assert (made.window.center, made.window.width) == pytest.approx((1000, 1980))


@pytest.mark.parametrize("bits", [1, 8])
def test_eight_bits_or_less_need_no_percentiles(render_film: Render, bits: int) -> None:
    cells = np.arange(1 << bits, dtype=np.uint8).reshape(1, -1)
    made = render_film(film(cells, BitsStored=bits))
    assert made.window.source is WindowSource.DEFAULT


def test_wide_integers_are_spread_by_percentiles(render_film: Render) -> None:
    cells = (np.arange(201, dtype=np.uint32) * 1_000_000).reshape(1, -1)
    made = render_film(film(cells))
    assert made.window.source is WindowSource.PERCENTILE
    assert (made.window.center, made.window.width) == pytest.approx((100e6, 198e6))


@pytest.mark.parametrize(("dtype", "keyword"), [(np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")])
def test_floats_are_spread_by_percentiles_of_the_finite_ones(render_film: Render, dtype: type, keyword: str) -> None:
    values: NDArray[Any] = np.append(np.arange(201) / 8, [np.nan, np.inf]).astype(dtype)
    ds = film(values.reshape(1, -1).view(np.uint32 if dtype is np.float32 else np.uint64))
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    setattr(ds, keyword, values.tobytes())
    made = render_film(ds)
    assert made.window.source is WindowSource.PERCENTILE
    assert (made.window.center, made.window.width) == pytest.approx((12.5, 24.75))


def test_constant_film_is_black(render_film: Render) -> None:
    made = render_film(film(np.full((8, 8), 7, np.uint16)))
    assert (set(made.row), made.window.source, made.codes) == ({0}, WindowSource.MINMAX, ["constant_picture"])


def test_large_film_is_judged_by_evenly_picked_rows(render_film: Render) -> None:
    cells = np.tile(RAMP, (16384, 1))  # four times as many pixels as are looked at; all rows are alike
    made = render_film(film(cells), max_side_px=256)
    # place 0.005 of 0, 16, 32 ...: column 1.275 of 256 -> value 16; 0.995: column 254 -> 4079
    assert made.window.width == pytest.approx(4079 - 16, abs=1)


def test_sequence_without_windows_is_no_window(render_film: Render) -> None:
    made = render_film(film(VOILUTSequence=Sequence([]), WindowCenter=0, WindowWidth=0))
    assert (made.window.source, made.codes) == (WindowSource.PERCENTILE, [])
