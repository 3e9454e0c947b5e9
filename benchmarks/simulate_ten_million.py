"""How many days an archive takes, and what holds it back: ``python -m benchmarks.simulate_ten_million [--help]``.

A model, not a measurement. The stages of an import overlap behind bounded queues, so in the long run an archive goes at
the pace of its slowest stage: of what each image costs a stage, divided by what that stage has. The costs are those
measured on one machine (``make bench``) and can be given anew; the limits of XieHe's proxy are those of its deployment.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

CORES = (1, 2, 8, 32)
_MS_PER_S = 1000.0
_S_PER_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of image: CPU to make its picture, and bytes in and out."""

    name: str
    render_ms: float
    source_mb: float
    picture_mb: float
    upload_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Place:
    """What there is. Megabytes are 10^6 bytes.

    Attributes:
        files: images of the archive.
        hours: a day's hours in which an import may run (ACTIVE_HOURS).
        link_mb_s: of each link: from the archive's storage to the reader, to and from the pictures' shared storage
            (on a cluster only), and from the service to XieHe. 110 is what 1 Gbit/s carries, or a hard disk.
        dispatch_ms: CPU of the service's process to hand one job to the cluster.
        uploader_cores: an upload is work of the one process that coordinates.
    """

    files: int = 10_000_000
    hours: float = 24.0
    link_mb_s: float = 110.0
    dispatch_ms: float = 1.0
    uploader_cores: float = 1.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """What XieHe's proxy lets through.

    Attributes:
        requests_per_s: of one address; None for no limit.
        calls: requests that one image takes.
        completes_per_s: of the last of these calls; None for no limit of its own.
    """

    name: str
    requests_per_s: float | None
    calls: int
    completes_per_s: float | None = None

    def walls(self) -> Iterator[tuple[str, float]]:
        """Name of each limit, and images per second that it allows."""
        if self.requests_per_s is not None:
            yield f"proxy: {self.requests_per_s:g} requests/s", self.requests_per_s / self.calls
        if self.completes_per_s is not None:
            yield f"proxy: {self.completes_per_s:g} completes/s", self.completes_per_s


FILM = Kind("DX 3000×2500", render_ms=25.0, source_mb=15.0, picture_mb=1.4, upload_cpu_ms=7.5)
SLICE = Kind("CT 512×512", render_ms=1.7, source_mb=0.53, picture_mb=0.1, upload_cpu_ms=4.0)
PROXIES = (
    Proxy("C4, its limits", 20.0, 3, 5.0),
    Proxy("C1, its limits", 10.0, 1),
    Proxy("limits lifted", None, 3),
)


def walls(kind: Kind, place: Place, proxy: Proxy, cores: int, *, cluster: bool) -> Mapping[str, float]:
    """Images per second that each stage allows."""
    uploading = kind.upload_cpu_ms + (place.dispatch_ms if cluster else 0.0)
    found = {
        "the uploading process": place.uploader_cores * _MS_PER_S / uploading,
        "source storage": place.link_mb_s / kind.source_mb,
        "network to XieHe": place.link_mb_s / kind.picture_mb,
        **dict(proxy.walls()),
    }
    if cluster:
        found["cores of the workers"] = cores * _MS_PER_S / kind.render_ms
        found["shared storage"] = place.link_mb_s / (2 * kind.picture_mb)
    else:
        found["cores"] = cores * _MS_PER_S / (kind.render_ms + kind.upload_cpu_ms)
    return found


def days(images_per_s: float, place: Place) -> float:
    """Of an archive at that pace."""
    return place.files / images_per_s / _S_PER_DAY * 24.0 / place.hours


def rows(kind: Kind, place: Place) -> Iterator[tuple[str, ...]]:
    """One for each number of cores: pace, days and wall, for each proxy."""
    for cores in CORES:
        for cluster in (False, True) if cores > CORES[1] else (False,):
            where = "cluster" if cluster else "one machine"
            cells = [_cell(walls(kind, place, proxy, cores, cluster=cluster), place) for proxy in PROXIES]
            yield f"{cores}, {where}", *cells


def _cell(found: Mapping[str, float], place: Place) -> str:
    wall = min(found, key=lambda name: found[name])
    return f"{days(found[wall], place):.1f} days ({found[wall]:.1f}/s: {wall})"


def table(kind: Kind, place: Place) -> str:
    """Markdown."""
    lines = [("cores", *(proxy.name for proxy in PROXIES)), ("---",) * (1 + len(PROXIES)), *rows(kind, place)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pays_from(kind: Kind, place: Place, proxy: Proxy) -> int:
    """Cores of one machine beyond which more of them gain nothing."""
    others = [pace for name, pace in walls(kind, place, proxy, 1, cluster=False).items() if name != "cores"]
    cores = 1
    while walls(kind, place, proxy, cores, cluster=False)["cores"] < min(others):
        cores += 1
    return cores


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table for each kind of image and each speed of the links."""
    places, kinds = _asked(arguments)
    print(
        f"{places[0].files:,} images, {places[0].hours:g} hours a day. A model fed with measured costs, no measurement."
    )
    for kind in kinds:
        for place in places:
            print(f"\n**{kind.name}, links of {place.link_mb_s:g} MB/s** ({kind.render_ms:g} ms to render, ", end="")
            print(f"{kind.upload_cpu_ms:g} ms CPU to upload, {kind.source_mb:g} MB in, {kind.picture_mb:g} MB out)\n")
            print(table(kind, place), "\n")
            limits = (f"{proxy.name} {pays_from(kind, place, proxy)}" for proxy in PROXIES)
            print(f"Cores of one machine beyond which nothing is gained: {', '.join(limits)}")


def _asked(arguments: Sequence[str] | None) -> tuple[list[Place], tuple[Kind, ...]]:
    parser = argparse.ArgumentParser(description="How many days an archive takes, and what holds it back.")
    parser.add_argument("--files", type=int, default=10_000_000, help="images of the archive")
    parser.add_argument("--hours", type=float, default=24.0, help="a day's hours in which an import may run")
    parser.add_argument("--link-mb-s", type=float, nargs="+", default=[110.0, 1100.0], help="speeds of the links")
    parser.add_argument("--dispatch-ms", type=float, default=1.0, help="CPU to hand one job to the cluster")
    parser.add_argument("--film-ms", type=float, default=FILM.render_ms, help="measured ms to render one DX")
    parser.add_argument("--slice-ms", type=float, default=SLICE.render_ms, help="measured ms to render one CT slice")
    asked = parser.parse_args(arguments)
    places = [Place(asked.files, asked.hours, link, asked.dispatch_ms) for link in asked.link_mb_s]
    return places, (replace(FILM, render_ms=asked.film_ms), replace(SLICE, render_ms=asked.slice_ms))


if __name__ == "__main__":
    main()
