"""(f) How quickly the service answers while it imports at full speed, and how soon the first picture is in XieHe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Section, Table, percentile, shown
from benchmarks.sample_images import KINDS, SampleShelf, patient_id
from benchmarks.small_trees import TreeShape, write_small_dicom
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

_ASK_EVERY_S = 0.02
_DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is imported meanwhile, and for how long at most it is asked.

    Attributes:
        small: tree of small files (most events a second).
        films: DX images in a tree of their own (most pixels a second).
        scale: of their sides.
        asked_s: each import is cancelled after that.
    """

    small: TreeShape
    films: int = 100
    scale: float = 1.0
    asked_s: float = 15.0


FULL, QUICK = Sizes(TreeShape(patients=40, files=100)), Sizes(TreeShape(5, 40), films=8, scale=0.25, asked_s=4.0)

_METHOD = """`GET /import/{{id}}/status` every {every:g} ms over one connection while the service imports (C4, no
latency) first a tree of {small:,} small files, then one of {films} DX films, at most {asked:g} s each; time is from
the request to the whole answer, as a client on the same machine sees it, beside a sandbox and render processes that
keep every core busy. The first upload is the end of the first completed upload in the sandbox's journal, counted
from the POST."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one import showed."""

    name: str
    answers_s: list[float]
    first_upload_s: float
    files_per_s: float


def measure(sizes: Sizes, folder: Path) -> Section:
    """Ask while each tree is imported."""
    write_small_dicom(folder / "small", sizes.small)
    shelf = SampleShelf(sizes.scale)
    for number in range(sizes.films):
        path = folder / "films" / "2024-01" / patient_id(number % 10) / f"{number:04d}.dcm"
        shelf.write(KINDS["dx_native"], path, number % 10)
    found = [_ask(sizes, folder, name) for name in ("small", "films")]
    return Section(
        title="(f) responsiveness",
        method=_METHOD.format(
            every=1000 * _ASK_EVERY_S, small=sizes.small.total, films=sizes.films, asked=sizes.asked_s
        ),
        figures=(
            Figure("status.p99", max(1000 * percentile(one.answers_s, 0.99) for one in found)),
            Figure("status.first_upload", max(one.first_upload_s for one in found)),
        ),
        table=Table(
            ("tree", "asked", "p50 ms", "p99 ms", "slowest ms", "first upload s", "files/s meanwhile"),
            tuple(map(_row, found)),
        ),
    )


def _ask(sizes: Sizes, folder: Path, name: str) -> Answers:
    place = folder / f"import-{name}"
    with (
        SandboxProcess(4, place / "xiehe") as sandbox,
        ServiceProcess(place / "service", sandbox.url, api_token=sandbox.token) as service,
    ):
        service.http.get("/health")
        posted = time.time()
        task = service.start_import(folder / name)
        answers, done = _poll(service, task, sizes.asked_s)
        seconds = time.time() - posted
        service.http.post(f"/import/{task}/cancel")
        arrived = [entry["finished"] for entry in sandbox.requests("complete_session") if entry["status"] == 200]
    if not arrived:
        raise RuntimeError("nothing was uploaded while the service was asked")
    return Answers(name, answers, min(arrived) - posted, done / seconds)


def _poll(service: ServiceProcess, task: str, asked_s: float) -> tuple[list[float], int]:
    """How long each answer took, and the files that were done at the end."""
    answers: list[float] = []
    over = time.monotonic() + asked_s
    while True:
        began = time.perf_counter()
        status = service.status(task)
        answers.append(time.perf_counter() - began)
        if status["status"] in ("completed", "failed", "paused") or time.monotonic() > over:
            return answers, status["progress"]["new_images_uploaded"]
        time.sleep(_ASK_EVERY_S)


def _row(one: Answers) -> tuple[str, ...]:
    return (
        one.name,
        str(len(one.answers_s)),
        shown(1000 * percentile(one.answers_s, 0.5)),
        shown(1000 * percentile(one.answers_s, 0.99)),
        shown(1000 * max(one.answers_s)),
        shown(one.first_upload_s),
        shown(one.files_per_s),
    )
