"""``python -m benchmarks [names] [--quick] [--output FILE]``: measures, prints, and writes the page of results.

Names choose single benchmarks; the page is written then only where ``--output`` asks for it, since
benchmarks/RESULTS.md is to come from one whole run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    crowd,
    end_to_end,
    history_speed,
    machine,
    memory,
    reimport,
    render_speed,
    responsiveness,
    scan_speed,
)
from benchmarks.figures import Section
from benchmarks.results_page import results_page, target_table
from benchmarks.targets import TARGETS

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark at its two sizes."""

    measure: Callable[[Any, Path], Section]
    full: object
    quick: object


BENCHMARKS: Mapping[str, Benchmark] = {
    "render": Benchmark(render_speed.measure, render_speed.FULL, render_speed.QUICK),
    "end_to_end": Benchmark(end_to_end.measure, end_to_end.FULL, end_to_end.QUICK),
    "reimport": Benchmark(reimport.measure, reimport.FULL, reimport.QUICK),
    "scan": Benchmark(scan_speed.measure, scan_speed.FULL, scan_speed.QUICK),
    "memory": Benchmark(memory.measure, memory.FULL, memory.QUICK),
    "responsiveness": Benchmark(responsiveness.measure, responsiveness.FULL, responsiveness.QUICK),
    "history": Benchmark(history_speed.measure, history_speed.FULL, history_speed.QUICK),
    "crowd": Benchmark(crowd.measure, crowd.FULL, crowd.QUICK),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 also if targets are missed: the page shows them, and people decide."""
    chosen = _parser().parse_args(arguments)
    names = chosen.names or list(BENCHMARKS)
    about = dict(machine.description()) | {"load before": machine.load()}
    for what, which in about.items():
        print(f"{what}: {which}")
    began = time.monotonic()
    sections = [_measured(name, quick=chosen.quick) for name in names]
    about |= {"load after": machine.load(), "duration": f"{(time.monotonic() - began) / 60:.1f} minutes"}
    print("\n" + target_table(TARGETS, sections))
    output = chosen.output or (None if chosen.names or chosen.quick else RESULTS)
    if output is not None:
        output.write_text(results_page(TARGETS, sections, about, quick=chosen.quick), encoding="utf-8")
        print(f"\nwritten: {output.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the service against its floor.")
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="only these", metavar="name")
    parser.add_argument("--quick", action="store_true", help="small sizes, about two minutes; writes no page")
    parser.add_argument("--output", type=Path, help="where the page goes instead of benchmarks/RESULTS.md")
    return parser


def _measured(name: str, *, quick: bool) -> Section:
    benchmark = BENCHMARKS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    began = time.monotonic()
    try:
        section = benchmark.measure(benchmark.quick if quick else benchmark.full, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{section.title}: {time.monotonic() - began:.0f} s", flush=True)
    for row in (section.table.columns, *section.table.rows):
        print("  " + " | ".join(row), flush=True)
    return section


if __name__ == "__main__":
    sys.exit(main())
