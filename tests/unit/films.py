"""Projection films as small DICOM files, and what the service makes of them: exact levels, windows, warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models import ReadReply, WindowUsed
from tests.unit.image_files import image

RAMP = (np.arange(256) * 4095 // 255).astype(np.uint16)
"""Stored values 0, 16, 32 ... 4095; of 12 bits, so that column n has level n where they fill the range."""


@dataclass(frozen=True, slots=True)
class Film:
    """One file after rendering."""

    reply: ReadReply

    @property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """The exact levels of each frame."""
        return [np.asarray(Image.open(picture.path)) for picture in self.reply.images]

    @property
    def row(self) -> list[int]:
        """The first row of the first picture."""
        return [int(level) for level in self.pictures[0][0]]

    @property
    def codes(self) -> list[str]:
        """Of the warnings."""
        return [warning.code for warning in self.reply.warnings]

    @property
    def window(self) -> WindowUsed:
        """Of the first picture."""
        used = self.reply.images[0].window
        assert used is not None
        return used


Render = Callable[..., Film]


def film(pixels: NDArray[Any] | None = None, **elements: Any) -> Dataset:
    """A DX film of 12 bits without a window: the ramp in 64 rows unless ``pixels`` says otherwise."""
    cells = np.tile(RAMP, (64, 1)) if pixels is None else pixels
    bits = {"BitsStored": 12} if cells.dtype.itemsize == 2 else {}
    return image(cells, **({"Modality": "DX"} | bits | elements))


def lut(entries: Any, bits: int, *, count: int | None = None, first: int = 0, vr: str = "OW") -> Sequence:
    """A LUT sequence of one item; ``entries`` are numbers (words), or the bytes of LUT Data."""
    data = entries if isinstance(entries, bytes) else np.asarray(entries, "<u2").tobytes()
    item = Dataset()
    item.add_new(0x00283002, "US", [len(data) // 2 if count is None else count, first, bits])
    item.add_new(0x00283006, vr, data + b"\0" * (len(data) % 2))
    return Sequence([item])


def plane(
    ds: Dataset, bitmap: Any, group: int = 0x6000, *, kind: str = "G", vr: str = "OW", big: bool = False, **at: Any
) -> Dataset:
    """Adds an overlay plane of 0 and 1, (rows, columns) or (frames, rows, columns); ``big`` endian words."""
    bits = np.asarray(bitmap, np.uint8)
    tag = group << 16
    ds.add_new(tag | 0x0010, "US", bits.shape[-2])
    ds.add_new(tag | 0x0011, "US", bits.shape[-1])
    ds.add_new(tag | 0x0040, "CS", kind)
    ds.add_new(tag | 0x0050, "SS", at.get("origin", [1, 1]))
    if "frames" in at:
        ds.add_new(tag | 0x0015, "IS", at["frames"])
    if "first_frame" in at:
        ds.add_new(tag | 0x0051, "US", at["first_frame"])
    ds.add_new(tag | 0x0100, "US", 1)
    ds.add_new(tag | 0x0102, "US", 0)
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    data += b"\0" * (len(data) % 2)
    if big:
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    ds.add_new(tag | 0x3000, vr, data)
    return ds


def dot(row: int = 4, column: int = 5, shape: tuple[int, int] = (8, 10)) -> NDArray[np.uint8]:
    """A bitmap with one pixel set."""
    bitmap = np.zeros(shape, np.uint8)
    bitmap[row, column] = 1
    return bitmap
