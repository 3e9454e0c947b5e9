"""What tells an image's content in XieHe's object storage (C3, C4): the MD5 of its parts' MD5s, and their number."""

from __future__ import annotations

import hashlib

from domain.regular_files import only_regular

PART_BYTES = 8 << 20


def file_etag(path: str) -> str:
    """The ``storage_etag`` of an image with exactly this file's content. Raises OSError, also for a link."""
    parts = bytearray()
    with open(path, "rb", opener=only_regular) as file:
        while part := file.read(PART_BYTES):
            parts += hashlib.md5(part, usedforsecurity=False).digest()
    digest = hashlib.md5(parts, usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(parts) // digest.digest_size}"


def equal_content(first: str | None, second: str | None) -> bool | None:
    """Whether two images have one content; None if that cannot be said.

    Etags of different numbers of parts cannot be compared. XieHe's exchange of a content leaves one without a number.
    """
    if first is None or second is None or first.partition("-")[2] != second.partition("-")[2]:
        return None
    return first == second
