"""The ``storage_etag`` of XieHe's object storage (C3, C4): MD5 of the parts' MD5s, and the number of parts."""

from __future__ import annotations

import hashlib

from domain.regular_files import only_regular

PART_BYTES = 8 << 20


def file_etag(path: str) -> str:
    """The etag of an image with exactly this file's content. Raises OSError, also for a link."""
    parts = bytearray()
    with open(path, "rb", opener=only_regular) as file:
        while part := file.read(PART_BYTES):
            parts += hashlib.md5(part, usedforsecurity=False).digest()
    digest = hashlib.md5(parts, usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(parts) // digest.digest_size}"


def equal_content(first: str | None, second: str | None) -> bool | None:
    """Whether two etags mean the same content; None for unequal numbers of parts, which cannot be compared."""
    if first is None or second is None or first.partition("-")[2] != second.partition("-")[2]:
        return None
    return first == second
