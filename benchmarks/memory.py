"""(e) Memory: of the service over few and many files, and of a worker over its largest image."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Section, Table, shown
from benchmarks.process_costs import MemoryWatch
from benchmarks.sample_images import KINDS, SampleShelf
from benchmarks.service_tasks import run_import
from benchmarks.small_trees import TreeShape, write_small_dicom
from render.worker_environment import child_environment
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import REPOSITORY, ServiceProcess

_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Trees from small to large, and the images whose memory is measured.

    Attributes:
        few, many: the two trees of small files.
        kinds: images of which one alone is rendered.
        scales: of their sides.
        contract: that the sandbox speaks; C1 has one call an upload and is the quickest.
    """

    few: TreeShape
    many: TreeShape
    kinds: tuple[str, ...] = (
        "dx_native",
        "dx_jpeg_lossless",
        "dx_jpeg_ls",
        "dx_jpeg_2000",
        "dx_htj2k",
        "dx_rle",
        "us_jpeg",
    )
    scales: tuple[float, ...] = (1.0, 2.0)
    contract: int = 1


FULL = Sizes(TreeShape(patients=20, files=50), TreeShape(patients=100, files=200))
QUICK = Sizes(TreeShape(4, 25), TreeShape(10, 40), ("dx_native", "dx_rle"), (0.5,))

_METHOD = """{few:,} and {many:,} small files (16×16) are imported, each by a fresh service with an empty history;
peak RSS is the kernel's own high-water mark of the service's process and of the largest worker. An image alone: a
fresh process, all decoders loaded, renders one file; its growth is divided by the decoded image's bytes (rows ×
columns × samples × bytes of a stored value)."""


@dataclass(frozen=True, slots=True)
class Peak:
    """What one import needed."""

    files: int
    seconds: float
    service_mb: float
    worker_mb: float


@dataclass(frozen=True, slots=True)
class ImagePeak:
    """What one image needed."""

    title: str
    decoded_mb: float
    growth_mb: float

    @property
    def factor(self) -> float:
        return self.growth_mb / self.decoded_mb


def measure(sizes: Sizes, folder: Path) -> Section:
    """Both imports, then each image."""
    few, many = (_import(sizes, shape, folder / f"{shape.total}") for shape in (sizes.few, sizes.many))
    images = [_image(name, scale, folder) for scale in sizes.scales for name in sizes.kinds]
    return Section(
        title="(e) memory",
        method=_METHOD.format(few=sizes.few.total, many=sizes.many.total),
        figures=(
            Figure("memory.growth", many.service_mb / few.service_mb),
            Figure("memory.service", max(few.service_mb, many.service_mb)),
            Figure("memory.worker", max(image.factor for image in images)),
        ),
        table=Table(("what", "service MB", "worker MB", "s", "factor"), (*map(_row, (few, many)), *map(_line, images))),
    )


def _import(sizes: Sizes, shape: TreeShape, folder: Path) -> Peak:
    write_small_dicom(folder / "tree", shape)
    with (
        SandboxProcess(sizes.contract, folder / "xiehe") as sandbox,
        ServiceProcess(folder / "service", sandbox.url, api_token=sandbox.token) as service,
        MemoryWatch(service.pid) as peak,
    ):
        ended = run_import(service, folder / "tree", shape.total, _DEADLINE_S)
    if ended.progress["new_images_uploaded"] != shape.total:
        raise RuntimeError(f"the import did not bring everything: {ended.progress}")
    return Peak(shape.total, ended.seconds, peak.service_mb, peak.worker_mb)


def _image(name: str, scale: float, folder: Path) -> ImagePeak:
    kind = KINDS[name]
    path = SampleShelf(scale).write(kind, folder / f"{name}-{scale}.dcm")
    command = [sys.executable, "-m", "benchmarks.image_memory_worker", str(path), str(path.with_suffix(""))]
    ran = subprocess.run(command, cwd=REPOSITORY, env=child_environment(), capture_output=True, text=True, check=True)
    printed = ran.stdout.split()
    pixels = kind.draw(scale)
    return ImagePeak(f"{kind.title}, sides × {scale:g}", pixels.nbytes / 2**20, float(printed[1]) - float(printed[0]))


def _row(peak: Peak) -> tuple[str, ...]:
    return f"{peak.files:,} files", shown(peak.service_mb), shown(peak.worker_mb), shown(peak.seconds), ""


def _line(image: ImagePeak) -> tuple[str, ...]:
    return f"{image.title} ({shown(image.decoded_mb)} MB)", "", f"+ {shown(image.growth_mb)}", "", shown(image.factor)
