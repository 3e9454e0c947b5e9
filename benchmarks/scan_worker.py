"""Walks a tree once in a process of its own: ``python -m benchmarks.scan_worker TREE TENTH``.

Tells files, seconds, and megabytes early and late.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks.process_costs import peak_rss_mb
from source import TreeRules, resolve_source, walk


def main(tree: str, tenth: int) -> None:
    """Prints peak memory after ``tenth`` files and at the end."""
    rules = TreeRules()
    source = resolve_source(tree, rules)
    early_mb, files = 0.0, 0
    began = time.perf_counter()
    for files, _ in enumerate(walk(source, rules), 1):
        if files == tenth:
            early_mb = peak_rss_mb(os.getpid())
    print(files, time.perf_counter() - began, early_mb, peak_rss_mb(os.getpid()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
