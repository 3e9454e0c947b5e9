"""(a) Rendering against the floor, and against ``dcmj2pnm``: the same files, the same number of processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, Section, Table, middle_of, shown, spread_of
from benchmarks.floor_crew import Effort, FloorCrew
from benchmarks.memory_folder import in_memory, memory_folder
from benchmarks.process_costs import own_cpu_s, tree_cpu_s
from benchmarks.sample_images import HTJ2K, JPEG_2000, JPEG_LS, KINDS, Kind, SampleShelf
from models import ReadReply, ReadRequest, RenderOptions
from render import PoolOptions
from render.pool import RenderPool

_ROOM_BYTES = 2 << 30  # the pictures of a round, several times over
_CLIENTS = 16
_UNKNOWN_TO_DCMTK = frozenset({JPEG_LS, JPEG_2000, HTJ2K})


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is rendered.

    Attributes:
        scale: of the pictures' sides.
        rounds: of which the median counts; ours and the floor's take turns.
        round_s: files per round are chosen so that the floor takes about this long.
        kinds: which.
        processes: of each side.
    """

    scale: float = 1.0
    rounds: int = 5
    round_s: float = 1.2
    kinds: tuple[str, ...] = tuple(KINDS)
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)


FULL, QUICK = Sizes(), Sizes(scale=0.25, rounds=3, round_s=0.2)

_METHOD = """Each side has {processes} warm processes. The service's side is its own render pool (pipes, limits,
report of each file included); the floor is `benchmarks/floor_worker.py`: read with pydicom, the same decoder, one
table look-up, one Pillow JPEG (quality 95, 4:4:4), written to a file. Both have the same allocator settings.
{rounds} rounds take turns, medians count, the spread is that of single rounds. CPU is that of the processes that
render. Both sides write new files in {where}, which are deleted between the rounds. `dcmj2pnm +oj +Jq 95 +Js4 +Wi 1` is
started for each file, as many at a time as there are processes (one round); it knows neither JPEG-LS nor JPEG 2000
nor HTJ2K."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rounds of one kind of file."""

    kind: Kind
    ours: list[Effort]
    floor: list[Effort]
    dcmtk: Effort | None

    @property
    def ratios(self) -> list[float]:
        return [ours.per_second / floor.per_second for ours, floor in zip(self.ours, self.floor, strict=True)]


def measure(sizes: Sizes, folder: Path) -> Section:
    """Compare each kind."""
    where = "memory" if in_memory(_ROOM_BYTES) else "the temporary folder"
    with memory_folder(_ROOM_BYTES, folder) as place:
        comparisons = asyncio.run(_compare_all(sizes, place))
    return Section(
        title="(a) render",
        method=_METHOD.format(processes=sizes.processes, rounds=sizes.rounds, where=where),
        figures=tuple(_figure(comparison) for comparison in comparisons),
        table=Table(
            ("image", "service images/s", "floor images/s", "ratio", "service CPU ms", "floor CPU ms", "dcmj2pnm/s"),
            tuple(_row(comparison) for comparison in comparisons),
        ),
    )


async def _compare_all(sizes: Sizes, folder: Path) -> list[Comparison]:
    shelf = SampleShelf(sizes.scale)
    found = []
    async with RenderPool.open(PoolOptions(sizes.processes, timeout_s=300, memory_mb=4096)) as pool:
        for name in sizes.kinds:
            path = shelf.write(KINDS[name], folder / f"{name}.dcm")
            found.append(await _compare(pool, KINDS[name], path, sizes))
    return found


async def _compare(pool: RenderPool, kind: Kind, path: Path, sizes: Sizes) -> Comparison:
    output = path.with_suffix("")
    with FloorCrew(sizes.processes, [path], output) as crew:
        crew.render([0] * sizes.processes)  # warms caches
        once = crew.render([0] * 4 * sizes.processes)  # tells how long a round has to be
        files = max(2, round(4 * sizes.round_s / once.wall_s)) * sizes.processes
        await _ours(pool, path, output, sizes.processes)
        ours, floor = [], []
        for _ in range(sizes.rounds):
            _clear(output)
            floor.append(crew.render([0] * files))
            _clear(output)
            ours.append(await _ours(pool, path, output, files))
    _clear(output)
    return Comparison(kind, ours, floor, _dcmtk(kind, path, sizes))


async def _ours(pool: RenderPool, path: Path, output: Path, files: int) -> Effort:
    """As many at a time as a task of the service has under way."""
    requests = (
        ReadRequest(str(path), named_dicom=True, output_prefix=str(output / f"ours{number}"), render=RenderOptions())
        for number in range(files)
    )

    async def jobs_in_turn() -> list[ReadReply]:
        return [await pool.run(request) for request in requests]

    cpu_s, began = _workers_cpu_s(), time.perf_counter()
    replies = await asyncio.gather(*(jobs_in_turn() for _ in range(_CLIENTS)))
    wall_s = time.perf_counter() - began
    _check([reply for some in replies for reply in some])
    return Effort(wall_s, _workers_cpu_s() - cpu_s, files)


def _clear(output: Path) -> None:
    for picture in output.iterdir():
        picture.unlink()


def _workers_cpu_s() -> float:
    return tree_cpu_s(os.getpid()) - own_cpu_s(os.getpid())


def _check(replies: list[ReadReply]) -> None:
    for reply in replies:
        if reply.failure is not None or not reply.images:
            raise RuntimeError(f"a sample was not rendered: {reply.failure}")


def _dcmtk(kind: Kind, path: Path, sizes: Sizes) -> Effort | None:
    program = shutil.which("dcmj2pnm")
    if program is None or kind.syntax in _UNKNOWN_TO_DCMTK:
        return None
    windowed = ["+Wi", "1"] if "WindowCenter" in kind.header else []
    command = [program, "+oj", "+Jq", "95", "+Js4", *windowed, "--all-frames", str(path), str(path.with_suffix(""))]

    def convert(number: int) -> None:
        subprocess.run([*command[:-1], f"{command[-1]}/dcmtk{number}"], check=True, capture_output=True)

    files = 2 * sizes.processes
    began = time.perf_counter()
    with ThreadPoolExecutor(sizes.processes) as threads:
        list(threads.map(convert, range(files)))
    return Effort(time.perf_counter() - began, 0.0, files)


def _figure(comparison: Comparison) -> Figure:
    ratios = comparison.ratios
    return Figure(f"render.{comparison.kind.name}", statistics.median(ratios), spread_of(ratios))


def _row(comparison: Comparison) -> tuple[str, ...]:
    dcmtk = comparison.dcmtk
    return (
        comparison.kind.title,
        middle_of([effort.per_second for effort in comparison.ours]),
        middle_of([effort.per_second for effort in comparison.floor]),
        middle_of(comparison.ratios),
        middle_of([effort.cpu_ms for effort in comparison.ours]),
        middle_of([effort.cpu_ms for effort in comparison.floor]),
        shown(dcmtk.per_second) if dcmtk else "–",
    )
