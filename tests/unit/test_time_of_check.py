"""What is read is what was allowed: files and folders that are swapped after they were listed or checked."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from domain import regular_files
from domain.regular_files import OutsideError, check_within, only_within, scan_within
from errors import SourceVanishedError
from models import Area, IgnoredFile, ReadReply, ReadRequest, RenderOptions, ScanEvent, SkippedFolder, SourceFile
from source import TreeRules, month_folders, resolve_source, revisit, walk
from source.layout import holds_month
from tests.dicom_files import a_dicom_file, write_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need an administrator there")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two months of two patients; beside it ``outside`` of the same layout, with other files."""
    patients = {"P001": {"a.dcm": b"a", "b.dcm": b"b"}, "P002": {"a.dcm": b"a"}}
    write_tree(tmp_path / "outside", {"2024-01": {"P001": {"secret.dcm": b"s"}, "P002": {"secret.dcm": b"s"}}})
    return write_tree(tmp_path / "root", {"2024-01": patients, "2024-02": patients})


def swap(path: Path, target: Path) -> None:
    """The path becomes a link, as somebody else who may write there can make it."""
    path.rename(path.with_name(f".was-{path.name}"))
    path.symlink_to(target)


def texts(events: list[ScanEvent], folder: Path) -> list[str]:
    return sorted(os.path.relpath(each.path, folder) for each in events if isinstance(each, SourceFile))


# --- folders, between the listing of their parent and their own -------------------------------------------------------


@pytest.mark.parametrize(("folder", "target"), [("2024-02", "2024-01"), ("2024-02/P002", "2024-01/P002")])
def test_a_folder_that_became_a_link_out_of_the_roots_is_not_listed(root: Path, folder: str, target: str) -> None:
    rules = TreeRules(allowed_roots=(str(root),))
    walking = walk(resolve_source(str(root), rules), rules)
    found = [next(walking)]  # the root and the first month are listed by now
    if "/" in folder:
        found += [next(walking) for _ in range(3)]  # the second month, too

    swap(root / folder, root.parent / "outside" / target)
    found += walking

    assert not [path for path in texts(found, root) if "secret" in path]
    assert [each for each in found if isinstance(each, IgnoredFile)] == [
        IgnoredFile(str(root / folder), "symlink_outside_roots")
    ]
    assert [each.path for each in found if isinstance(each, SkippedFolder)] == [str(root / folder)]


def test_a_folder_that_became_a_link_within_the_roots_is_listed(root: Path) -> None:
    rules = TreeRules(allowed_roots=(str(root), str(root.parent / "outside")))
    walking = walk(resolve_source(str(root), rules), rules)
    first = next(walking)
    swap(root / "2024-02", root.parent / "outside" / "2024-01")
    assert [path for path in texts([first, *walking], root) if "secret" in path] == [
        "2024-02/P001/secret.dcm",
        "2024-02/P002/secret.dcm",
    ]


def test_without_roots_a_folder_that_became_a_link_is_listed(root: Path) -> None:
    walking = walk(resolve_source(str(root), TreeRules()), TreeRules())
    first = next(walking)
    swap(root / "2024-02", root.parent / "outside" / "2024-01")
    assert [path for path in texts([first, *walking], root) if "secret" in path]


def test_without_roots_our_own_folders_are_not_listed_either(root: Path) -> None:
    rules = TreeRules(excluded=(str(root.parent / "outside"),))
    walking = walk(resolve_source(str(root), rules), rules)
    first = next(walking)
    swap(root / "2024-02", root.parent / "outside" / "2024-01")
    found = [first, *walking]
    assert not [path for path in texts(found, root) if "secret" in path]
    assert ["OUTPUT_DIR" in each.reason for each in found if isinstance(each, SkippedFolder)] == [True]


def test_a_source_that_became_a_link_out_of_the_roots_is_missing(root: Path) -> None:
    rules = TreeRules(allowed_roots=(str(root),))
    source = resolve_source(str(root / "2024-02"), rules)
    swap(root / "2024-02", root.parent / "outside" / "2024-01")
    with pytest.raises(SourceVanishedError):
        list(walk(source, rules))


def test_the_months_of_a_source_that_became_a_link_are_not_told(root: Path) -> None:
    (root / "films" / "2024-03").mkdir(parents=True)
    rules = TreeRules(allowed_roots=(str(root),))
    source = resolve_source(str(root / "films"), rules)
    assert [each.month for each in month_folders(source, rules)] == ["2024-03"]
    swap(root / "films", root.parent / "outside")
    with pytest.raises(SourceVanishedError):
        month_folders(source, rules)


def test_a_folder_outside_is_not_looked_into_for_months(root: Path) -> None:
    (root / "misc").symlink_to(root.parent / "outside")
    assert not holds_month(str(root / "misc"), "%Y-%m", Area((str(root),)))
    assert holds_month(str(root / "misc"), "%Y-%m", Area())


@pytest.mark.parametrize("plant", ["pipe", "file", "socket"])
def test_what_became_no_folder_is_skipped_and_never_waited_for(root: Path, plant: str) -> None:
    rules = TreeRules(allowed_roots=(str(root),))
    walking = walk(resolve_source(str(root), rules), rules)
    found = [next(walking)]
    (root / "2024-02").rename(root / ".was")
    put(plant, root / "2024-02")
    found += walking
    assert [each.path for each in found if isinstance(each, SkippedFolder)] == [str(root / "2024-02")]


def test_a_link_to_a_file_and_a_root_that_is_a_link_are_walked_as_ever(root: Path) -> None:
    pool = root.parent / "pool"
    pool.mkdir()
    (pool / "x.dcm").write_bytes(b"four")
    (root / "2024-02" / "P002" / "x.dcm").symlink_to(pool / "x.dcm")
    linked_root = root.parent / "mount"
    linked_root.symlink_to(root)
    rules = TreeRules(allowed_roots=(str(linked_root), str(pool)))
    found = list(walk(resolve_source(str(linked_root), rules), rules))
    sizes = {os.path.relpath(e.path, linked_root): e.size_bytes for e in found if isinstance(e, SourceFile)}
    assert sizes.pop("2024-02/P002/x.dcm") == 4
    assert len(sizes) == 6
    assert set(sizes.values()) == {1}


def test_names_that_are_no_utf_8_are_walked_and_read(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/2024-01/P\xe4/"
    os.makedirs(folder)
    with open(folder + b"\xff\n.dcm", "wb") as file:
        file.write(a_dicom_file())
    rules = TreeRules(allowed_roots=(str(tmp_path),))
    (found,) = walk(resolve_source(str(tmp_path), rules), rules)
    assert isinstance(found, SourceFile)
    assert os.fsencode(found.path) == folder + b"\xff\n.dcm"
    assert read(found.path, rules.area()).header is not None


# --- files, between their listing and their reading -------------------------------------------------------------------


def read(path: object, area: Area) -> ReadReply:
    from dicom_processor import read_file  # noqa: PLC0415 - heavy; only some tests need it

    request = ReadRequest(str(path), True, f"{path}-out", RenderOptions(), plain_image=True, area=area)
    return read_file(request)


def code_of(reply: ReadReply) -> str | None:
    return None if reply.failure is None else reply.failure.code


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 7).save(buffer, "PNG")
    return buffer.getvalue()


def put(plant: str, path: Path) -> None:
    if plant == "pipe":
        os.mkfifo(path)
    elif plant == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)
    elif plant == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"x")


@pytest.mark.parametrize("content", ["dicom", "png", "empty", "text"])
@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_file_outside_fails_unread(root: Path, content: str, where: str) -> None:
    contents = {"dicom": a_dicom_file(), "png": png_bytes(), "empty": b"", "text": b"root:x:0:0"}
    outside = root.parent / "outside" / "2024-01" / "P001" / "a.dcm"
    outside.write_bytes(contents[content])
    path = root / "2024-01" / "P001" / "a.dcm"
    swap(path, outside) if where == "file" else swap(path.parent, outside.parent)

    reply = read(path, Area((str(root),)))

    assert code_of(reply) == "moved_outside_roots"
    assert (reply.header, reply.images, reply.content_sha256, reply.ignored) == (None, (), None, None)
    allowed = read(path, Area())
    assert allowed.ignored is None
    assert (allowed.header is not None) == (content in ("dicom", "png"))


@pytest.mark.parametrize("roots", ["root", "link", "both", "none"])
def test_a_file_within_the_roots_is_read(root: Path, roots: str) -> None:
    (root.parent / "mount").symlink_to(root)
    named = {"root": ("root",), "link": ("mount",), "both": ("outside", "mount"), "none": ()}[roots]
    area = Area(tuple(str(root.parent / name) for name in named), (str(root.parent / "out"),))
    real = root / "2024-01" / "P001" / "a.dcm"
    real.write_bytes(a_dicom_file())
    link = root / "2024-02" / "P001" / "link.dcm"
    link.symlink_to(real)
    for path in (real, link, root.parent / "mount" / "2024-01" / "P001" / "a.dcm", real.parent / ".." / "P001/a.dcm"):
        assert len(read(path, area).images) == 1


def test_a_file_in_our_own_folders_fails(root: Path) -> None:
    own = root / "data"
    own.mkdir()
    (own / "kept.jpg").write_bytes(a_dicom_file())
    link = root / "2024-01" / "P001" / "x.dcm"
    link.symlink_to(own / "kept.jpg")
    for roots in ((), (str(root),)):
        assert code_of(read(link, Area(roots, (str(own),)))) == "moved_outside_roots"


@pytest.mark.parametrize("plant", ["pipe", "socket", "folder", "gone", "outside"])
def test_a_plant_between_the_look_and_the_opening_is_told_and_never_waited_for(
    root: Path, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "2024-01" / "P001" / "a.dcm"
    path.write_bytes(a_dicom_file())
    real_stat = os.stat

    def stat(target: Any, **options: Any) -> os.stat_result:
        found = real_stat(target, **options)
        if target == str(path) and not path.with_name(".was").exists():
            path.rename(path.with_name(".was"))
            if plant == "outside":
                path.symlink_to(root.parent / "outside" / "2024-01" / "P001" / "secret.dcm")
            elif plant != "gone":
                put(plant, path)
        return found

    monkeypatch.setattr("dicom_processor.os.stat", stat)
    reply = read(path, Area((str(root),)))

    if plant == "outside":
        assert code_of(reply) == "moved_outside_roots"
        return
    assert reply.failure is not None
    assert reply.failure.code == ("unstable_file" if plant == "gone" else "unreadable_file")
    assert plant == "gone" or "不是普通文件" in reply.failure.detail


def test_the_digest_is_that_of_the_file_that_was_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture's bytes are its identity, so both must come from one opening."""
    path = root / "2024-01" / "P001" / "a.png"
    path.write_bytes(png_bytes())
    before = read(path, Area((str(root),)))
    opens = list[str]()
    real = os.open

    def opened(target: str, flags: int, *mode: int) -> int:
        opens.append(target)
        return real(target, flags, *mode)

    monkeypatch.setattr("domain.regular_files.os.open", opened)
    assert read(path, Area((str(root),))).content_sha256 == before.content_sha256 is not None
    assert opens.count(str(path)) == 1


def test_a_file_under_another_programs_lease_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open(2): O_NONBLOCK fails with EWOULDBLOCK while a lease is being given up, for example Samba's."""
    path = root / "2024-01" / "P001" / "a.dcm"

    def leased(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("domain.regular_files.os.open", leased)
    reply = read(path, Area((str(root),)))
    assert reply.failure is not None
    assert reply.failure.code == "unstable_file"


@pytest.mark.parametrize("where", ["file", "folder", "month"])
def test_a_file_that_leads_outside_by_its_retry_comes_without_size_and_time(root: Path, where: str) -> None:
    """So that it is no file that is known already, and is opened."""
    rules = TreeRules(allowed_roots=(str(root),))
    source, path = resolve_source(str(root), rules), root / "2024-01" / "P001" / "a.dcm"
    before = revisit(str(path), source, rules)
    outside = root.parent / "outside" / "2024-01" / "P001" / "a.dcm"
    outside.write_bytes(b"longer")
    up = {"file": 0, "folder": 1, "month": 2}[where]
    swap((path, *path.parents)[up], (outside, *outside.parents)[up])
    after = revisit(str(path), source, rules)
    assert isinstance(before, SourceFile)
    assert (before.size_bytes, before.patient_dir) == (1, "P001")
    assert after == SourceFile(str(path), "2024-01", "P001", 0, 0)


# --- systems that name what is open in other ways ---------------------------------------------------------------------


@pytest.fixture(params=["as here", "without /proc"])
def path_of_open(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As here, and as on a system that does not tell the path of a descriptor."""
    if request.param == "without /proc":
        monkeypatch.setattr(regular_files, "_path_of", regular_files._path_by_name)


@pytest.mark.usefixtures("path_of_open")
def test_open_and_scan_refuse_what_is_outside(root: Path) -> None:
    area = Area((str(root),))
    inner, outer = root / "2024-01" / "P001", root.parent / "outside" / "2024-01" / "P001"
    os.close(only_within(str(inner / "a.dcm"), os.O_RDONLY, area))
    with scan_within(str(inner), area) as entries:
        assert sorted(entry.name for entry in entries) == ["a.dcm", "b.dcm"]
    before = open_descriptors()
    with pytest.raises(OutsideError):
        only_within(str(outer / "secret.dcm"), os.O_RDONLY, area)
    with pytest.raises(OutsideError), scan_within(str(outer), area):
        pass
    with pytest.raises(OSError), scan_within(str(inner / "a.dcm"), area):
        pass
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_without_a_descriptors_path_a_swap_back_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is there while the file is opened, and the file again when the path is resolved."""
    path = root / "2024-01" / "P001" / "a.dcm"
    swap(path, root.parent / "outside" / "2024-01" / "P001" / "secret.dcm")
    real = os.path.realpath

    def realpath(target: str) -> str:
        if target == str(path):
            os.replace(path.with_name(".was-a.dcm"), path)
        return real(target)

    monkeypatch.setattr(regular_files, "_path_of", regular_files._path_by_name)
    monkeypatch.setattr("domain.regular_files.os.path.realpath", realpath)
    with pytest.raises(FileNotFoundError):
        only_within(str(path), os.O_RDONLY, Area((str(root),)))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's words")
def test_a_file_of_a_share_that_was_unmounted_meanwhile_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not taken for a file outside the roots."""
    monkeypatch.setattr("domain.regular_files.os.readlink", lambda _: "(unreachable)/2024-01/P001/a.dcm")
    reply = read(root / "2024-01" / "P001" / "a.dcm", Area((str(root),)))
    assert reply.failure is not None
    assert reply.failure.code == "unstable_file"


def test_a_file_that_is_deleted_while_it_is_opened_is_where_it_was(root: Path) -> None:
    path = root / "2024-01" / "P001" / "a.dcm"
    descriptor = os.open(path, os.O_RDONLY)
    path.unlink()
    if sys.platform == "linux":
        told = regular_files._path_of(descriptor, str(path), os.O_RDONLY)
        assert told == f"{path} (deleted)"
        check_within(told, Area((str(root),)))
    os.close(descriptor)


@pytest.mark.parametrize(
    ("real_path", "roots", "allowed"),
    [
        ("/data/a/x", ("/data/a",), True),
        ("/data/a", ("/data/a",), True),
        ("/data/ab/x", ("/data/a",), False),
        ("/data", ("/data/a",), False),
        ("/data/a (deleted)/x", ("/data/a",), False),
        ("/data/b/x", ("/data/a", "/data/b"), True),
        ("/x", ("/",), True),
        ("/data/out/x", (), False),
        ("/data/out", ("/data",), False),
        ("/data/outer/x", ("/data",), True),
        ("/anything", (), True),
    ],
)
def test_what_lies_in_an_area(real_path: str, roots: tuple[str, ...], allowed: bool) -> None:
    check: Callable[[], None] = partial(check_within, real_path, Area(roots, ("/data/out",)))
    if allowed:
        check()
    else:
        with pytest.raises(OutsideError):
            check()


def test_a_root_that_a_file_system_spells_otherwise_is_known_by_its_identity(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on SMB or APFS, where /data/Films and /data/films are one folder; a second name stands in for it here."""
    other_name = root.parent / "ROOT"
    other_name.symlink_to(root)
    monkeypatch.setattr("domain.regular_files.os.path.realpath", lambda path: path)
    check_within(str(root / "2024-01" / "P001" / "a.dcm"), Area((str(other_name),)))
    with pytest.raises(OutsideError):
        check_within(str(root.parent / "outside"), Area((str(other_name),)))
    with pytest.raises(OutsideError):
        check_within(str(root / "2024-01"), Area((str(root.parent / "missing"),)))


def test_a_linked_root_is_found_before_one_that_hangs_is_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked, dead = root.parent / "linked", root.parent / "dead"
    linked.symlink_to(root)
    real = os.path.realpath

    def realpath(path: str) -> str:
        assert path != str(dead)
        return real(path)

    monkeypatch.setattr("domain.regular_files.os.path.realpath", realpath)
    path = linked / "2024-01" / "P001" / "a.dcm"
    os.close(only_within(str(path), os.O_RDONLY, Area((str(dead), str(linked)))))


def test_what_may_not_be_opened_is_outside_if_its_path_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that Landlock keeps to the roots."""
    inner, outer = root / "2024-01" / "P001" / "a.dcm", root.parent / "outside" / "2024-01" / "P001" / "secret.dcm"
    swap(root / "2024-02" / "P001" / "a.dcm", outer)

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("domain.regular_files.os.open", refused)
    area = Area((str(root),))
    with pytest.raises(PermissionError):
        only_within(str(inner), os.O_RDONLY, area)
    with pytest.raises(OutsideError):
        only_within(str(root / "2024-02" / "P001" / "a.dcm"), os.O_RDONLY, area)
    with pytest.raises(OutsideError), scan_within(str(outer.parent), area):
        pass
