"""What decides how an image looks: version and code of this service, of Python, and of the decoders."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from domain.version import VERSION

_ROOT = Path(__file__).resolve().parents[2]
_CODE = (
    "dicom_processor.py",
    "domain/*.py",
    "models.py",
    "errors.py",
    "dicom/**/*.py",
    "dicom/**/*.toml",
    "render/**/*.py",
)
_PACKAGES = ("pydicom", "numpy", "Pillow", "imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle")
_WORDS = {"service": "服务版本", "code": "程序代码", "python": "Python 版本"}


@cache
def stamp() -> Mapping[str, str]:
    """Name and value of each thing that has to be equal. Other versions call it, so its form never changes."""
    packages = {name: _version_of(name) for name in _PACKAGES}
    return {"service": VERSION, "code": _digest(), "python": ".".join(platform.python_version_tuple()[:2]), **packages}


def difference(theirs: Mapping[str, str]) -> str:
    """How a worker's stamp differs from ours, for an operator; empty if it does not."""
    return "、".join(
        f"{_WORDS.get(name, name)}不同（此处 {ours}，该 worker {theirs.get(name, '无')}）"
        for name, ours in stamp().items()
        if theirs.get(name) != ours
    )


def _digest() -> str:
    """A digest of the sources without the line ends of Windows."""
    total = hashlib.sha256()
    for path in _sources():
        total.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    for pattern in _CODE:
        yield from sorted(path for path in _ROOT.glob(pattern) if path.is_file())


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "未安装"
