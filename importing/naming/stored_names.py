"""Names of images in XieHe and on this machine's disk. Pure.

The stem of a name is the source file's name without a DICOM extension. Equal names of different instances get a suffix
that is derived from the SOP Instance UID. So do names that XieHe cannot hold, after they were made safe.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

DICOM_EXTENSIONS = (".dcm", ".dicom", ".dic", ".ima")
IMAGE_EXTENSIONS = (".jpg", ".png")
MAX_NAME_BYTES = 239
"""XieHe C1/C2 fail above this many bytes of UTF-8."""
MAX_FOLDER_BYTES = 120
SUFFIX_DIGITS = (8, 16)
"""Hex digits of the suffix; the longer one if another instance has the shorter."""
BYTES_HASH = "sha256:"
"""How the instance of a file without SOP Instance UID begins."""

_BODY_BYTES = MAX_NAME_BYTES - len("_0123456789abcdef-0000000.jpg")
_FORMERLY_UNSAFE = re.compile(r'[/\\"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
"""What was replaced up to version 0.3.0."""
_UNSAFE_REMOTE = re.compile(rf"{_FORMERLY_UNSAFE.pattern}|[^\S ]")
"""Also white space other than the plain space: XieHe's storage and its client fold it differently when they sign."""
_UNSAFE_LOCAL = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def stem_of(filename: str) -> str:
    """The name without ``.dcm .dicom .dic .ima`` in any case; ``1.2.840.5.55`` keeps its last component."""
    stem = filename.rpartition(".")[0]
    return stem if stem and named_dicom(filename) else filename


def named_dicom(filename: str) -> bool:
    """True if the extension is one of DICOM."""
    return filename.lower().endswith(DICOM_EXTENSIONS)


def named_image(filename: str, extensions: Collection[str]) -> bool:
    """True if the extension is one of IMAGE_EXTENSIONS (``png``, without the dot)."""
    stem, _, extension = filename.rpartition(".")
    return bool(stem) and extension.lower() in extensions


def name_key(stored_name: str) -> str:
    """What counts for duplicates: the stored name without the extension of our output format."""
    return stored_name[: -len(".jpg")] if stored_name.endswith(IMAGE_EXTENSIONS) else stored_name


@dataclass(frozen=True, slots=True)
class NameChoices:
    """The names one file may be stored under, in the order in which they are tried.

    Attributes:
        plain: name keys, one per frame, without a suffix; None if the stem itself cannot be stored.
        suffixed: name keys, one per frame, for each length of suffix.
        former: name keys that are never newly given, but under which XieHe or the index may have the file.
        synced: by name key, stored names that count as that name.
    """

    plain: tuple[str, ...] | None
    suffixed: tuple[tuple[str, ...], ...]
    former: tuple[tuple[str, ...], ...] = ()
    synced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ordered(self) -> tuple[tuple[str, ...], ...]:
        """All choices for a new image, the preferred first."""
        return self.suffixed if self.plain is None else (self.plain, *self.suffixed)


def name_choices(filename: str, instance: str, frames: int) -> NameChoices:
    """The names for a source file.

    Args:
        filename: the source file's own name; may hold surrogates for bytes that are not UTF-8.
        instance: SOP Instance UID, or ``sha256:<hex>`` of the file's bytes if it has none.
        frames: number of frames; several get ``-0001`` ... behind the suffix.
    """
    stem = stem_of(filename)
    plain = _framed(stem, frames)
    storable, formerly = _storable(stem, _UNSAFE_REMOTE), _storable(stem, _FORMERLY_UNSAFE)
    is_hash = instance.startswith(BYTES_HASH)
    digest = instance.removeprefix(BYTES_HASH) if is_hash else hashlib.sha256(instance.encode()).hexdigest()
    suffixed = _suffixed(storable, digest, frames)
    synced = {stem: synced_names(filename)} if frames == 1 else {}
    if storable == stem and not any(map(_too_long, plain)):
        return NameChoices(plain, suffixed, synced=synced)
    former = () if formerly == storable else _suffixed(formerly, digest, frames)
    return NameChoices(None, suffixed, (plain, *former), synced)


def synced_names(filename: str) -> tuple[str, ...]:
    """Names under which XieHe's sync page may have stored a file's only image: they keep the DICOM extension."""
    return tuple(filename + extension for extension in IMAGE_EXTENSIONS)


def safe_local_name(text: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """A single path component for any common file system; different texts give different names.

    Unchanged if it is safe; otherwise made safe and marked with a hash. Never ``.`` or ``..``, a Windows device name,
    hidden, or longer than ``limit_bytes`` in UTF-8.
    """
    safe = _safe_component(text)
    return safe if safe == text and len(safe.encode()) <= limit_bytes else marked_local_name(text, limit_bytes)


def marked_local_name(text: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """As :func:`safe_local_name`, and always marked with the hash: distinct also if a file system ignores case."""
    safe = _safe_component(text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, extension = safe.rpartition(".")
    ending = dot + extension if dot and len(extension) <= 4 else ""
    body = stem if ending else safe
    return _cut(body, limit_bytes - 9 - len(ending.encode())) + "_" + digest + ending


def _suffixed(storable: str, digest: str, frames: int) -> tuple[tuple[str, ...], ...]:
    body = _cut(storable, _BODY_BYTES)
    return tuple(_framed(f"{body}_{digest[:digits]}", frames) for digits in SUFFIX_DIGITS)


def _safe_component(text: str) -> str:
    """Without what a file system rejects or reinterprets; different texts may give equal names."""
    safe = _UNSAFE_LOCAL.sub("_", unicodedata.normalize("NFC", text)).rstrip(" .").lstrip(" ") or "_"
    return "_" + safe if safe.startswith(".") or _DEVICE_NAME.fullmatch(safe) else safe


def _storable(stem: str, unsafe: re.Pattern[str]) -> str:
    safe = unsafe.sub("_", stem)
    return _cut(safe or "_", _BODY_BYTES) if _too_long(safe) or safe != stem else safe


def _too_long(stem: str) -> bool:
    return len((stem + ".jpg").encode()) > MAX_NAME_BYTES


def _framed(stem: str, frames: int) -> tuple[str, ...]:
    if frames == 1:
        return (stem,)
    return tuple(f"{stem}-{number:04d}" for number in range(1, frames + 1))


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode()[:limit_bytes].decode("utf-8", "ignore")
