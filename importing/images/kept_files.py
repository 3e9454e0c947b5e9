"""Keeps images in OUTPUT_DIR, each under a name that no other image has there.

The file system decides which names are equal: on Windows and SMB ``IM0000.jpg`` and ``im0000.jpg`` are one file.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
import uuid

from domain.regular_files import only_regular
from importing.naming.stored_names import marked_local_name, safe_local_name

_PIECE_BYTES = 1 << 20


def kept_paths(folder: str, stored_name: str) -> tuple[str, str]:
    """The two paths of a kept image: its own name, and that name marked with its digest.

    The second is used if the file system takes the name for that of another image.
    """
    return os.path.join(folder, safe_local_name(stored_name)), os.path.join(folder, marked_local_name(stored_name))


def keep(private: str, folder: str, stored_name: str) -> str:
    """Copies an image into ``folder``, which is private to the service's account; returns its path there.

    ``private`` stays unchanged, so that an upload reads what was rendered. The copy replaces an image of exactly this
    stored name, never one of another name. Safe to repeat.

    Raises:
        FileNotFoundError: ``private`` is missing.
        OSError: ``private`` is no regular file, or a link to one.
        OSError: the folder cannot be written.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    plain, marked = kept_paths(folder, stored_name)
    copy = f"{private}.{uuid.uuid4().hex}"
    with open(private, "rb", opener=only_regular) as source, open(copy, "xb") as target:
        shutil.copyfileobj(source, target, _PIECE_BYTES)
    path = plain if _reserve(plain) else marked
    os.replace(copy, path)
    return path


def has_exact_name(path: str) -> bool:
    """Whether the folder lists this very name; a file system that ignores case also finds others under it."""
    name = unicodedata.normalize("NFC", os.path.basename(path))
    return any(unicodedata.normalize("NFC", listed) == name for listed in os.listdir(os.path.dirname(path)))


def _reserve(path: str) -> bool:
    """False if the name belongs to another image. Only the file system can say so without a race."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return has_exact_name(path)
    return True
