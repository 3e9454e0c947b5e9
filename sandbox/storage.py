"""Bytes on disk: one folder of named files (C1/C2), one bucket of objects with multipart uploads (C3/C4)."""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox.clock import Clock

BUCKET = "medical-images"
_PLAIN_SPACE = " "
_MAX_PATH_COMPONENT_BYTES = 255


class Storage:
    """Everything under the data folder. Paths handed out are relative to it, so that the folder can be moved."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._clock = clock
        self._root = str(data_dir)
        self._make_folders()

    def _make_folders(self) -> None:
        for folder in ("files/completed", "parts", "objects"):
            os.makedirs(self._full(folder), exist_ok=True)

    def _full(self, relative: str) -> str:
        return os.path.join(self._root, relative)

    def wipe(self) -> None:
        for folder in ("files", "parts", "objects"):
            shutil.rmtree(self._full(folder), ignore_errors=True)
        self._make_folders()

    def read(self, relative: str) -> bytes | None:
        """None when the bytes are lost."""
        try:
            with open(self._full(relative), "rb") as stored:
                return stored.read()
        except OSError:
            return None

    # C1/C2

    def named_path(self, filename: str) -> str:
        """File name plus a one-second timestamp, nothing else: equal names in one second share a path.

        The real backend honours `../` and absolute names. So does this one, as if the data folder's `files` were the
        root of the file system, which nothing can climb out of.
        """
        stem, extension = os.path.splitext(filename)
        stamped = f"{stem}_{time.strftime('%Y%m%d_%H%M%S', time.localtime(self._clock.now()))}{extension}"
        return "files" + posixpath.normpath(posixpath.join("/completed", stamped)).replace("//", "/")

    def write_named(self, relative: str, content: bytes) -> None:
        """OSError for a name too long (239 bytes plus the timestamp are a component's 255) or in no folder."""
        if len(posixpath.basename(relative).encode()) > _MAX_PATH_COMPONENT_BYTES:
            raise OSError("File name too long")
        with open(self._full(relative), "wb") as stored:
            stored.write(content)

    def remove(self, relative: str) -> None:
        """Gone already is fine."""
        try:
            os.unlink(self._full(relative))
        except OSError:
            return

    # C3/C4

    def write_part(self, upload_id: str, part_number: int, content: bytes) -> str:
        """Store a part, an earlier one of the same number is replaced. Answers its md5."""
        with open(self._full(f"parts/{upload_id}.{part_number}"), "wb") as stored:
            stored.write(content)
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    def join_parts(self, upload_id: str, file_uuid: str, numbers: Sequence[int]) -> None:
        """Make the object of its parts; the parts are gone afterwards."""
        first, *rest = [self._full(f"parts/{upload_id}.{number}") for number in numbers]
        for part in rest:
            with open(first, "ab") as whole, open(part, "rb") as piece:
                shutil.copyfileobj(piece, whole)
            os.unlink(part)
        os.replace(first, self._full(object_path(file_uuid)))

    def object_size(self, file_uuid: str) -> int:
        return os.stat(self._full(object_path(file_uuid))).st_size


def can_sign(filename: str) -> bool:
    """False for white space beside the plain space: the signing service and the storage fold it differently."""
    return not any(character.isspace() and character != _PLAIN_SPACE for character in filename)


def object_path(file_uuid: str) -> str:
    return f"objects/{file_uuid}"


def multipart_etag(part_md5s: Sequence[str]) -> str:
    """md5 of the parts' md5 digests, then the number of parts, as S3 and MinIO do it."""
    digests = b"".join(bytes.fromhex(md5) for md5 in part_md5s)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_md5s)}"
