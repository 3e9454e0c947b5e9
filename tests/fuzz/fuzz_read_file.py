"""Mutation fuzz of the header and pixel path: ``python tests/fuzz/fuzz_read_file.py [seconds] [seed]``.

Whole files of pydicom's wheel and of the hostile generator, and plain pictures, are mutated (bytes flipped, blocks
removed, doubled or replaced, lengths overwritten, the end cut off) and read by a child process. Every reply has to be
a picture, a refusal or ``ignored``; an exception is a defect of ours. A child that dies or takes longer than the limit
is counted: the render pool turns that into ``render_crashed`` and ``render_timeout``.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import pydicom.data

from dicom_processor import read_file
from models import ReadRequest, RenderOptions
from tests.plain_pictures import one_of_each
from tests.unit.hostile_files import OK, hostile_files

TIME_LIMIT_S = 20.0
MAX_SEED_BYTES = 400_000
PLAIN_SHARE = 6


def main(seconds: float, seed: int) -> int:
    """Fuzz for ``seconds``; returns the number of defects."""
    rng = random.Random(seed)
    seeds = _seeds()
    counts: Counter[str] = Counter()
    defects: list[str] = []
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with tempfile.TemporaryDirectory() as folder:
        child = _Child(folder)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            name, content = rng.choice(seeds)
            mutant = _mutate(bytearray(content), rng)
            outcome = child.read(bytes(mutant))
            counts[outcome.split(":")[0]] += 1
            if outcome.startswith(("defect", "crashed", "timeout")):
                defects.append(f"{name}: {outcome}")
                (kept / f"{len(defects)}.dcm").write_bytes(mutant)
        child.stop()
    print(f"{sum(counts.values())} mutants in {seconds:.0f} s, seed {seed}:", dict(counts.most_common()))  # noqa: T201
    print(*defects, f"mutants kept in {kept}", sep="\n")  # noqa: T201
    return sum(defect.split(": ")[1].startswith("defect") for defect in defects)


def _seeds() -> list[tuple[str, bytes]]:
    files = [path for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")) if path.is_file()]
    small = [(path.name, path.read_bytes()) for path in files if path.stat().st_size < MAX_SEED_BYTES]
    hostile = [(file.name, file.content) for file in hostile_files() if OK in file.expected]
    plain = PLAIN_SHARE * [(f"plain {number}", content) for number, content in enumerate(one_of_each())]
    return small + hostile + plain


def _mutate(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if len(data) < 16:
            break
        _mutate_once(data, rng)
    return data


def _mutate_once(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) - 8) if rng.random() < 0.5 else rng.randrange(min(len(data) - 8, 2000))
    size = rng.choice((1, 2, 4, 8, 64, 1024))
    kind = rng.randrange(6)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\0\0", b"\0\0\0\x7f"))
    elif kind == 2:
        del data[at : at + size]
    elif kind == 3:
        data[at:at] = data[at : at + size]
    elif kind == 4:
        data[at : at + size] = rng.randbytes(size)
    else:
        del data[at:]


class _Child:
    """The process that reads; replaced where it dies or hangs."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, content: bytes) -> str:
        """The outcome of reading these bytes."""
        (Path(self._folder) / "a.dcm").write_bytes(content)
        self._ours.send(None)
        if not self._ours.poll(TIME_LIMIT_S):
            self.stop()
            self._start()
            return "timeout"
        try:
            return str(self._ours.recv())
        except EOFError:
            self.stop()
            self._start()
            return "crashed"

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, folder: str) -> None:
    request = ReadRequest(f"{folder}/a.dcm", True, f"{folder}/out", RenderOptions(), plain_image=True)
    while True:
        pipe.recv()
        try:
            reply = read_file(request)
        except Exception as error:  # noqa: BLE001  # to be reported as a defect
            pipe.send(f"defect: {type(error).__name__} {error}")
            continue
        pipe.send("ignored" if reply.ignored else reply.failure.code if reply.failure else "picture")


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("60", "1")[len(sys.argv) - 1 :]]
    sys.exit(1 if main(float(arguments[0]), int(arguments[1])) else 0)
