"""Percent, rate and remaining time."""

from __future__ import annotations

import pytest

from tasks.progress import ProgressMeter


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def work(meter: ProgressMeter, watch: Stopwatch, files: int, seconds_each: float) -> None:
    for _ in range(files):
        watch.seconds += seconds_each
        meter.advance(worked=True)


def a_meter() -> tuple[ProgressMeter, Stopwatch]:
    watch = Stopwatch()
    meter = ProgressMeter(watch)
    meter.run()
    return meter, watch


def test_nothing_is_promised_before_the_total_is_known() -> None:
    meter, watch = a_meter()
    meter.expect(50, final=False)
    work(meter, watch, files=20, seconds_each=0.5)
    now = meter.progress()
    assert (now.percent, now.eta_seconds, now.total_files, now.total_is_final) == (None, None, 50, False)
    assert now.files_per_second == pytest.approx(2.0, rel=0.1)


def test_percent_and_remaining_time_follow_from_the_final_total() -> None:
    meter, watch = a_meter()
    meter.expect(200, final=True)
    work(meter, watch, files=50, seconds_each=0.5)
    now = meter.progress()
    assert now.percent == 25.0
    assert now.eta_seconds == pytest.approx(75, rel=0.1)


def test_files_passed_by_count_as_done_but_not_as_work() -> None:
    meter, watch = a_meter()
    meter.expect(1_000, final=True)
    for _ in range(800):
        meter.advance(worked=False)
    assert (meter.progress().percent, meter.progress().files_per_second) == (80.0, 0.0)
    assert meter.progress().eta_seconds is None
    work(meter, watch, files=100, seconds_each=1.0)
    assert meter.progress().files_per_second == pytest.approx(1.0, rel=0.1)
    assert meter.progress().eta_seconds == pytest.approx(100, rel=0.1)


def test_the_first_files_promise_no_more_than_a_second_has_shown() -> None:
    """Many start at once, and the first ones end together."""
    meter, watch = a_meter()
    meter.expect(1_000, final=True)
    work(meter, watch, files=12, seconds_each=0.001)
    assert meter.progress().files_per_second == 11.0
    assert meter.progress().eta_seconds == pytest.approx(90, rel=0.01)


def test_a_pause_neither_lowers_the_rate_nor_promises_an_end() -> None:
    meter, watch = a_meter()
    meter.expect(1_000, final=True)
    work(meter, watch, files=40, seconds_each=0.25)
    before = meter.progress().files_per_second
    meter.halt()
    watch.seconds += 3_600
    assert (meter.progress().files_per_second, meter.progress().eta_seconds) == (0.0, None)
    meter.run()
    assert meter.progress().files_per_second == before


def test_the_rate_is_that_of_the_last_minute_and_fades_when_nothing_happens() -> None:
    meter, watch = a_meter()
    work(meter, watch, files=1_000, seconds_each=0.1)
    work(meter, watch, files=70, seconds_each=1.0)
    assert meter.progress().files_per_second == pytest.approx(1.0, rel=0.1)
    watch.seconds += 61
    assert meter.progress().files_per_second == 0.0


def test_a_hundred_percent_is_said_only_at_the_end() -> None:
    meter, watch = a_meter()
    meter.expect(3, final=True)
    work(meter, watch, files=3, seconds_each=1.0)
    assert meter.progress().percent == 99.9
    assert meter.progress(ended=True).percent == 100.0


def test_files_that_arrived_after_the_count_raise_the_total() -> None:
    meter, watch = a_meter()
    meter.expect(3, final=True)
    work(meter, watch, files=5, seconds_each=1.0)
    assert meter.progress().total_files == 5
    assert meter.progress().eta_seconds == 0


def test_an_empty_source_is_at_nought_until_it_has_ended() -> None:
    meter, _ = a_meter()
    meter.expect(0, final=True)
    assert meter.progress().percent == 0.0
    assert meter.progress(ended=True).percent == 100.0
