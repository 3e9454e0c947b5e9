"""What a picture is called: in XieHe, and on this machine's disk. Strings only; touches no file.

The rules are those of "Names and duplicates" in the project's semantics: the stem is the file's name without a DICOM
extension and nothing else; equal names of different instances are told apart by a suffix derived from the SOP Instance
UID; names that XieHe or a file system cannot hold are made safe and then carry that suffix too.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

DICOM_EXTENSIONS = (".dcm", ".dicom", ".dic", ".ima")
PICTURE_EXTENSIONS = (".jpg", ".png")
MAX_NAME_BYTES = 239
"""XieHe C1/C2 fail above this many bytes of UTF-8; the newer contracts allow more, one limit serves all."""
MAX_FOLDER_BYTES = 120
SUFFIX_DIGITS = (8, 16)
"""Hex digits of the suffix; the second length only where eight digits are taken by another instance."""

BYTES_HASH = "sha256:"
"""How the instance of a file without SOP Instance UID begins."""

_ROOM_FOR_ENDINGS = len("_0123456789abcdef-0000000.jpg")
_FORMERLY_UNSAFE = re.compile(r'[/\\"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
"""What was replaced up to version 0.3.0."""
_UNSAFE_REMOTE = re.compile(rf"{_FORMERLY_UNSAFE.pattern}|[^\S ]")
"""Also all white space beside the plain space: XieHe's storage and its client fold it differently when they sign."""
_UNSAFE_LOCAL = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def stem_of(filename: str) -> str:
    """The name without ``.dcm .dicom .dic .ima`` in any case; ``1.2.840.5.55`` keeps its last component."""
    lower = filename.lower()
    for extension in DICOM_EXTENSIONS:
        if lower.endswith(extension) and len(filename) > len(extension):
            return filename[: -len(extension)]
    return filename


def named_dicom(filename: str) -> bool:
    """True where the name claims DICOM content."""
    return filename.lower().endswith(DICOM_EXTENSIONS)


def named_image(filename: str, extensions: Collection[str]) -> bool:
    """True where the name ends as one of IMAGE_EXTENSIONS (``png``, without the dot)."""
    stem, _, extension = filename.rpartition(".")
    return bool(stem) and extension.lower() in extensions


def name_key(stored_name: str) -> str:
    """What counts for duplicates: the stored name without the extension of our output format."""
    for extension in PICTURE_EXTENSIONS:
        if stored_name.endswith(extension):
            return stored_name[: -len(extension)]
    return stored_name


@dataclass(frozen=True, slots=True)
class NameChoices:
    """The names one file may be stored under, in the order in which they are tried.

    Attributes:
        plain: name keys, one per frame, without a suffix; None where the stem itself cannot be stored.
        suffixed: name keys, one per frame, for each length of suffix.
        former: where there is no plain name: name keys that are never newly given, but under which XieHe or the index
            may have the file: the stem as it is, and the suffixed names of version 0.3.0.
        synced: by name key, stored names that count as that name.
    """

    plain: tuple[str, ...] | None
    suffixed: tuple[tuple[str, ...], ...]
    former: tuple[tuple[str, ...], ...] = ()
    synced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ordered(self) -> tuple[tuple[str, ...], ...]:
        """All choices, the preferred first."""
        return self.suffixed if self.plain is None else (self.plain, *self.suffixed)


def name_choices(filename: str, instance: str, frames: int) -> NameChoices:
    """The names for a source file.

    Args:
        filename: the source file's own name; may hold surrogates for bytes that are not UTF-8.
        instance: SOP Instance UID, or ``sha256:<hex>`` of the file's bytes where it has none.
        frames: number of frames; several get ``-0001`` ... behind the suffix.
    """
    stem = stem_of(filename)
    plain, storable, formerly = (
        _framed(stem, frames),
        _storable(stem, _UNSAFE_REMOTE),
        _storable(stem, _FORMERLY_UNSAFE),
    )
    digest = instance.removeprefix(BYTES_HASH) if instance.startswith(BYTES_HASH) else _sha256(instance)
    suffixed = _suffixed(storable, digest, frames)
    synced = {stem: synced_names(filename)} if frames == 1 else {}
    if storable == stem and all(len((key + ".jpg").encode()) <= MAX_NAME_BYTES for key in plain):
        return NameChoices(plain, suffixed, synced=synced)
    former = () if formerly == storable else _suffixed(formerly, digest, frames)
    return NameChoices(None, suffixed, (plain, *former), synced)


def synced_names(filename: str) -> tuple[str, ...]:
    """Names beside ``<stem>.jpg`` under which XieHe may have a source file's only image: its sync page's keep all."""
    return tuple(filename + extension for extension in PICTURE_EXTENSIONS)


def _suffixed(storable: str, digest: str, frames: int) -> tuple[tuple[str, ...], ...]:
    body = _cut(storable, MAX_NAME_BYTES - _ROOM_FOR_ENDINGS)
    return tuple(_framed(f"{body}_{digest[:digits]}", frames) for digits in SUFFIX_DIGITS)


def safe_local_name(text: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """A single path component for any common file system; different texts give different names.

    Unchanged where it is safe; otherwise made safe and marked with eight hex digits of its own hash. The result never
    is ``.`` or ``..``, a Windows device name, hidden, or longer than ``limit_bytes`` in UTF-8.
    """
    safe = _safe_component(text)
    if safe == text and len(safe.encode()) <= limit_bytes:
        return safe
    return marked_local_name(text, limit_bytes)


def marked_local_name(text: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """As :func:`safe_local_name`, and always marked with the hash: distinct also if a file system ignores case."""
    safe = _safe_component(text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, extension = safe.rpartition(".")
    ending = dot + extension if dot and len(extension) <= 4 else ""
    body = stem if ending else safe
    return _cut(body, limit_bytes - 9 - len(ending.encode())) + "_" + digest + ending


def _safe_component(text: str) -> str:
    """Without what a file system does not take or takes for something else; different texts may give equal names."""
    safe = _UNSAFE_LOCAL.sub("_", unicodedata.normalize("NFC", text)).rstrip(" .").lstrip(" ") or "_"
    return "_" + safe if safe.startswith(".") or _DEVICE_NAME.fullmatch(safe) else safe


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _storable(stem: str, unsafe: re.Pattern[str]) -> str:
    safe = unsafe.sub("_", stem)
    return _cut(safe or "_", MAX_NAME_BYTES - _ROOM_FOR_ENDINGS) if _too_long(safe) or safe != stem else safe


def _too_long(stem: str) -> bool:
    return len((stem + ".jpg").encode()) > MAX_NAME_BYTES


def _framed(stem: str, frames: int) -> tuple[str, ...]:
    if frames == 1:
        return (stem,)
    return tuple(f"{stem}-{number:04d}" for number in range(1, frames + 1))


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode()[:limit_bytes].decode("utf-8", "ignore")
