"""(d) The scan of a large tree, and what it keeps in memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Section, Table, shown, spread_of
from benchmarks.small_trees import TreeShape
from tests.integration.service_process import REPOSITORY


@dataclass(frozen=True, slots=True)
class Sizes:
    """The tree, and how often it is walked."""

    shape: TreeShape
    rounds: int = 2


FULL, QUICK = Sizes(TreeShape(patients=2_000, files=500)), Sizes(TreeShape(patients=40, files=500), rounds=2)

_METHOD = """`source.walk` over {entries:,} directory entries ({patients:,} patient folders of {files} files),
each with its size and time, in a fresh process for each of {rounds} rounds; the file system's caches are warm, as
the tree has just been written. Memory is the process's peak RSS after the first tenth and at the end."""


def measure(sizes: Sizes, folder: Path) -> Section:
    """Make the tree, walk it."""
    shape, tree = sizes.shape, folder / "tree"
    _write_links(tree, shape)
    rounds = [_walk(tree, shape) for _ in range(sizes.rounds)]
    entries = shape.total + shape.patients
    speeds = [entries / seconds for seconds, _, _ in rounds]
    growths = [late / early for _, early, late in rounds]
    return Section(
        title="(d) scan",
        method=_METHOD.format(entries=entries, patients=shape.patients, files=shape.files, rounds=sizes.rounds),
        figures=(
            Figure("scan.speed", statistics.median(speeds), spread_of(speeds)),
            Figure("scan.growth", max(growths), spread_of(growths)),
        ),
        table=Table(
            ("round", "s", "entries/s", "peak MB after a tenth", "peak MB"),
            tuple(
                (str(number), shown(seconds), shown(entries / seconds), shown(early), shown(late))
                for number, (seconds, early, late) in enumerate(rounds, 1)
            ),
        ),
    )


def _write_links(tree: Path, shape: TreeShape) -> None:
    """Hard links, since a walk cannot tell them from files and they are made faster."""
    for patient in range(shape.patients):
        folder = tree / shape.folder(patient)
        folder.mkdir(parents=True)
        first = folder / "IM00000.dcm"
        first.write_bytes(b"x")
        for number in range(1, shape.files):
            (folder / f"IM{number:05d}.dcm").hardlink_to(first)


def _walk(tree: Path, shape: TreeShape) -> tuple[float, float, float]:
    """Seconds, and megabytes after a tenth and at the end."""
    command = [sys.executable, "-m", "benchmarks.scan_worker", str(tree), str(shape.total // 10)]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    if int(printed[0]) != shape.total:
        raise RuntimeError(f"the walk found {printed[0]} of {shape.total} files")
    return float(printed[1]), float(printed[2]), float(printed[3])
