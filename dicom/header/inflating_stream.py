"""A deflated data set, inflated while it is read (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from errors import FileTooLargeError, NotDicomError, TruncatedFileError

_STEP_BYTES = 1 << 20
_KEPT_BYTES = 64
MAX_HEADER_BYTES = 64 << 20


class InflatingStream:
    """The part of a binary stream that pydicom and the pixel reader use, over raw deflated bytes.

    A seek backwards may follow ``read``, which MAX_HEADER_BYTES limits. From the first ``readinto`` on the stream only
    goes forward and keeps almost nothing, so a deflate bomb costs time, not memory.

    Raises (from every method that inflates):
        TruncatedFileError: the deflated bytes end early. NotDicomError: they are damaged.
        FileTooLargeError: the header exceeds the limit.
    """

    def __init__(self, deflated: BinaryIO) -> None:
        self._deflated = deflated
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        self._kept = bytearray()
        self._kept_from = 0
        self._position = 0
        self._forward_only = False

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (self._position if whence == 1 else 0)
        return self._position

    def read(self, count: int) -> bytes:
        if self._position + count > MAX_HEADER_BYTES:
            raise FileTooLargeError(f"解压（deflate）后的文件头超过上限 {MAX_HEADER_BYTES} 字节，已拒绝")
        self._inflate_to(self._position + count)
        start = self._position - self._kept_from
        data = bytes(self._kept[start : start + count])
        self._position += len(data)
        return data

    def readinto(self, view: memoryview) -> int:
        """Fills the beginning of ``view``; returns the number of bytes, 0 at the end."""
        self._forward_only = True
        wanted = min(len(view), _STEP_BYTES)
        self._inflate_to(self._position + wanted)
        start = self._position - self._kept_from
        data = self._kept[start : start + wanted]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _inflate_to(self, end: int) -> None:
        while self._kept_from + len(self._kept) < end and not self._decompressor.eof:
            data = self._decompressor.unconsumed_tail or self._deflated.read(_STEP_BYTES)
            if not data:
                raise TruncatedFileError("压缩（deflate）的数据集不完整：文件在中途结束，请重新获取该文件")
            self._forget()
            try:
                self._kept += self._decompressor.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise NotDicomError("压缩（deflate）的数据集已损坏，无法解压") from error

    def _forget(self) -> None:
        """Drops what was read, except a few bytes in which the next frame may begin."""
        if not self._forward_only:
            return
        behind = min(max(self._position - _KEPT_BYTES - self._kept_from, 0), len(self._kept))
        del self._kept[:behind]
        self._kept_from += behind
