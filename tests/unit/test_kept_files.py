"""Where images are kept: no file system may let one image take the place of another."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from importing.images import kept_files
from importing.images.kept_files import has_exact_name, keep, kept_paths


class FoldingFileSystem:
    """``os`` as it is on a file system that keeps the case of names and ignores it, as NTFS, SMB and APFS do."""

    path = os.path
    O_CREAT, O_EXCL, O_WRONLY = os.O_CREAT, os.O_EXCL, os.O_WRONLY

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(os, name)
        return lambda path, *rest, **options: call(_stored(path), *rest, **options)

    def replace(self, source: str, target: str) -> None:
        os.replace(_stored(source), _stored(target))


def _stored(path: Any) -> Any:
    """The path of the entry that such a file system finds under this one; a descriptor as it is."""
    if isinstance(path, int):
        return path
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return path
    return os.path.join(folder, next((entry for entry in os.listdir(folder) if _key(entry) == _key(name)), name))


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@pytest.fixture(params=["case counts", "case ignored"])
def any_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "case ignored":
        monkeypatch.setattr(kept_files, "os", FoldingFileSystem())


def private(folder: Path, content: bytes) -> str:
    """A rendered image, as it waits for its upload."""
    path = folder / f"{content.hex()}.jpg"
    path.write_bytes(content)
    return str(path)


@pytest.mark.usefixtures("any_file_system")
@pytest.mark.parametrize(
    "names",
    [
        ("IM0000.jpg", "im0000.jpg"),
        ("A.jpg", "a.jpg", "A_.jpg"),
        ("straße.jpg", "STRASSE.jpg", "Strasse.jpg"),
        ("Käse.jpg", "KÄSE.jpg", "Ka\u0308se.jpg"),
        ("SERIES-0001.jpg", "Series-0001.jpg", "series-0001.jpg"),
        ("con.jpg", "CON.jpg"),
    ],
)
def test_each_name_keeps_its_own_image_whatever_the_file_system_takes_for_equal(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder = str(tmp_path / "2024-01" / "P001")
    contents = {name: name.encode() for name in names}
    for _ in range(2):  # a repeated step, and a later import, find each its own place again
        paths = {name: keep(private(tmp_path, content), folder, name) for name, content in contents.items()}
        assert {name: Path(path).read_bytes() for name, path in paths.items()} == contents
        assert all(paths[name] in kept_paths(folder, name) for name in names)
    assert len(os.listdir(folder)) == len(names)


@pytest.mark.usefixtures("any_file_system")
def test_what_is_uploaded_is_untouched_by_what_is_kept_later(tmp_path: Path) -> None:
    first, second = private(tmp_path, b"frontal"), private(tmp_path, b"lateral")
    keep(first, str(tmp_path / "kept"), "IM0000.jpg")
    keep(second, str(tmp_path / "kept"), "im0000.jpg")
    keep(second, str(tmp_path / "kept"), "IM0000.jpg")
    Path(tmp_path / "kept" / "IM0000.jpg").write_bytes(b"")  # by another program, in place
    assert Path(first).read_bytes() == b"frontal"
    assert Path(second).read_bytes() == b"lateral"


def test_an_image_of_the_same_name_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    old, new = private(tmp_path, b"old window"), private(tmp_path, b"new window")
    before = keep(old, str(tmp_path / "kept"), "a.jpg")
    after = keep(new, str(tmp_path / "kept"), "a.jpg")
    assert (before, Path(after).read_bytes()) == (after, b"new window")
    assert os.listdir(tmp_path / "kept") == ["a.jpg"]
    assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(old), os.path.basename(new), "kept"])


def test_a_missing_image_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        keep(str(tmp_path / "gone.jpg"), str(tmp_path / "kept"), "a.jpg")
    assert os.listdir(tmp_path / "kept") == []


def test_a_name_is_exact_in_either_normal_form(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "Käse.jpg")).touch()
    assert has_exact_name(str(tmp_path / unicodedata.normalize("NFC", "Käse.jpg")))
    assert not has_exact_name(str(tmp_path / "käse.jpg"))
