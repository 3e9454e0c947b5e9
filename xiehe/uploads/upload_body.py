"""The file to be uploaded: checked before anything is sent, read in pieces, framed for a multipart form."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass

from domain.content_etag import file_etag
from domain.descriptors import check_descriptors
from domain.regular_files import only_regular, regular_size
from errors import UnreadableFileError, UploadRejectedError
from models import UploadRequest, display_path

MAX_NAME_BYTES = 239
_PIECE_BYTES = 1 << 20
"""Each piece has the write time-out to itself, so that a slow network is no fault."""


@dataclass(frozen=True, slots=True)
class UploadImage:
    """A file on disk and its size when the upload began."""

    path: str
    size_bytes: int

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes.

        Raises:
            UnreadableFileError: gone, changed in size, or refused by the operating system.
        """
        data = await asyncio.to_thread(_read, self.path, offset, length)
        if len(data) != length:
            raise UnreadableFileError(f"上传时图像文件变短了：{display_path(self.path)}")
        return data

    async def pieces(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """These bytes, a megabyte at a time. Raises as :meth:`read`."""
        for offset in range(begin, end, _PIECE_BYTES):
            yield await self.read(offset, min(_PIECE_BYTES, end - offset))


def checked_image(request: UploadRequest) -> UploadImage:
    """Checks the request and takes the file's size.

    Raises:
        UploadRejectedError: a name that XieHe cannot store as it is, or an empty file.
        UnreadableFileError: no such file, or no regular one.
    """
    _check_name(request.stored_name)
    try:
        size_bytes = regular_size(request.path)
    except OSError as error:
        raise _unreadable(request.path, error) from error
    if size_bytes == 0:
        raise UploadRejectedError(f"图像文件为空，XieHe 不接受：{display_path(request.path)}")
    return UploadImage(request.path, size_bytes)


def storage_etag(path: str) -> str:
    """As :func:`domain.content_etag.file_etag`, but raises UnreadableFileError."""
    try:
        return file_etag(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_name(name: str) -> None:
    """A bare name (C1/C2 honour ``../``), storable by the narrowest contract."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError as error:
        raise UploadRejectedError(f"上传文件名不是有效的 Unicode：{display_path(name)}") from error
    if name in ("", ".", "..") or any(c in "/\\" or unicodedata.category(c) == "Cc" for c in name):
        raise UploadRejectedError(f"上传文件名为空，或含有路径分隔符或控制字符：{display_path(name)}")
    if size_bytes > MAX_NAME_BYTES:
        raise UploadRejectedError(f"上传文件名有 {size_bytes} 字节，XieHe 最多允许 {MAX_NAME_BYTES} 字节")


def _read(path: str, offset: int, length: int) -> bytes:
    try:
        with open(path, "rb", opener=only_regular) as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> UnreadableFileError:
    check_descriptors(error)
    return UnreadableFileError(f"无法读取待上传的图像文件（{type(error).__name__}）：{display_path(path)}")


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart/form-data body (RFC 7578) around one file, of known length.

    The file's name is sent as raw UTF-8 with ``"`` as ``\\"``, which the server's parser reads byte for byte. It does
    not read httpx's ``%22``.
    """

    image: UploadImage
    head: bytes
    tail: bytes
    boundary: str

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type and Content-Length (so that the body is not sent chunked)."""
        length = len(self.head) + self.image.size_bytes + len(self.tail)
        return {"Content-Type": f"multipart/form-data; boundary={self.boundary}", "Content-Length": str(length)}

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes to send; may be called once for each attempt."""
        yield self.head
        async for piece in self.image.pieces(0, self.image.size_bytes):
            yield piece
        yield self.tail


def form_of(image: UploadImage, request: UploadRequest, fields: dict[str, str]) -> Form:
    """Frames the image under its stored name, after the plain fields."""
    boundary = secrets.token_hex(16)
    part = f"--{boundary}\r\nContent-Disposition: form-data; "
    plain = "".join(f'{part}name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    quoted = request.stored_name.replace('"', '\\"')
    file_head = f'{part}name="file"; filename="{quoted}"\r\nContent-Type: {request.mime_type}\r\n\r\n'
    return Form(image, (plain + file_head).encode(), f"\r\n--{boundary}--\r\n".encode(), boundary)
