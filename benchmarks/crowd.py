"""(h) An import at full speed beside a crowd of clients, most of which only hold their connections."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crowd_clients import AGAIN_AFTER_S, HELD_S, SLOW_LINE_BYTES_S, Crowd, Met, Order
from benchmarks.figures import Figure, Section, Table, percentile, shown, spread_of
from benchmarks.process_costs import own_cpu_s, peak_rss_mb
from benchmarks.sample_images import KINDS, SampleShelf, patient_id
from benchmarks.service_tasks import Ended, run_import
from benchmarks.small_trees import TreeShape, fill_history, plant, write_small_dicom
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import REPOSITORY, ServiceProcess

_ASK_EVERY_S = 0.05
_DEADLINE_S = 600.0
_PATIENTS = 10
_PATIENTS_OF_A_TREE = 1_000
_FILM = "dx_jpeg_lossless"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is imported, and beside whom.

    Attributes:
        small: tree of small files (most requests to XieHe, most rows).
        films: in a tree of their own (most rendering).
        scale: of their sides.
        report: rows of the report that is downloaded.
        viewed: films whose pictures are looked at.
        rounds: each imports both trees alone and beside the crowd.
        crowd: the clients.
    """

    small: TreeShape
    films: int
    scale: float = 1.0
    report: TreeShape = field(default_factory=lambda: TreeShape(patients=20, files=500))
    viewed: int = 8
    rounds: int = 3
    crowd: Crowd = field(default_factory=Crowd)


FULL = Sizes(TreeShape(patients=40, files=100), films=300)
QUICK = Sizes(TreeShape(10, 200), films=40, scale=0.5, report=TreeShape(10, 100), rounds=1)

_METHOD = """The crowd is {idle} idle connections (half of them have sent half a request, the others one request),
{sockets} WebSockets that never read, {polls} long polls, {reports} downloads of a report of {rows:,} rows, and
{viewers} readers of full-size pictures, half of whom read nothing. Downloads and pictures are read at {line:.0f} kB/s
each; clients that read nothing stay for {held:g} s; each begins again after {again:g} s, or at once if it polls. All
are plain sockets of one process. In each of {rounds} round(s) a tree of {small:,} small files and one of {films} films
(DX, JPEG Lossless) is imported alone and beside the crowd; each second round begins with the crowd. C4, no latency; one
service for all, each tree with patients and images of its own. The crowd comes as soon as the task is there. The ratio
of a round is files/s beside the crowd ÷ files/s alone; the median of the worse tree's rounds counts. It includes what
the crowd's own process takes of the machine's {cores} cores, which clients elsewhere do not take: the table has that
share, and the ratio divided by what is left of the machine. `GET /health` is asked every {every:g} ms over one
connection."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import.

    Attributes:
        tree: its name.
        files: of the tree.
        ended: how it ended.
        answers_s: how long each answer of ``/health`` took meanwhile.
        service_cpu_s: CPU seconds of the service's own process.
        peak_mb: the service's peak RSS so far.
        met: what the crowd met; None if the import was alone.
    """

    tree: str
    files: int
    ended: Ended
    answers_s: Sequence[float]
    service_cpu_s: float
    peak_mb: float
    met: Met | None

    @property
    def missing(self) -> int:
        """Files that were not uploaded; all of them if the task was no success."""
        uploaded: int = self.ended.progress["new_images_uploaded"]
        return self.files - uploaded if self.ended.result == "success" else self.files

    @property
    def rate(self) -> float:
        return self.files / self.ended.seconds

    def crowd_share(self, cores: int) -> float:
        """The part (0..1) of the machine that the crowd's own process took."""
        return 0.0 if self.met is None else self.met.cpu_s / (cores * self.ended.seconds)


@dataclass(frozen=True, slots=True)
class Round:
    """The same tree alone and beside the crowd."""

    alone: Import
    beside: Import

    @property
    def ratio(self) -> float:
        return self.beside.rate / self.alone.rate

    def ratio_elsewhere(self, cores: int) -> float:
        """As if the crowd's own process ran on another machine."""
        return self.ratio / (1 - self.beside.crowd_share(cores))


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it all happens; ``pictures`` are paths of the API."""

    sizes: Sizes
    folder: Path
    service: ServiceProcess
    shelf: SampleShelf
    pictures: tuple[str, ...]


def measure(sizes: Sizes, folder: Path) -> Section:
    """All rounds against one service, whose history has a report and whose OUTPUT_DIR has pictures to look at."""
    with SandboxProcess(4, folder / "xiehe") as sandbox:
        _fill_report(sizes.report, folder, sandbox.url)
        cores = os.cpu_count() or 1
        with ServiceProcess(folder / "service", sandbox.url, api_token=sandbox.token, max_workers=cores) as service:
            shelf = SampleShelf(sizes.scale)
            ground = Ground(sizes, folder, service, shelf, _make_pictures(sizes, folder, service, shelf))
            rounds = [_round(ground, number, tree) for number in range(sizes.rounds) for tree in ("small", "films")]
    return _section(sizes, rounds, cores)


def _fill_report(shape: TreeShape, folder: Path, backend_url: str) -> None:
    planted = list(plant(folder / "earlier", shape))
    asyncio.run(fill_history(folder / "service" / "data", backend_url, folder / "earlier", planted))


def _make_pictures(sizes: Sizes, folder: Path, service: ServiceProcess, shelf: SampleShelf) -> tuple[str, ...]:
    """Imports the films whose pictures are looked at."""
    tree = folder / "viewed"
    _write_films(tree, shelf, sizes.viewed, first=_PATIENTS_OF_A_TREE)
    task_id = service.start_import(tree)
    service.wait(task_id)
    return tuple(f"/import/{task_id}/files/{number}/picture" for number in range(1, 1 + sizes.viewed))


def _write_films(tree: Path, shelf: SampleShelf, films: int, first: int) -> None:
    for number in range(films):
        patient = first + number % _PATIENTS
        shelf.write(KINDS[_FILM], tree / "2024-01" / patient_id(patient) / f"{number:04d}.dcm", patient)


def _round(ground: Ground, number: int, tree: str) -> Round:
    found = {beside: _import(ground, number, tree, beside=beside) for beside in _turns(number)}
    return Round(found[False], found[True])


def _turns(number: int) -> tuple[bool, bool]:
    """Whether the crowd is there: what the first import of a round makes easier or harder helps both sides."""
    return (False, True) if number % 2 == 0 else (True, False)


def _import(ground: Ground, number: int, tree: str, *, beside: bool) -> Import:
    place = ground.folder / f"{tree}-{number}-{beside:d}"
    files = _write_tree(ground, place, tree, first=_PATIENTS_OF_A_TREE * (2 + 2 * number + beside))
    spent = own_cpu_s(ground.service.pid)
    with _crowd_process() as crowd, ThreadPoolExecutor(1) as pool:
        over = threading.Event()
        asked = pool.submit(_ask_health, ground.service, over)
        try:
            ended = run_import(ground.service, place, files, _DEADLINE_S, _starter(ground, crowd if beside else None))
        finally:
            over.set()
        spent = own_cpu_s(ground.service.pid) - spent
        met = _met(crowd) if beside else None
    shutil.rmtree(place)
    return Import(tree, files, ended, asked.result(), spent, peak_rss_mb(ground.service.pid), met)


def _write_tree(ground: Ground, place: Path, tree: str, first: int) -> int:
    """How many files it has."""
    small = ground.sizes.small
    if tree == "small":
        write_small_dicom(place, TreeShape(small.patients, small.files, first))
        return small.total
    _write_films(place, ground.shelf, ground.sizes.films, first + small.patients)
    return ground.sizes.films


@contextmanager
def _crowd_process() -> Iterator[subprocess.Popen[str]]:
    """The crowd's process, which waits for its order."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crowd_clients"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _starter(ground: Ground, crowd: subprocess.Popen[str] | None) -> Callable[[str], None]:
    """What sends the crowd when the task is there; nothing without a crowd."""

    def start(task_id: str) -> None:
        if crowd is None:
            return
        order = Order(
            port=ground.service.port,
            running=f"/import/{task_id}/status",
            report="/import/earlier/report",
            pictures=ground.pictures,
            crowd=ground.sizes.crowd,
        )
        assert crowd.stdin is not None
        crowd.stdin.write(order.to_json() + "\n")
        crowd.stdin.flush()

    return start


def _met(crowd: subprocess.Popen[str]) -> Met:
    """Ends the crowd."""
    printed, _ = crowd.communicate()
    if crowd.returncode != 0:
        raise RuntimeError(f"the crowd ended with status {crowd.returncode}")
    return Met.from_json(printed)


def _ask_health(service: ServiceProcess, over: threading.Event) -> list[float]:
    """How long each answer took; one at least."""
    answers = []
    while True:
        began = time.perf_counter()
        service.http.get("/health").raise_for_status()
        answers.append(time.perf_counter() - began)
        if over.wait(_ASK_EVERY_S):
            return answers


def _section(sizes: Sizes, rounds: Sequence[Round], cores: int) -> Section:
    trees = {tree: [one for one in rounds if one.alone.tree == tree] for tree in ("small", "films")}
    worst = min(trees.values(), key=lambda of_tree: statistics.median(one.ratio for one in of_tree))
    ratios = [one.ratio for one in worst]
    imports = [each for one in rounds for each in (one.alone, one.beside)]
    return Section(
        title="(h) crowd",
        method=_method(sizes, cores),
        figures=(
            Figure("crowd.rate", statistics.median(ratios), spread_of(ratios)),
            Figure("crowd.health", max(_health_ms([one.beside for one in of], 0.99) for of in trees.values())),
            Figure("crowd.memory", max(each.peak_mb for each in imports)),
            Figure("crowd.missing", sum(each.missing for each in imports)),
        ),
        table=Table(
            (
                *("tree", "files/s alone", "beside the crowd", "ratio", "crowd's CPU, % of the machine"),
                *("ratio without it", "service CPU ms/file alone", "beside", "/health p99 ms alone", "p50 beside"),
                *("p99 beside", "slowest beside"),
            ),
            tuple(_row(one, cores) for one in rounds),
        ),
        notes=(_answers_note([one.beside.met for one in rounds if one.beside.met is not None]),),
    )


def _method(sizes: Sizes, cores: int) -> str:
    crowd = sizes.crowd
    return _METHOD.format(
        idle=crowd.idle,
        sockets=crowd.sockets,
        polls=crowd.polls,
        reports=crowd.reports,
        viewers=crowd.viewers,
        rows=sizes.report.total,
        line=SLOW_LINE_BYTES_S / 1024,
        held=HELD_S,
        again=AGAIN_AFTER_S,
        rounds=sizes.rounds,
        small=sizes.small.total,
        films=sizes.films,
        cores=cores,
        every=1000 * _ASK_EVERY_S,
    )


def _health_ms(imports: Sequence[Import], part: float) -> float:
    return 1000 * percentile([answer_s for one in imports for answer_s in one.answers_s], part)


def _row(one: Round, cores: int) -> tuple[str, ...]:
    alone, beside = one.alone, one.beside
    return (
        alone.tree,
        shown(alone.rate),
        shown(beside.rate),
        shown(one.ratio),
        shown(100 * beside.crowd_share(cores)),
        shown(one.ratio_elsewhere(cores)),
        shown(1000 * alone.service_cpu_s / alone.files),
        shown(1000 * beside.service_cpu_s / beside.files),
        shown(_health_ms([alone], 0.99)),
        shown(_health_ms([beside], 0.5)),
        shown(_health_ms([beside], 0.99)),
        shown(_health_ms([beside], 1)),
    )


def _answers_note(met: Sequence[Met]) -> str:
    """What the crowd met in all rounds, by kind of client."""
    ends: dict[str, Counter[str]] = {}
    for one in met:
        for kind, counts in one.answers.items():
            ends.setdefault(kind, Counter()).update(counts)
    kinds = (
        f"{kind} {', '.join(f'{count} × {end}' for end, count in counts.items())}" for kind, counts in ends.items()
    )
    read_mb = sum(one.read_mb for one in met)
    return f"What the crowd met in all rounds: {'; '.join(kinds)}. It read {shown(read_mb)} MB."
