"""The floor: the least that makes a JPG of a DICOM file. Nothing of ours is imported, nothing is checked.

Read, decode with the same decoder as the service's, one table look-up, one JPEG. Several of these processes share one
pipe of jobs. ``python floor_worker.py JOBS_DESCRIPTOR keep|drop OUTPUT_PREFIX FILE...``; each job is the number of a
file in four bytes, END_OF_ROUND ends the round. On standard output: ``ready``, then for each round the CPU seconds used
and the pictures made. With ``drop`` each picture is removed once it is written, which is not counted.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from rle.rle import decode_frame

Stored = NDArray[Any]
END_OF_ROUND = 0xFFFFFFFF
CHUNK = 1 << 15


def decode(ds: Dataset, data: bytes) -> Stored:
    """A compressed frame → stored values, by the decoders named in dicom/decoding/pixel_decoders.py."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == "1.2.840.10008.1.2.4.50":
        return imagecodecs.jpeg8_decode(data, colorspace="YCBCR", outcolorspace="RGB")
    if syntax == "1.2.840.10008.1.2.4.70":
        return imagecodecs.jpeg8_decode(data, colorspace="UNKNOWN", outcolorspace="UNKNOWN")
    if syntax == "1.2.840.10008.1.2.4.80":
        return imagecodecs.jpegls_decode(data)
    if syntax == "1.2.840.10008.1.2.5":
        planes = decode_frame(data, ds.Rows * ds.Columns, ds.BitsAllocated, "<")
        return np.frombuffer(planes, np.uint16).reshape(ds.Rows, ds.Columns)
    return openjpeg.utils.decode(data, 0)


def frames(ds: Dataset) -> Iterator[Stored]:
    """Each frame's stored values."""
    count = int(ds.get("NumberOfFrames", 1))
    if ds.file_meta.TransferSyntaxUID.is_compressed:
        for data in generate_frames(ds.PixelData, number_of_frames=count):
            yield decode(ds, data)
        return
    kind = np.uint8 if ds.BitsAllocated == 8 else np.uint16
    shape = (count, ds.Rows, ds.Columns) + ((3,) if ds.SamplesPerPixel == 3 else ())
    yield from np.frombuffer(ds.PixelData, kind, int(np.prod(shape))).reshape(shape)


def table(ds: Dataset) -> Stored:
    """The window of the file over each possible stored value."""
    values = np.arange(1 << ds.BitsStored, dtype=np.float32) * float(ds.get("RescaleSlope", 1))
    values += float(ds.get("RescaleIntercept", 0))
    center, width = float(ds.WindowCenter), float(ds.WindowWidth)
    return (np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255 + 0.5).astype(np.uint8)


def look_up(levels: Stored, stored: Stored) -> Stored:
    """One ``take``, in pieces that stay in the cache (faster than over the whole at once)."""
    flat = stored.reshape(-1)
    out = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        np.take(levels, flat[part], out=out[part], mode="wrap")
    return out.reshape(stored.shape)


def render(path: str, prefix: str) -> list[str]:
    """Write a JPG of each frame; returns their paths."""
    ds = pydicom.dcmread(path)
    levels = table(ds) if ds.SamplesPerPixel == 1 else None
    written = list[str]()
    for stored in frames(ds):
        picture = stored if levels is None else look_up(levels, stored)
        written.append(f"{prefix}-{len(written) + 1:04d}.jpg")
        Image.fromarray(picture).save(written[-1], "JPEG", quality=95, subsampling=0)
    return written


def work_off(jobs: int, prefix: str, paths: Sequence[str], *, drop: bool) -> None:
    """One round; each picture is a new file, as the service's are."""
    cpu_s, pictures = 0.0, 0
    while (job := int.from_bytes(os.read(jobs, 4), "little")) != END_OF_ROUND:
        began = time.process_time()
        written = render(paths[job], f"{prefix}.{pictures}-{job}")
        cpu_s += time.process_time() - began
        pictures += len(written)
        for path in written if drop else ():
            os.unlink(path)
    print(cpu_s, pictures, flush=True)


def main() -> None:
    """Round after round, each begun by a line on standard input."""
    jobs, drop, prefix, paths = int(sys.argv[1]), sys.argv[2] == "drop", sys.argv[3], sys.argv[4:]
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        work_off(jobs, f"{prefix}.{number}", paths, drop=drop)


if __name__ == "__main__":
    main()
