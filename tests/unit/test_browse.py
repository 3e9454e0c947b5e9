"""Which folders are shown for choosing a source, in which order, and what they are said to be."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

import source.browsing
import source.layout
from errors import SourceNotAllowedError, SourceNotFoundError
from source import FolderKind, FolderListing, TreeRules, browse, resolve_source, walk

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs links, or names that Windows has not")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with months, a folder that holds months, one that holds none, a file, and a waste bin."""
    root = tmp_path / "dicom"
    for folder in ("2024-01/P2/series", "2024-01/P10", "2024-03", "2023-12", "old/2019-05", "notes", "$RECYCLE.BIN"):
        (root / folder).mkdir(parents=True)
    (root / "readme.txt").touch()
    return root


def rules(*roots: Path, excluded: tuple[str, ...] = ()) -> TreeRules:
    return TreeRules(allowed_roots=tuple(map(str, roots)), excluded=excluded)


def shown(listing: FolderListing) -> list[tuple[str, str, bool]]:
    return [(folder.name, folder.kind.value, folder.importable) for folder in listing.folders]


def test_it_begins_with_the_roots(root: Path, tmp_path: Path) -> None:
    gone = tmp_path / "unmounted"
    top = browse(None, rules(root, gone))
    assert (top.path, top.kind, top.parent, top.importable) == (None, FolderKind.ROOTS, None, False)
    assert top.roots == (str(root), str(gone))
    assert shown(top) == [(str(root), "root", True), (str(gone), "root", False)]


def test_a_root_shows_months_newest_first_then_the_rest_by_name(root: Path) -> None:
    level = browse(str(root), rules(root))
    assert (level.path, level.kind, level.parent, level.importable) == (str(root), FolderKind.ROOT, None, True)
    assert shown(level) == [
        ("2024-03", "month", True),
        ("2024-01", "month", True),
        ("2023-12", "month", True),
        ("notes", "folder", False),
        ("old", "root", True),
    ]


def test_patients_are_counted_as_people_count(root: Path) -> None:
    level = browse(str(root / "2024-01"), rules(root))
    assert (level.kind, level.parent, level.importable) == (FolderKind.MONTH, str(root), True)
    assert shown(level) == [("P2", "patient", True), ("P10", "patient", True)]


def test_below_a_patient_nothing_can_be_imported_by_itself(root: Path) -> None:
    patient = browse(str(root / "2024-01" / "P2"), rules(root))
    assert (patient.kind, shown(patient)) == (FolderKind.PATIENT, [("series", "folder", False)])
    series = browse(str(root / "2024-01" / "P2" / "series"), rules(root))
    assert (series.kind, series.importable, series.parent) == (FolderKind.FOLDER, False, str(root / "2024-01" / "P2"))


def test_other_spellings_of_months_are_known_by_the_setting(tmp_path: Path) -> None:
    for name in ("202401", "202312", "2024-01"):
        (tmp_path / name).mkdir()
    level = browse(str(tmp_path), TreeRules("%Y%m", allowed_roots=(str(tmp_path),)))
    assert shown(level) == [("202401", "month", True), ("202312", "month", True), ("2024-01", "folder", False)]


def test_what_lies_outside_is_refused_and_what_is_gone_is_not_found(root: Path, tmp_path: Path) -> None:
    for outside in (tmp_path, tmp_path / "nothing", root / ".."):
        with pytest.raises(SourceNotAllowedError):
            browse(str(outside), rules(root))
    for missing in (root / "nothing", root / "readme.txt"):
        with pytest.raises(SourceNotFoundError):
            browse(str(missing), rules(root))
    with pytest.raises(SourceNotFoundError):
        browse("a\0b", rules(root))


def test_own_folders_are_not_shown(root: Path) -> None:
    own = rules(root, excluded=(str(root / "notes"),))
    assert "notes" not in {folder.name for folder in browse(str(root), own).folders}
    with pytest.raises(SourceNotAllowedError):
        browse(str(root / "notes"), own)


@posix_only
def test_links_are_shown_where_an_import_would_follow_them(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "in").symlink_to(root / "old")
    (root / "own").symlink_to(root / "notes")
    (root / "circle").symlink_to(root / "circle")
    (root / "broken").symlink_to(root / "nothing")
    level = browse(str(root), rules(root, excluded=(str(root / "notes"),)))
    assert {folder.name for folder in level.folders} == {"2024-03", "2024-01", "2023-12", "old", "in"}
    assert browse(str(root / "in"), rules(root)).parent == str(root)


@posix_only
def test_names_that_are_no_text_are_shown_and_cannot_be_chosen(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/2024-01")
    os.mkdir(os.fsencode(tmp_path) + b"/2024-01/\xd0\xa1")
    os.mkdir(os.fsencode(tmp_path) + b"/2024-01/\xff")
    level = browse(str(tmp_path / "2024-01"), rules(tmp_path))
    assert sorted(shown(level)) == [("\\xff", "patient", False), ("С", "patient", True)]


@posix_only
def test_an_unreadable_folder_is_shown_and_cannot_be_chosen(root: Path) -> None:
    folder = root / "2024-01"
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("this account reads everything")
        assert ("2024-01", "month", False) in shown(browse(str(root), rules(root)))
        with pytest.raises(SourceNotFoundError, match="权限"):
            browse(str(folder), rules(root))
    finally:
        folder.chmod(0o700)


@posix_only
def test_without_roots_it_begins_where_the_file_system_does(root: Path) -> None:
    top = browse(None, TreeRules())
    assert (top.roots, shown(top)) == (("/",), [("/", "folder", False)])
    assert browse("/", TreeRules()).parent is None
    assert browse(str(root), TreeRules()).kind is FolderKind.ROOT
    assert browse(str(root), TreeRules()).parent == str(root.parent)


def test_no_more_than_two_thousand_folders_are_shown(tmp_path: Path) -> None:
    month = tmp_path / "2024-01"
    for number in range(2_001):
        (month / f"P{number}").mkdir(parents=True)
    level = browse(str(month), rules(tmp_path))
    assert (len(level.folders), level.truncated) == (2_000, True)
    assert [folder.name for folder in level.folders[:3]] == ["P0", "P1", "P2"]
    (month / "P7").rmdir()
    assert not browse(str(month), rules(tmp_path)).truncated


# --- 100,000 folders -------------------------------------------------------------------------------------------------


def test_numbers_in_names_count_by_value(tmp_path: Path) -> None:
    in_order = ["P", "P0", "P2", "P2a", "P10", "P10-2", "P10-11", "P10a", "P999", "P00001000", "Pa", "Q1"]
    for name in sorted(in_order, key=hash):
        (tmp_path / name).mkdir()
    assert [folder.name for folder in browse(str(tmp_path), rules(tmp_path)).folders] == in_order


def test_the_first_of_many_are_shown_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source.browsing, "FOLDERS_SHOWN", 5)
    for name in ("P7", "2023-11", "P1", "P20", "2024-01", "P3"):
        (tmp_path / name).mkdir()
    listing = browse(str(tmp_path), rules(tmp_path))
    assert ([folder.name for folder in listing.folders], listing.truncated) == (
        ["2024-01", "2023-11", "P1", "P3", "P7"],
        True,
    )
    (tmp_path / "P20").rmdir()
    assert not browse(str(tmp_path), rules(tmp_path)).truncated


@pytest.mark.parametrize("month_format", ["%Y-%m", "%Y%m", "%m-%Y", "%Y年%m月", "%Y.%m", "batch %Y %m"])
def test_no_date_is_parsed_for_names(tmp_path: Path, month_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    class Counting(datetime):
        @classmethod
        def strptime(cls, text: str, _: str) -> Counting:
            parsed.append(text)
            raise ValueError

    monkeypatch.setattr(source.layout, "datetime", Counting)
    names = ["P001", "20240", "2024-1", "2024-13", "00012345", "CT", "2024", "1-2024", "12-2024-x", "batch 2024 1"]
    for name in names:
        (tmp_path / name).mkdir()
    where = TreeRules(month_folder_format=month_format, allowed_roots=(str(tmp_path),))
    assert len(browse(str(tmp_path), where).folders) == len(names)
    assert len(list(walk(resolve_source(str(tmp_path), where), where))) == len(names)
    assert parsed == []


def test_other_threads_get_their_turn_while_many_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    for number in range(1_000):
        (tmp_path / f"P{number}").mkdir()
    assert len(browse(str(tmp_path), rules(tmp_path)).folders) == 1_000
    assert len(slept) >= 1_000 // 50
    assert all(seconds > 0 for seconds in slept)


@posix_only
def test_a_path_below_one_root_is_found_allowed_without_a_look_at_another(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    lstat = os.lstat

    def noting(path: str) -> os.stat_result:
        looked_at.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", noting)
    where = rules(tmp_path / "hangs", tmp_path / "also hangs", root)
    for path in (root, root / "2024-01", root / "2024-01" / "P2"):
        assert browse(str(path), where).path == str(path)
    assert looked_at
    assert not [path for path in looked_at if "hangs" in path]
