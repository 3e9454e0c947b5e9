"""(c) Re-import of a tree that is in XieHe already: nothing may be opened, each patient is listed once."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Section, Table, shown, spread_of
from benchmarks.process_costs import own_cpu_s, tree_cpu_s
from benchmarks.service_tasks import run_import
from benchmarks.small_trees import TreeShape, fill_history, fill_xiehe, plant
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess, free_port

_PAGE_SIZE = 100
_NO_DICOM = b"this file is no DICOM; a re-import must not open it"
_DEADLINE_S = 300.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """The tree, and how often it is imported again."""

    shape: TreeShape
    rounds: int = 2


FULL, QUICK = Sizes(TreeShape(patients=500, files=200)), Sizes(TreeShape(patients=20, files=150), rounds=1)

_METHOD = """{total} files of {patients} patients. History and sandbox (C4) are filled directly, as an import would
have left them; the files themselves hold text, so that one that is opened cannot end as a duplicate. Then the tree
is imported by a freshly started service, {rounds} time(s), each after a restart of the service. Time is from POST
to the end of the task, scan, listings and one history row for each file included. A listing of {files} images takes
{pages} page(s) of 100, each a request; requests are counted by the sandbox's journal."""


@dataclass(frozen=True, slots=True)
class Again:
    """One re-import."""

    wall_s: float
    main_cpu_s: float
    worker_cpu_s: float
    opened: int
    listings: float
    requests: dict[str, int]


def measure(sizes: Sizes, folder: Path) -> Section:
    """Fill, then import."""
    shape, tree = sizes.shape, folder / "tree"
    files = list(plant(tree, shape, _NO_DICOM))
    fill_xiehe(folder / "xiehe", files)
    port = free_port()
    sandbox = SandboxProcess(4, folder / "xiehe")
    sandbox.port = port
    service_folder = folder / "service"
    asyncio.run(fill_history(service_folder / "data", sandbox.url, tree, files))
    with sandbox:
        found = [_import(sandbox, service_folder, tree, shape) for _ in range(sizes.rounds)]
    return _section(sizes, found)


def _import(sandbox: SandboxProcess, folder: Path, tree: Path, shape: TreeShape) -> Again:
    sandbox.clear_requests()
    with ServiceProcess(folder, sandbox.url, api_token=sandbox.token) as service:
        main_s, all_s = own_cpu_s(service.pid), tree_cpu_s(service.pid)
        ended = run_import(service, tree, shape.total, _DEADLINE_S)
        main_s, all_s = own_cpu_s(service.pid) - main_s, tree_cpu_s(service.pid) - all_s
    worker_s = max(0.0, all_s - main_s)  # the difference of two sums, of which nothing may be left
    requests = Counter(entry["operation"] for entry in sandbox.requests())
    pages = shape.patients * -(-shape.files // _PAGE_SIZE)
    opened = shape.total - ended.progress["duplicate_images_skipped"]
    return Again(ended.seconds, main_s, worker_s, opened, requests["list_images"] / pages, dict(requests))


def _section(sizes: Sizes, found: list[Again]) -> Section:
    shape = sizes.shape
    speeds = [shape.total / again.wall_s for again in found]
    return Section(
        title="(c) re-import",
        method=_METHOD.format(
            total=f"{shape.total:,}",
            patients=shape.patients,
            files=shape.files,
            pages=-(-shape.files // _PAGE_SIZE),
            rounds=sizes.rounds,
        ),
        figures=(
            Figure("reimport.speed", statistics.median(speeds), spread_of(speeds)),
            Figure("reimport.opened", max(again.opened for again in found)),
            Figure("reimport.listings", max(again.listings for again in found)),
        ),
        table=Table(
            ("round", "s", "files/s", "service CPU µs/file", "workers CPU s", "requests to XieHe"),
            tuple(_row(number, again, shape.total) for number, again in enumerate(found, 1)),
        ),
    )


def _row(number: int, again: Again, total: int) -> tuple[str, ...]:
    return (
        str(number),
        shown(again.wall_s),
        shown(total / again.wall_s),
        shown(1e6 * again.main_cpu_s / total),
        shown(again.worker_cpu_s),
        ", ".join(f"{count} {name}" for name, count in sorted(again.requests.items())),
    )
