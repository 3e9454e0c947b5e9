"""The benchmarks work on tiny sizes, and their page drops no target. What they measure is not tested here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import crowd, end_to_end, history_speed, memory, reimport, render_speed, responsiveness, scan_speed
from benchmarks.__main__ import BENCHMARKS
from benchmarks.crowd_clients import Crowd
from benchmarks.figures import Figure, Section, Table, Target
from benchmarks.results_page import NOT_MEASURED, results_page
from benchmarks.sample_images import KINDS, SampleShelf
from benchmarks.small_trees import TreeShape
from benchmarks.targets import TARGETS
from dicom_processor import read_file
from models import ReadRequest, RenderOptions

FEW = TreeShape(patients=2, files=5)
TINY: dict[str, object] = {
    "render": render_speed.Sizes(0.06, rounds=1, round_s=0.01, kinds=("dx_rle", "us_jpeg"), processes=1),
    "end_to_end": end_to_end.Sizes(
        (("dx_native", 2), ("ct_native", 2)), patients=1, scale=0.06, rounds=1, latencies_ms=(0,), processes=1
    ),
    "reimport": reimport.Sizes(TreeShape(patients=2, files=105), rounds=1),
    "scan": scan_speed.Sizes(FEW, rounds=1),
    "memory": memory.Sizes(TreeShape(1, 5), FEW, kinds=("dx_native",), scales=(0.06,)),
    "responsiveness": responsiveness.Sizes(FEW, films=1, scale=0.06, asked_s=30.0),
    "history": history_speed.Sizes(FEW, tasks=2),
    "crowd": crowd.Sizes(FEW, films=2, scale=0.06, report=FEW, viewed=2, rounds=1, crowd=Crowd(*(4, 2, 2, 2, 2))),
}
MEASURED = "render.dx_rle"


def a_section(*figures: Figure) -> Section:
    return Section("(x)", "how", figures, Table(("what",), (("raw",),)))


def line_of(page: str, target: Target) -> str:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {target.what} |")]
    return line


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_measures_what_its_targets_ask_for(name: str, tmp_path: Path) -> None:
    keys = {target.key for target in TARGETS}
    section = BENCHMARKS[name].measure(TINY[name], tmp_path)
    assert section.table.rows
    assert {len(row) for row in section.table.rows} == {len(section.table.columns)}
    assert {figure.key for figure in section.figures} <= keys


def test_whole_runs_measure_every_target() -> None:
    """Keys that the full sizes lead to; a target without a benchmark behind it would never be met or missed."""
    rendered = {f"render.{kind}" for kind in render_speed.FULL.kinds}
    walls = {f"{what}.{latency}" for latency in end_to_end.FULL.latencies_ms for what in ("wall", "cpu")}
    other = {target.key for target in TARGETS} - rendered - walls
    assert rendered | walls <= {target.key for target in TARGETS}
    assert {key.partition(".")[0] for key in other} == {"reimport", "scan", "memory", "status", "crowd"}


@pytest.mark.parametrize("sections", [(), (a_section(Figure(MEASURED, 0.5)),)], ids=["nothing", "one"])
def test_the_page_names_every_target(sections: tuple[Section, ...]) -> None:
    page = results_page(TARGETS, sections, {"processor": "slow"}, quick=False)
    for target in TARGETS:
        if not sections or target.key != MEASURED:
            assert NOT_MEASURED in line_of(page, target)


@pytest.mark.parametrize(("value", "verdict"), [(0.9, "met"), (0.89, "**not met**")])
def test_a_missed_target_is_called_missed(value: float, verdict: str) -> None:
    target = next(target for target in TARGETS if target.key == MEASURED)
    page = results_page(TARGETS, (a_section(Figure(MEASURED, value)),), {}, quick=False)
    assert line_of(page, target).endswith(f"| {verdict} |")


def test_an_upper_bound_is_one() -> None:
    target = Target("t", "what", 1.15, at_least=False)
    assert (target.met_by(1.15), target.met_by(1.16)) == (True, False)


@pytest.mark.parametrize("name", KINDS)
def test_every_sample_image_is_rendered_by_the_service(name: str, tmp_path: Path) -> None:
    shelf = SampleShelf(0.06)
    kind = KINDS[name]
    first, second = (shelf.write(kind, tmp_path / f"{number}.dcm", number) for number in (1, 2))
    replies = [
        read_file(ReadRequest(str(path), named_dicom=True, output_prefix=str(path), render=RenderOptions()))
        for path in (first, second)
    ]
    assert [reply.failure for reply in replies] == [None, None]
    assert [len(reply.images) for reply in replies] == [kind.frames, kind.frames]
    headers = [reply.header for reply in replies if reply.header is not None]
    assert [header.patient.patient_id for header in headers] == ["B00001", "B00002"]
    assert len({header.image.sop_instance_uid for header in headers}) == 2
