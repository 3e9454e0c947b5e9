"""The walk through root, month and patient folders: what is found, in which order, and what is left out and why."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from domain.outcome_codes import ignored_words
from errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError
from models import IgnoredFile, MisplacedFile, ScanEvent, SkippedFolder, SourceFile, display_path
from source import (
    SourceKind,
    TreeRules,
    check_present,
    count,
    overlaps,
    resolve_source,
    revisit,
    walk,
)

Tree = Mapping[str, Any]
PLAIN = TreeRules()
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names or special files")


def grow(folder: Path, tree: Tree) -> Path:
    """Make folders from mappings and lists of file names; a file holds its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, below in tree.items():
        if isinstance(below, Mapping):
            grow(folder / name, below)
        else:
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file in below:
                (folder / name / file).write_text(file)
    return folder


def events(source: Path | str, rules: TreeRules = PLAIN) -> list[ScanEvent]:
    return list(walk(resolve_source(str(source), rules), rules))


def files(source: Path, rules: TreeRules = PLAIN) -> list[str]:
    """Relative paths of the source files, as walked."""
    return [os.path.relpath(e.path, source) for e in events(source, rules) if isinstance(e, SourceFile)]


def ignored(source: Path, rules: TreeRules = PLAIN) -> dict[str, str]:
    return {os.path.relpath(e.path, source): e.reason for e in events(source, rules) if isinstance(e, IgnoredFile)}


def skipped(source: Path, rules: TreeRules = PLAIN) -> dict[str, SkippedFolder]:
    return {os.path.relpath(e.path, source): e for e in events(source, rules) if isinstance(e, SkippedFolder)}


# --- the source ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "kind", "month"),
    [
        ("", SourceKind.ROOT, None),
        ("2024-01", SourceKind.MONTH, "2024-01"),
        ("2024-01/P001", SourceKind.PATIENT, "2024-01"),
        ("2024-01/P001/study", SourceKind.ROOT, None),
        ("2024-01/2024-02", SourceKind.MONTH, "2024-02"),
    ],
)
def test_a_source_is_classified_by_its_name_and_its_parents(
    tmp_path: Path, below: str, kind: SourceKind, month: str | None
) -> None:
    grow(tmp_path, {"2024-01": {"P001": {"study": []}, "2024-02": []}})
    source = resolve_source(str(tmp_path / below), PLAIN)
    assert (source.kind, source.month) == (kind, month)


def test_a_path_outside_the_roots_is_not_allowed_whether_or_not_it_exists(tmp_path: Path) -> None:
    grow(tmp_path, {"in": {"2024-01": []}, "out": []})
    rules = TreeRules(allowed_roots=(str(tmp_path / "in"),))
    for outside in ("out", "nowhere", "in/../out", "in/2024-01/../../nowhere", "inside"):
        with pytest.raises(SourceNotAllowedError):
            resolve_source(str(tmp_path / outside), rules)


def test_a_missing_path_under_a_root_is_not_found(tmp_path: Path) -> None:
    rules = TreeRules(allowed_roots=(str(tmp_path),))
    (tmp_path / "file.dcm").touch()
    for missing in ("2024-07", "file.dcm", "file.dcm/below"):
        with pytest.raises(SourceNotFoundError):
            resolve_source(str(tmp_path / missing), rules)


@pytest.mark.parametrize("path", ["", "  ", "/tmp/a\0b", "/tmp/\ud800"])
def test_a_path_that_no_file_system_knows_is_not_found(path: str) -> None:
    with pytest.raises(SourceNotFoundError):
        resolve_source(path, PLAIN)


@posix_only
def test_a_link_out_of_the_roots_is_no_way_round_them(tmp_path: Path) -> None:
    grow(tmp_path, {"in": {}, "out": {"2024-01": []}})
    (tmp_path / "in" / "2024-01").symlink_to(tmp_path / "out" / "2024-01")
    (tmp_path / "in" / "2024-01" / "P1").mkdir()
    rules = TreeRules(allowed_roots=(str(tmp_path / "in"),))
    for linked in ("in/2024-01", "in/2024-01/P1"):
        with pytest.raises(SourceNotAllowedError, match="经过一个链接") as refused:
            resolve_source(str(tmp_path / linked), rules)
        assert str(tmp_path / "out") not in refused.value.detail
    with pytest.raises(SourceNotAllowedError, match="只能导入") as refused:
        resolve_source(str(tmp_path / "out" / "2024-01"), rules)
    assert "链接" not in refused.value.detail


def test_the_services_own_folders_are_no_source(tmp_path: Path) -> None:
    grow(tmp_path, {"output": {"2024-01": []}})
    with pytest.raises(SourceNotAllowedError):
        resolve_source(str(tmp_path / "output" / "2024-01"), TreeRules(excluded=(str(tmp_path / "output"),)))


@posix_only
def test_the_source_is_reported_as_walked_and_not_resolved(tmp_path: Path) -> None:
    grow(tmp_path, {"real": {"2024-01": {"P001": ["a.dcm"]}}})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    source = resolve_source(str(tmp_path / "link" / "2024-01"), PLAIN)
    assert source.path == str(tmp_path / "link" / "2024-01")
    assert source.real_path == os.path.realpath(tmp_path / "real" / "2024-01")
    assert files(tmp_path / "link") == ["2024-01/P001/a.dcm"]


def test_overlapping_sources_are_equal_or_one_inside_the_other() -> None:
    assert overlaps("/a/b", "/a/b")
    assert overlaps("/a", "/a/b")
    assert overlaps("/a/b", "/a")
    assert overlaps("/", "/a")
    assert not overlaps("/a/b", "/a/bc")
    assert not overlaps("/a/b", "/a/c")


# --- links that are not followed ------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("below", ["", "2024-01", "2024-01/P001", "2024-01/P001/series/s1"])
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("{outside}/a.dcm", "symlink_outside_roots"),
        ("{outside}/2024-02", "symlink_outside_roots"),
        ("../" * 12 + "etc", "symlink_outside_roots"),
        ("{outside}/gone", "broken_symlink"),
        ("gone", "broken_symlink"),
        ("2024-02", "broken_symlink"),  # the link's own name: a loop
        ("{root}", "symlink_duplicate"),
        ("{root}/2024-01/P001/a.dcm", "symlink_duplicate"),
        ("{root}/2024-01/P001", "symlink_duplicate"),
    ],
)
def test_a_link_that_is_not_followed_has_its_row_at_each_level(
    tmp_path: Path, below: str, target: str, reason: str
) -> None:
    root = grow(tmp_path / "root", {"2024-01": {"P001": {"series": {"s1": []}}}})
    (root / "2024-01" / "P001" / "a.dcm").touch()
    outside = grow(tmp_path / "outside", {"2024-02": {"P002": ["x.dcm"]}})
    (outside / "a.dcm").touch()
    (root / below / "2024-02").symlink_to(target.format(root=root, outside=outside))
    rules = TreeRules(allowed_roots=(str(root),))

    assert ignored(root, rules) == {os.path.join(below, "2024-02"): reason}
    assert files(root, rules) == ["2024-01/P001/a.dcm"]
    missing = reason == "symlink_outside_roots" and not target.endswith("a.dcm")
    assert list(skipped(root, rules)) == ([os.path.join(below, "2024-02")] if missing else [])


@posix_only
def test_the_second_link_to_one_file_or_folder_has_its_row(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"2024-01": {"P001": ["a.dcm"]}})
    pool = grow(tmp_path / "pool", {"series": ["x.dcm"]})
    for name in ("1", "2", "3"):
        (root / "2024-01" / "P001" / f"folder{name}").symlink_to(pool / "series")
        (root / "2024-01" / "P001" / f"file{name}").symlink_to(pool / "series" / "x.dcm")
    found = events(root)
    assert len([e for e in found if isinstance(e, SourceFile)]) == 2  # a.dcm, and x.dcm once
    rows = ignored(root)
    assert set(rows.values()) == {"symlink_duplicate"}
    assert {"2024-01/P001/file2", "2024-01/P001/file3"} <= set(rows)


# --- floods of misfits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "misfit",
    ["{n:06d}", "2024-01-{n:03d}", "P{n}/2024-01", "{n:06d}.dcm", "._{n}", "2024-01/{n:06d}.dcm", "2024-01/._{n}"],
)
def test_a_flood_of_misfits_comes_after_the_months_but_for_the_first_hundred(tmp_path: Path, misfit: str) -> None:
    grow(tmp_path, {"2024-01": {"P001": ["a.dcm", "b.dcm"]}, "2024-02": {"P002": ["c.dcm"]}})
    for n in range(250):
        path = tmp_path / misfit.format(n=n)
        if path.name.endswith(".dcm") or path.name.startswith("._"):
            path.touch()
        else:
            path.mkdir(parents=True)

    found = events(tmp_path)

    good = [number for number, event in enumerate(found) if isinstance(event, SourceFile)]
    in_month = misfit.startswith("2024-01/")  # a month's own misfits hold up no patient of this month
    assert good == ([100, 101, 252] if in_month else [100, 101, 102])
    assert len(found) == 253
    assert sorted(e.source.path if isinstance(e, MisplacedFile) else e.path for e in found) == sorted(
        {e.source.path if isinstance(e, MisplacedFile) else e.path for e in found}
    )


def test_the_folders_of_a_flood_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(300):
        (tmp_path / f"{n:06d}" / "2024-01").mkdir(parents=True)
    opened = list[str]()
    scandir = os.scandir

    def counted(path: str) -> object:
        opened.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    found = events(tmp_path)
    assert len(found) == 300
    assert len(set(opened)) == 101
    assert {e.hint for e in found[:100] if isinstance(e, SkippedFolder)} == {
        "月份文件夹在它的下一级，请把 source_path 设为该文件夹。"
    }


# --- what is found -------------------------------------------------------------------------------------------------


def test_files_come_with_month_patient_size_and_time_in_stable_order(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-02": {"P2": ["b"]}, "2024-01": {"P10": ["z.dcm", "a"], "P1": {"series": {"s1": ["m.dcm"]}}}})
    grow(tmp_path, {"2024-01": {"P1": ["top.DCM"]}})
    found = events(tmp_path)
    assert files(tmp_path) == [
        "2024-01/P1/top.DCM",
        "2024-01/P1/series/s1/m.dcm",
        "2024-01/P10/a",
        "2024-01/P10/z.dcm",
        "2024-02/P2/b",
    ]
    deep = found[1]
    assert isinstance(deep, SourceFile)
    status = os.stat(deep.path)
    assert (deep.month, deep.patient_dir) == ("2024-01", "P1")
    assert (deep.size_bytes, deep.mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("below", ["2024-01", "2024-01/P1"])
def test_month_and_patient_folders_give_the_same_values_as_the_root(tmp_path: Path, below: str) -> None:
    grow(tmp_path, {"2024-01": {"P1": {"s": ["a.dcm"]}}})
    assert events(tmp_path / below) == events(tmp_path)


@pytest.mark.parametrize(
    ("name", "month_format", "month"),
    [
        ("202401", "%Y%m", "2024-01"),
        ("2024年01月", "%Y年%m月", "2024-01"),
        ("01-2024", "%m-%Y", "2024-01"),
        ("2024-01", "%Y%m", None),
        ("202401", "%Y-%m", None),
        ("2024-1", "%Y-%m", None),
        ("2024-13", "%Y-%m", None),
        ("2024-00", "%Y-%m", None),
        (" 2024-01", "%Y-%m", None),
        ("２０２４-01", "%Y-%m", None),
        ("2024-01-15", "%Y-%m", None),
    ],
)
def test_months_are_matched_strictly_and_told_in_one_form(
    tmp_path: Path, name: str, month_format: str, month: str | None
) -> None:
    grow(tmp_path, {name: {"P1": ["a.dcm"]}})
    found = events(tmp_path, TreeRules(month_folder_format=month_format))
    assert [e.month for e in found if isinstance(e, SourceFile)] == ([month] if month else [])
    assert [type(e) for e in found if not isinstance(e, SourceFile)] == ([] if month else [SkippedFolder])


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("202401", "MONTH_FOLDER_FORMAT=%Y%m"),
        ("2024.01", "MONTH_FOLDER_FORMAT=%Y.%m"),
        ("2024-1", "2024-01"),
        ("2024-13", "01 至 12"),
        ("P001", "患者"),
    ],
)
def test_the_hint_names_the_cure(tmp_path: Path, name: str, cure: str) -> None:
    grow(tmp_path, {name: ["a.dcm"]})
    (folder,) = skipped(tmp_path).values()
    assert cure in folder.hint
    assert "2024-01" in folder.reason


def test_a_source_one_level_too_high_is_told_where_the_months_are(tmp_path: Path) -> None:
    grow(tmp_path, {"archive": {"2024-01": {"P1": ["a.dcm"]}}})
    assert "source_path" in skipped(tmp_path)["archive"].hint


def test_files_in_root_and_month_folders_are_misplaced(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": {"P1": []}})
    (tmp_path / "lost.dcm").touch()
    (tmp_path / "2024-01" / "stray.dcm").touch()
    found = [e.source for e in events(tmp_path) if isinstance(e, MisplacedFile)]
    assert [(os.path.basename(f.path), f.month, f.patient_dir) for f in found] == [
        ("lost.dcm", "", ""),
        ("stray.dcm", "2024-01", ""),
    ]


def test_junk_is_ignored_by_name_everywhere(tmp_path: Path) -> None:
    junk = ["Thumbs.db", "desktop.ini", ".DS_Store", "._a.dcm", "DICOMDIR", ".a.dcm.swp", "~$report.doc", ".b~"]
    grow(tmp_path, {"2024-01": {"P1": [*junk, "a.dcm", ".hidden", "x~", "DICOMDIR.dcm"]}})
    (tmp_path / "Thumbs.db").touch()
    assert ignored(tmp_path) == {"Thumbs.db": "junk"} | {f"2024-01/P1/{name}": "junk" for name in junk}
    assert files(tmp_path) == [f"2024-01/P1/{name}" for name in (".hidden", "DICOMDIR.dcm", "a.dcm", "x~")]


def test_waste_bins_and_index_folders_are_ignored_and_make_nothing_partial(tmp_path: Path) -> None:
    month = {"P1": {"@eaDir": ["t.jpg"], "s": ["a.dcm"]}, "#recycle": []}
    grow(tmp_path, {"$RECYCLE.BIN": ["a.dcm"], "2024-01": month})
    assert files(tmp_path) == ["2024-01/P1/s/a.dcm"]
    assert set(ignored(tmp_path).values()) == {"system_folder"}
    assert skipped(tmp_path) == {}


def test_output_and_data_folders_are_never_walked(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": {"P1": ["a.dcm"], "jpg": ["b.dcm"]}, "data": ["c.dcm"]})
    rules = TreeRules(excluded=(str(tmp_path / "data"), str(tmp_path / "2024-01" / "jpg")))
    assert files(tmp_path, rules) == ["2024-01/P1/a.dcm"]
    assert len(events(tmp_path, rules)) == 1


def test_an_empty_month_yields_nothing(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": []})
    assert events(tmp_path) == []


@posix_only
def test_undecodable_and_chinese_names_survive_in_byte_order(tmp_path: Path) -> None:
    folder = grow(tmp_path, {"2024-01": {"王小东": []}}) / "2024-01" / "王小东"
    for name in (b"\xb2\xe2.dcm", "片.dcm".encode(), b"a.dcm"):
        with open(os.path.join(os.fsencode(folder), name), "wb"):
            pass
    found = [e for e in events(tmp_path) if isinstance(e, SourceFile)]
    assert [os.fsencode(os.path.basename(e.path)) for e in found] == [b"a.dcm", b"\xb2\xe2.dcm", "片.dcm".encode()]
    assert display_path(found[1].path).endswith("王小东/\\xb2\\xe2.dcm")
    assert all(e.patient_dir == "王小东" and os.path.exists(e.path) for e in found)


@posix_only
def test_fifos_sockets_and_devices_are_ignored_and_not_opened(tmp_path: Path) -> None:
    folder = grow(tmp_path, {"2024-01": {"P1": ["a.dcm"]}}) / "2024-01" / "P1"
    os.mkfifo(folder / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)  # a socket's path may have 107 bytes only
        server.bind("sock.dcm")
        os.chdir(tmp_path)
    (folder / "null.dcm").symlink_to("/dev/null")
    names = ("pipe.dcm", "sock.dcm", "null.dcm")
    assert ignored(tmp_path) == {f"2024-01/P1/{name}": "special_file" for name in names}


# --- links ---------------------------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("output", ["root/output", "output"])
def test_a_folder_link_into_a_folder_of_ours_is_not_to_be_allowed_but_deleted(tmp_path: Path, output: str) -> None:
    grow(tmp_path, {"root": {"2024-01": {"P1": ["a.dcm"]}}, "outside": {"P8": ["c.dcm"]}})
    root = tmp_path / "root"
    (tmp_path / output / "2024-01").mkdir(parents=True)
    (root / "2024-01" / "P7").symlink_to(tmp_path / output / "2024-01")
    (root / "2024-01" / "P6").symlink_to(tmp_path / output)
    (root / "2024-01" / "P8").symlink_to(tmp_path / "outside" / "P8")
    hints = {
        path: folder.hint
        for path, folder in skipped(
            root, TreeRules(allowed_roots=(str(root),), excluded=(str(tmp_path / output),))
        ).items()
    }
    assert hints == {
        "2024-01/P6": ignored_words("symlink_outside_roots").hint,
        "2024-01/P7": ignored_words("symlink_outside_roots").hint,
        "2024-01/P8": ignored_words("symlink_outside_roots").hint,
    }


@posix_only
def test_links_are_followed_only_to_targets_under_an_allowed_root(tmp_path: Path) -> None:
    grow(tmp_path, {"root": {"2024-01": {"P1": []}}, "second": {"P9": ["b.dcm"]}, "outside": {"P8": ["c.dcm"]}})
    root, month = tmp_path / "root", tmp_path / "root" / "2024-01"
    (month / "P9").symlink_to(tmp_path / "second" / "P9")
    (month / "P8").symlink_to(tmp_path / "outside" / "P8")
    (month / "P1" / "c.dcm").symlink_to(tmp_path / "outside" / "P8" / "c.dcm")
    (month / "P1" / "gone.dcm").symlink_to(tmp_path / "second" / "gone.dcm")
    rules = TreeRules(allowed_roots=(str(root), str(tmp_path / "second")))
    assert files(root, rules) == ["2024-01/P9/b.dcm"]
    assert list(skipped(root, rules)) == ["2024-01/P8"]
    assert ignored(root, rules) == {
        "2024-01/P8": "symlink_outside_roots",
        "2024-01/P1/c.dcm": "symlink_outside_roots",
        "2024-01/P1/gone.dcm": "broken_symlink",
    }


@posix_only
def test_without_configured_roots_links_may_lead_anywhere(tmp_path: Path) -> None:
    grow(tmp_path, {"root": {"2024-01": {"P1": []}}, "outside": {"P8": ["c.dcm"]}})
    month = tmp_path / "root" / "2024-01"
    (month / "P8").symlink_to(tmp_path / "outside" / "P8")
    (month / "P1" / "c.dcm").symlink_to(tmp_path / "outside" / "P8" / "c.dcm")
    assert files(tmp_path / "root") == ["2024-01/P8/c.dcm"]
    assert ignored(tmp_path / "root") == {"2024-01/P1/c.dcm": "symlink_duplicate"}


@posix_only
def test_loops_of_links_end(tmp_path: Path) -> None:
    grow(tmp_path, {"beside": {"P9": ["b.dcm"]}})
    source = grow(tmp_path / "root", {"2024-01": {"P1": {"s": ["a.dcm"]}}})
    folder = source / "2024-01" / "P1"
    (folder / "s" / "up").symlink_to(folder)
    (folder / "root").symlink_to(source)
    (folder / "self").symlink_to(folder / "self")
    (folder / "above").symlink_to(tmp_path)
    (folder / "side").symlink_to(tmp_path / "beside")
    (tmp_path / "beside" / "back").symlink_to(tmp_path / "beside")
    (tmp_path / "beside" / "home").symlink_to(source)
    assert files(source) == ["2024-01/P1/s/a.dcm", "2024-01/P1/side/P9/b.dcm"]
    assert ignored(source)["2024-01/P1/above"] == "symlink_duplicate"
    assert ignored(source)["2024-01/P1/self"] == "broken_symlink"


@posix_only
def test_a_real_file_comes_once_and_by_its_own_place_first(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-02": {"P1": ["a.dcm"]}, "2024-01": {"P0": []}})
    (tmp_path / "2024-01" / "P1").symlink_to(tmp_path / "2024-02" / "P1")
    (tmp_path / "2024-01" / "P0" / "a.dcm").symlink_to(tmp_path / "2024-02" / "P1" / "a.dcm")
    assert files(tmp_path) == ["2024-02/P1/a.dcm"]
    assert set(ignored(tmp_path).values()) == {"symlink_duplicate"}


@posix_only
def test_of_several_links_into_a_pool_the_first_counts(tmp_path: Path) -> None:
    """The pool lies beside the months, so that only links lead there; parts of it are linked before the whole."""
    grow(tmp_path, {"pool": {"x": {"deep": ["d.dcm"]}}, "2024-01": {"A": [], "B": []}})
    grow(tmp_path, {"pool": {"x": ["e.dcm"]}})
    (tmp_path / "2024-01" / "A" / "1-file.dcm").symlink_to(tmp_path / "pool" / "x" / "e.dcm")
    (tmp_path / "2024-01" / "A" / "2-part").symlink_to(tmp_path / "pool" / "x" / "deep")
    (tmp_path / "2024-01" / "B" / "whole").symlink_to(tmp_path / "pool" / "x")
    (tmp_path / "2024-01" / "B" / "within").symlink_to(tmp_path / "pool" / "x" / "deep")
    assert files(tmp_path) == ["2024-01/A/1-file.dcm", "2024-01/A/2-part/d.dcm"]
    assert list(skipped(tmp_path)) == ["pool"]


@posix_only
def test_a_link_that_does_not_fit_hides_no_later_one(tmp_path: Path) -> None:
    grow(tmp_path, {"elsewhere": {"P1": ["a.dcm"]}, "root": {"2024-02": []}})
    (tmp_path / "root" / "1-latest").symlink_to(tmp_path / "elsewhere" / "P1")
    (tmp_path / "root" / "2024-02" / "P1").symlink_to(tmp_path / "elsewhere" / "P1")
    assert files(tmp_path / "root") == ["2024-02/P1/a.dcm"]


@posix_only
def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    folder = grow(tmp_path, {"2024-01": {"P1": ["a.dcm"]}}) / "2024-01" / "P1"
    os.link(folder / "a.dcm", folder / "b.dcm")
    assert files(tmp_path) == ["2024-01/P1/a.dcm", "2024-01/P1/b.dcm"]


# --- trouble -------------------------------------------------------------------------------------------------------


def test_an_unreadable_folder_is_told(tmp_path: Path) -> None:
    folder = grow(tmp_path, {"2024-01": {"P1": ["a.dcm"], "P2": ["b.dcm"]}}) / "2024-01" / "P1"
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("this account reads everything")
        assert "权限" in skipped(tmp_path)["2024-01/P1"].reason
        assert files(tmp_path) == ["2024-01/P2/b.dcm"]
    finally:
        folder.chmod(0o700)


def test_a_folder_removed_in_mid_walk_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": {"P1": ["a.dcm"], "P2": ["b.dcm"], "P3": ["c.dcm"]}})
    found = walk(resolve_source(str(tmp_path), PLAIN), PLAIN)
    first = next(found)
    shutil.rmtree(tmp_path / "2024-01" / "P2")
    rest = list(found)
    assert isinstance(first, SourceFile)
    assert [type(e) for e in rest] == [SkippedFolder, SourceFile]


def _walk_begun(source: Path) -> Iterator[ScanEvent]:
    found = walk(resolve_source(str(source), PLAIN), PLAIN)
    next(found)
    return found


def test_a_source_that_vanishes_in_mid_walk_is_no_end_of_the_walk(tmp_path: Path) -> None:
    source = grow(tmp_path / "share", {"2024-01": {"P1": ["a.dcm"], "P2": ["b.dcm"]}})
    found = _walk_begun(source)
    source.rename(tmp_path / "gone")
    with pytest.raises(SourceVanishedError):
        list(found)


def test_an_empty_mount_point_in_its_place_counts_as_vanished(tmp_path: Path) -> None:
    source = grow(tmp_path / "share", {"2024-01": {"P1": ["a.dcm"], "P2": ["b.dcm"]}})
    resolved = resolve_source(str(source), PLAIN)
    found = _walk_begun(source)
    check_present(resolved)
    source.rename(tmp_path / "gone")
    source.mkdir()
    with pytest.raises(SourceVanishedError):
        list(found)
    with pytest.raises(SourceVanishedError):
        check_present(resolved)


def test_a_file_that_goes_between_listing_and_looking_is_told(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": {"P1": ["a.dcm", "b.dcm"]}})
    found = walk(resolve_source(str(tmp_path), PLAIN), PLAIN)
    next(found)
    (tmp_path / "2024-01" / "P1" / "b.dcm").unlink()
    assert [e.reason for e in found if isinstance(e, IgnoredFile)] == ["vanished"]


def test_a_deep_tree_needs_no_recursion(tmp_path: Path) -> None:
    folder = tmp_path / "2024-01" / "P1"
    for _ in range(300):
        folder /= "d"
    folder.mkdir(parents=True)
    (folder / "a.dcm").touch()
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = events(tmp_path)
    finally:
        sys.setrecursionlimit(usual)
    assert [type(event) for event in found] == [SourceFile]


@posix_only
def test_a_path_longer_than_the_system_takes_is_told(tmp_path: Path) -> None:
    handle = os.open(grow(tmp_path, {"2024-01": {"P1": ["a.dcm"]}}) / "2024-01" / "P1", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=handle)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    found = events(tmp_path)
    assert isinstance(found[0], SourceFile)
    assert isinstance(found[-1], SkippedFolder)
    assert "ENAMETOOLONG" in found[-1].reason


def test_memory_does_not_grow_with_the_number_of_folders(tmp_path: Path) -> None:
    for patient in range(60):
        grow(tmp_path, {"2024-01": {f"P{patient:03d}": [f"{n}.dcm" for n in range(20)]}})
    found = walk(resolve_source(str(tmp_path), PLAIN), PLAIN)
    tracemalloc.start()
    try:
        for _ in range(100):
            next(found)
        tracemalloc.reset_peak()
        early = tracemalloc.get_traced_memory()[0]
        left = sum(1 for _ in found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert left == 1_100
    assert peak - early < 40_000


# --- counting ahead and coming back --------------------------------------------------------------------------------


def test_the_quick_count_agrees_with_the_walk_and_stops_when_told(tmp_path: Path) -> None:
    grow(tmp_path, {"2024-01": {"P1": ["a.dcm", "Thumbs.db"], "P2": ["b.dcm", "c.dcm"]}, "P3": ["x.dcm"]})
    (tmp_path / "2024-01" / "stray").touch()
    source = resolve_source(str(tmp_path), PLAIN)
    *_, total = count(source, PLAIN, lambda: False)
    assert total == sum(isinstance(e, SourceFile | MisplacedFile) for e in events(tmp_path)) == 4
    assert len(list(count(source, PLAIN, lambda: True))) == 1


@pytest.mark.parametrize("below", ["", "2024-01", "2024-01/P1"])
def test_a_file_visited_again_is_what_the_walk_yielded(tmp_path: Path, below: str) -> None:
    grow(tmp_path, {"2024-01": {"P1": {"s": ["a.dcm"]}}})
    grow(tmp_path, {"2024-01": {"P1": ["b.dcm"]}})
    (tmp_path / "2024-01" / "stray.dcm").touch()
    (tmp_path / "lost.dcm").touch()
    source = resolve_source(str(tmp_path / below), PLAIN)
    found = [e for e in walk(source, PLAIN) if isinstance(e, SourceFile | MisplacedFile)]
    paths = [e.path if isinstance(e, SourceFile) else e.source.path for e in found]
    assert [revisit(path, source, PLAIN) for path in paths] == found
    assert len(found) >= 2
