"""Renders one file in a process of its own: ``python -m benchmarks.image_memory_worker FILE PREFIX``.

Tells the peak resident megabytes of the warm process before the file, and after it.
"""

from __future__ import annotations

import os
import sys

from benchmarks.process_costs import peak_rss_mb
from dicom_processor import check_decoders, read_file
from models import ReadRequest, RenderOptions


def main(path: str, prefix: str) -> None:
    """As a render process does it, without the pipe."""
    check_decoders()
    before_mb = peak_rss_mb(os.getpid())
    reply = read_file(ReadRequest(path, named_dicom=True, output_prefix=prefix, render=RenderOptions()))
    if reply.failure is not None:
        raise RuntimeError(f"a sample was not rendered: {reply.failure}")
    print(before_mb, peak_rss_mb(os.getpid()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
