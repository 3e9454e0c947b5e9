"""pydicom's bundled files by transfer syntax and photometric interpretation: right, wrong, refused.

``python benchmarks/picture_table.py`` compares every frame with the slow float rendering of the tests (mean difference
at most one level counts as right) and prints a Markdown table, then each refusal with its reason.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom.data
from pydicom.uid import UID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dicom.header.parsing import ParsedFile, parse
from dicom.header.values import text
from dicom.rendering.frame_rendering import StageClock, render_frames
from errors import FileError
from models import RenderOptions
from tests.unit.reference_rendering import reference_frame

MAX_MEAN_LEVELS = 1.0


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    refusals: list[str] = []
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file():
            _judge(path, table, refusals)
    _print(table, refusals)


def _judge(path: Path, table: defaultdict[tuple[str, str], Counter[str]], refusals: list[str]) -> None:
    with open(path, "rb") as stream:
        try:
            parsed = parse(stream, path.stat().st_size)
            if parsed.pixels is None:
                return
        except FileError as error:
            if path.suffix == ".dcm":
                refusals.append(f"{path.name}: {error.code}")
            return
        key = (_syntax(parsed), text(parsed.dataset, "PhotometricInterpretation") or "-")
        try:
            table[key][_compare(path, parsed)] += 1
        except FileError as error:
            table[key]["refused"] += 1
            refusals.append(f"{path.name}: {error.code}, {error.detail}")


def _syntax(parsed: ParsedFile) -> str:
    return UID(parsed.transfer_syntax).name if parsed.transfer_syntax else "-"


def _compare(path: Path, parsed: ParsedFile) -> str:
    for frame in render_frames(parsed, RenderOptions(), None, StageClock()):
        difference = np.abs(frame.levels.pixels - reference_frame(str(path), frame.number - 1)).mean()
        if difference > MAX_MEAN_LEVELS:
            return "wrong"
    return "right"


def _print(table: defaultdict[tuple[str, str], Counter[str]], refusals: list[str]) -> None:
    print("| transfer syntax | photometric interpretation | right | wrong | refused |\n|---|---|---:|---:|---:|")
    for (syntax, photometric), counts in sorted(table.items()):
        print(f"| {syntax} | {photometric} | {counts['right']} | {counts['wrong']} | {counts['refused']} |")
    total = sum(table.values(), Counter())
    print(f"| all | | {total['right']} | {total['wrong']} | {total['refused']} |\n")
    for refusal in refusals:
        print("-", refusal)


if __name__ == "__main__":
    main()
