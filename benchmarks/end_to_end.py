"""(b) A whole import against the wall of physics, with and without latency."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api_client import ClientOptions, Credentials, XieHeClient
from benchmarks.figures import Figure, Section, Table, shown, spread_of
from benchmarks.floor_crew import Effort, FloorCrew
from benchmarks.memory_folder import memory_folder
from benchmarks.process_costs import machine_cpu_s, own_cpu_s, tree_cpu_s
from benchmarks.sample_images import KINDS, SampleShelf, patient_id
from benchmarks.service_tasks import run_import
from benchmarks.targets import LATENCIES_MS
from models import NewPatient, RemotePatient, Sex, UploadRequest
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

_CONTRACT = 4
_DEADLINE_S = 600.0
_ROOM_BYTES = 2 << 30  # one import's pictures, as parts and as images


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is imported.

    Attributes:
        files: how many of each kind.
        patients: that share them.
        scale: of the pictures' sides.
        rounds: imports at each latency.
        latencies_ms: added to each call.
        connections: uploads at a time; the service's own default.
        processes: that render.
    """

    files: tuple[tuple[str, int], ...] = (
        *(("dx_native", 120), ("dx_jpeg_lossless", 16), ("dx_jpeg_ls", 8), ("dx_rle", 8), ("dx_jpeg_2000", 2)),
        *(("ct_native", 120), ("us_rgb", 12), ("us_jpeg", 12)),
    )
    patients: int = 8
    scale: float = 1.0
    rounds: int = 3
    latencies_ms: tuple[int, ...] = LATENCIES_MS
    connections: int = 6
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)


FULL = Sizes()
QUICK = Sizes(files=(("dx_native", 6), ("dx_rle", 2), ("ct_native", 8)), patients=2, scale=0.25, rounds=1)

_METHOD = """{files} files of {patients} patients ({mixture}) are imported by the service, in a process of its own,
into the sandbox (C4: three calls an upload), {rounds} time(s) at each latency, each time with an empty history and
an empty XieHe. The wall is the largest of three, all measured in this run: the floor's wall time for rendering the
same files (fastest of {floor_rounds} rounds); the wall time of uploading the same pictures through our own client
alone, with the same {connections} connections at the same latency (fastest of {rounds}); and the CPU seconds of
everything on the machine during the import (the sandbox's too) divided by its cores. CPU of the service is that of
its process and its workers from POST to end; the floor's is the median of its rounds, one of which precedes each
import. Both sides have the same allocator settings. They write each picture as a new file in memory and remove it
when it has served (KEEP_JPG=false; the floor at once, uncounted in its CPU): pages that a virtual machine touches for
the first time would cost up to a millisecond of a picture, on one side or the other by chance. The sandbox's files are
in memory, too, since it represents another machine."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import: its wall, its CPU, and that of the whole machine meanwhile."""

    wall_s: float
    service_cpu_s: float
    main_cpu_s: float
    machine_cpu_s: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What was found at one latency."""

    latency_ms: int
    imports: tuple[Import, ...]
    upload_s: float

    def walls(self, render_s: float) -> list[float]:
        """The wall of each import."""
        return [max(render_s, self.upload_s, one.machine_cpu_s / _cores()) for one in self.imports]

    def ratios(self, render_s: float) -> list[float]:
        return [one.wall_s / wall for one, wall in zip(self.imports, self.walls(render_s), strict=True)]

    def cpu_ratios(self, render_cpu_s: float) -> list[float]:
        return [one.service_cpu_s / render_cpu_s for one in self.imports]


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor's rounds: the fastest is the wall, the middle one is what it costs."""

    rounds: tuple[Effort, ...]

    @property
    def files(self) -> int:
        return self.rounds[0].files

    @property
    def wall_s(self) -> float:
        return min(effort.wall_s for effort in self.rounds)

    @property
    def cpu_s(self) -> float:
        return statistics.median(effort.cpu_s for effort in self.rounds)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it all happens."""

    sizes: Sizes
    folder: Path
    crew: FloorCrew
    jobs: Sequence[int]
    pictures: Sequence[Path]

    @property
    def tree(self) -> Path:
        return self.folder / "tree"


def measure(sizes: Sizes, folder: Path) -> Section:
    """Imports and bare uploads at each latency, a round of the floor before each import."""
    paths = _write_tree(sizes, folder / "tree")
    jobs = range(len(paths))
    pictures = _make_pictures(sizes, paths, folder / "pictures")
    with (
        memory_folder(_ROOM_BYTES, folder) as place,
        FloorCrew(sizes.processes, paths, place, keep=False) as crew,
    ):
        crew.render(jobs[:: max(1, len(jobs) // 8)])  # warms caches
        ground, efforts = Ground(sizes, folder, crew, jobs, pictures), list[Effort]()
        found = [_at_latency(ground, latency_ms, efforts) for latency_ms in sizes.latencies_ms]
    return _section(sizes, Floor(tuple(efforts)), found)


def _make_pictures(sizes: Sizes, paths: Sequence[Path], folder: Path) -> list[Path]:
    """What the bare uploads send: the floor's picture of each file."""
    with FloorCrew(sizes.processes, paths, folder) as crew:
        crew.render(range(len(paths)))
    return sorted(folder.glob("*.jpg"))


def _write_tree(sizes: Sizes, tree: Path) -> list[Path]:
    """Kinds are mixed within each patient, as they are in an archive."""
    shelf = SampleShelf(sizes.scale)
    paths = []
    for name, count in sizes.files:
        for number in range(count):
            patient = number % sizes.patients
            path = tree / "2024-01" / patient_id(patient) / f"{number:04d}_{name}.dcm"
            paths.append(shelf.write(KINDS[name], path, patient))
    return paths


def _at_latency(ground: Ground, latency_ms: int, efforts: list[Effort]) -> Latency:
    imports, rounds = [], range(ground.sizes.rounds)
    for number in rounds:
        efforts.append(ground.crew.render(ground.jobs))
        with (
            memory_folder(_ROOM_BYTES, ground.folder) as output,
            _sandbox(ground, latency_ms) as sandbox,
            _service(ground, sandbox, ground.folder / f"import-{latency_ms}-{number}", output) as service,
        ):
            imports.append(_import(ground, service))
    return Latency(latency_ms, tuple(imports), min(_bare_upload_s(ground, latency_ms) for _ in rounds))


@contextmanager
def _sandbox(ground: Ground, latency_ms: int) -> Iterator[SandboxProcess]:
    """XieHe is another machine: its disk is not ours, and what it writes and deletes there costs us nothing."""
    with (
        memory_folder(_ROOM_BYTES, ground.folder) as place,
        SandboxProcess(_CONTRACT, place, latency_ms=latency_ms) as sandbox,
    ):
        yield sandbox


def _service(ground: Ground, sandbox: SandboxProcess, folder: Path, output: Path) -> ServiceProcess:
    return ServiceProcess(
        folder,
        sandbox.url,
        api_token=sandbox.token,
        max_workers=ground.sizes.processes,
        upload_concurrency=ground.sizes.connections,
        backend_probe_seconds=15,
        output_dir=output,
        keep_jpg=False,
    )


def _bare_upload_s(ground: Ground, latency_ms: int) -> float:
    with _sandbox(ground, latency_ms) as sandbox:
        return asyncio.run(_upload_all(ground.sizes, sandbox, ground.pictures))


def _import(ground: Ground, service: ServiceProcess) -> Import:
    expected = len(ground.jobs)
    before = (tree_cpu_s(service.pid), own_cpu_s(service.pid), machine_cpu_s())
    ended = run_import(service, ground.tree, expected, _DEADLINE_S)
    after = (tree_cpu_s(service.pid), own_cpu_s(service.pid), machine_cpu_s())
    if ended.progress["new_images_uploaded"] != expected:
        raise RuntimeError(f"the import did not bring everything: {ended.progress}")
    return Import(ended.seconds, after[0] - before[0], after[1] - before[1], after[2] - before[2])


async def _upload_all(sizes: Sizes, sandbox: SandboxProcess, pictures: Sequence[Path]) -> float:
    """Seconds that our client alone takes for the pictures."""
    options = ClientOptions(
        sandbox.url, Credentials(api_token=sandbox.token), upload_concurrency=sizes.connections, read_timeout_s=60
    )
    async with XieHeClient.open(options) as client:
        patients = [await _patient(client, number) for number in range(sizes.patients)]
        began = time.perf_counter()
        await asyncio.gather(
            *(
                client.upload(UploadRequest(str(path), path.name, patients[number % sizes.patients], None))
                for number, path in enumerate(pictures)
            )
        )
        return time.perf_counter() - began


async def _patient(client: XieHeClient, number: int) -> RemotePatient:
    return (await client.create_patient(NewPatient(patient_id(number), "测试", Sex.FEMALE, None))).patient


def _cores() -> int:
    return os.cpu_count() or 1


def _section(sizes: Sizes, floor: Floor, found: Sequence[Latency]) -> Section:
    mixture = ", ".join(f"{count} × {KINDS[name].title}" for name, count in sizes.files)
    return Section(
        title="(b) end to end",
        method=_METHOD.format(
            files=floor.files,
            patients=sizes.patients,
            mixture=mixture,
            rounds=sizes.rounds,
            floor_rounds=len(floor.rounds),
            connections=sizes.connections,
        ),
        figures=tuple(figure for latency in found for figure in _figures(latency, floor)),
        table=Table(
            (
                *("latency ms", "import s", "wall s", "= max of render s", "upload s", "CPU s ÷ cores", "ratio"),
                *("service CPU ms/file", "of which main process", "floor CPU ms/file"),
            ),
            tuple(_row(latency, floor) for latency in found),
        ),
    )


def _figures(latency: Latency, floor: Floor) -> tuple[Figure, Figure]:
    ratios, cpu_ratios = latency.ratios(floor.wall_s), latency.cpu_ratios(floor.cpu_s)
    return (
        Figure(f"wall.{latency.latency_ms}", statistics.median(ratios), spread_of(ratios)),
        Figure(f"cpu.{latency.latency_ms}", statistics.median(cpu_ratios), spread_of(cpu_ratios)),
    )


def _row(latency: Latency, floor: Floor) -> tuple[str, ...]:
    imports = latency.imports

    def median(values: Sequence[float]) -> str:
        return shown(statistics.median(values))

    return (
        str(latency.latency_ms),
        median([one.wall_s for one in imports]),
        median(latency.walls(floor.wall_s)),
        shown(floor.wall_s),
        shown(latency.upload_s),
        median([one.machine_cpu_s / _cores() for one in imports]),
        median(latency.ratios(floor.wall_s)),
        median([1000 * one.service_cpu_s / floor.files for one in imports]),
        median([1000 * one.main_cpu_s / floor.files for one in imports]),
        shown(1000 * floor.cpu_s / floor.files),
    )
