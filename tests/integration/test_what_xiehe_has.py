"""An image that XieHe has is never imported twice: whatever its status, whatever it is called, whoever put it there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.test_dry_run import comparable, counters, wait_until_the_plan_is_dropped
from tests.integration.test_verify import present, results, rows, verified
from tests.integration.xiehe_facts import assert_closed, images, names

sessions = pytest.mark.parametrize("xiehe", [3, 4], ids=["C3", "C4"], indirect=True)
singles = pytest.mark.parametrize("xiehe", [1, 2], ids=["C1", "C2"], indirect=True)
SPACE = "\u3000"


def run(service: ServiceProcess, source: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """The report rows of an import by file, which a dry run before it foretold to the last word."""
    dry = service.run(source, dry_run=True, **options)
    wait_until_the_plan_is_dropped(service)
    real = service.run(source, **options)
    assert comparable(service.report(dry["task_id"])) == comparable(service.report(real["task_id"]))
    assert counters(dry) == counters(real)
    assert_closed(real["progress"])
    return {row["source_path"].removeprefix(f"{source}/"): row for row in service.report(real["task_id"])}


def codes(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {path: row["code"] for path, row in found.items()}


def touch(source: Path) -> None:
    """The files are opened again: the history knows none of them as unchanged."""
    for path in source.rglob("*.dcm"):
        path.write_bytes(path.read_bytes() + b"")
        path.touch()


def forget(service: ServiceProcess, folder: Path) -> None:
    """The service has another history, which knows nothing."""
    service.stop()
    service.change(data_dir=folder)
    service.start()


def put_there(xiehe: SandboxProcess, *filenames: str, patient_id: str = "P001") -> int:
    """XieHe has a patient with these images before us; the row id of the patient."""
    with RawClient(xiehe) as raw:
        body = {"name": "张三", "gender": "MALE", "birth_date": "1980-01-02"}
        row = int(raw.payload(raw.create_patient(patient_id, **body))["id"])
        for filename in filenames:
            raw.upload(filename, row, b"\xff\xd8" + filename.encode()).raise_for_status()
    return row


def rename(xiehe: SandboxProcess, filename: str, basename: str) -> None:
    (image,) = [image for image in images(xiehe) if image["filename"] == filename]
    with RawClient(xiehe) as raw:
        raw.rename(image["id"], basename).raise_for_status()


# --- statuses


@pytest.mark.parametrize("status", ["FAILED", "ARCHIVED", "PROCESSING"])
def test_an_image_is_there_whatever_its_status(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path, status: str
) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "cine.dcm": a_dicom_file(shade=2, frames=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    task_id = service.run(source)["task_id"]
    before = names(xiehe)
    for image in images(xiehe):
        xiehe.set_status(image["id"], status)

    assert set(codes(run(service, source)).values()) == {"duplicate"}
    assert results(verified(service, task_id)) == {present(xiehe): 3}
    touch(source)
    assert set(codes(run(service, source, reupload_removed=True)).values()) == {"duplicate"}
    forget(service, tmp_path / "another-history")
    assert set(codes(run(service, source)).values()) == {"duplicate_by_name"}
    assert names(xiehe) == before


def test_an_instance_stays_its_patients_whatever_the_status(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = tmp_path / "dicom"
    write_tree(source, {"2024-01": {"P001": {"a.dcm": a_dicom_file(uid="1.2.3")}}})
    service.run(source)
    xiehe.set_status(images(xiehe)[0]["id"], "FAILED")
    write_tree(source, {"2024-02": {"P002": {"a.dcm": a_dicom_file("P002", uid="1.2.3")}}})

    assert codes(run(service, source))["2024-02/P002/a.dcm"] == "instance_of_other_patient"


@pytest.mark.parametrize("xiehe", [3], ids=["C3"], indirect=True)
def test_a_dead_session_is_no_image(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    row = put_there(xiehe)
    with RawClient(xiehe) as raw:
        raw.create_session("a.jpg", row, 5).raise_for_status()
        short = raw.payload(raw.create_session("b.jpg", row, 5))
        assert raw.complete(short, raw.put_parts(short, b"x")).status_code == 400
    files = {"a.dcm": a_dicom_file(shade=1), "b.dcm": a_dicom_file(shade=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    assert set(codes(run(service, source)).values()) == {"uploaded"}
    assert names(xiehe) == {("P001", "a.jpg"), ("P001", "b.jpg")}


# --- renaming


@sessions
def test_a_renamed_image_is_the_same_image(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "cine.dcm": a_dicom_file(shade=2, frames=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    task_id = service.run(source)["task_id"]
    rename(xiehe, "a.jpg", "正位")
    rename(xiehe, "cine-0002.jpg", "second")
    before = names(xiehe)

    again = run(service, source)
    assert set(codes(again).values()) == {"duplicate"}
    assert "正位.jpg" in again["2024-01/P001/a.dcm"]["detail"]
    touch(source)
    again = run(service, source, reupload_removed=True)
    assert set(codes(again).values()) == {"duplicate"}
    assert "正位.jpg" in again["2024-01/P001/a.dcm"]["detail"]
    assert results(verified(service, task_id)) == {"ok": 3}
    assert [row["upload_filename"] for row in rows(service, task_id) if "已改名为" in row["detail"]] == [
        "a.jpg",
        "cine-0002.jpg",
    ]
    assert names(xiehe) == before


@sessions
def test_another_instance_gets_neither_the_former_nor_the_new_name(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1)}}})
    service.run(source)
    rename(xiehe, "a.jpg", "b")
    others = {"a.dcm": a_dicom_file(shade=2), "b.dcm": a_dicom_file(shade=3)}
    write_tree(source, {"2024-02": {"P001": others}})

    found = run(service, source)

    assert codes(found) == {
        "2024-01/P001/a.dcm": "duplicate",
        "2024-02/P001/a.dcm": "uploaded_renamed",
        "2024-02/P001/b.dcm": "uploaded_renamed",
    }
    assert len(names(xiehe)) == 3
    assert set(codes(run(service, source)).values()) == {"duplicate"}


@sessions
def test_images_that_swapped_their_names_are_both_there(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "b.dcm": a_dicom_file(shade=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    task_id = service.run(source)["task_id"]
    for old, new in (("a.jpg", "c"), ("b.jpg", "a"), ("c.jpg", "b")):
        rename(xiehe, old, new)

    touch(source)
    assert set(codes(run(service, source)).values()) == {"duplicate"}
    assert results(verified(service, task_id)) == {"ok": 2}


@sessions
def test_a_name_that_another_image_got_does_not_stand_for_a_deleted_one(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "b.dcm": a_dicom_file(shade=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})
    task_id = service.run(source)["task_id"]
    (deleted,) = [image for image in images(xiehe) if image["filename"] == "b.jpg"]
    xiehe.delete_image(deleted["id"])
    rename(xiehe, "a.jpg", "b")

    expected = {"2024-01/P001/a.dcm": "duplicate", "2024-01/P001/b.dcm": "removed_in_xiehe"}
    assert codes(run(service, source)) == expected
    assert results(verified(service, task_id)) == {"ok": 1, "missing": 1}


@sessions
def test_a_renamed_image_keeps_its_instance_with_its_patient(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = tmp_path / "dicom"
    write_tree(source, {"2024-01": {"P001": {"a.dcm": a_dicom_file(uid="1.2.3")}}})
    service.run(source)
    rename(xiehe, "a.jpg", "侧位")
    write_tree(source, {"2024-02": {"P002": {"a.dcm": a_dicom_file("P002", uid="1.2.3")}}})

    assert codes(run(service, source))["2024-02/P002/a.dcm"] == "instance_of_other_patient"


@sessions
def test_a_strangers_image_that_was_claimed_and_renamed_stays_claimed(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    put_there(xiehe, "a.jpg")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    assert set(codes(run(service, source)).values()) == {"duplicate_by_name"}
    rename(xiehe, "a.jpg", "z")

    assert set(codes(run(service, source)).values()) == {"duplicate_by_name"}
    touch(source)
    assert set(codes(run(service, source)).values()) == {"duplicate_by_name"}
    assert names(xiehe) == {("P001", "z.jpg")}


@sessions
def test_ids_that_xiehe_gave_anew_are_not_taken_for_renamed_images(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    """XieHe was emptied: its first image has the id of yesterday's first one, and is another."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(shade=1)}}})
    service.run(source)
    xiehe.reset()
    put_there(xiehe, "another.jpg")

    assert codes(run(service, source, reupload_removed=True)) == {"2024-01/P001/a.dcm": "uploaded"}
    assert names(xiehe) == {("P001", "a.jpg"), ("P001", "another.jpg")}


# --- names that XieHe's own pages stored


@pytest.mark.parametrize(
    ("source_name", "stored"),
    [
        ("b.dcm", "b.jpg"),
        ("b.dcm", "b.png"),
        ("b.dcm", "b.dcm.jpg"),
        ("b.dcm", "b.dcm.png"),
        ("B.DCM", "B.DCM.png"),
        ("b.ima", "b.ima.png"),
        ("IM0001", "IM0001.png"),
        ("1.2.840.5.55", "1.2.840.5.55.png"),
        (f"正{SPACE}位.dcm", f"正{SPACE}位.dcm.png"),
        (f"正{SPACE}位.dcm", f"正{SPACE}位.jpg"),
    ],
)
def test_a_name_that_xiehes_own_pages_gave_is_the_files(
    service_on_c2: ServiceProcess, xiehe_c2: SandboxProcess, tmp_path: Path, source_name: str, stored: str
) -> None:
    put_there(xiehe_c2, stored)
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {source_name: a_dicom_file(shade=1)}}})

    for _ in range(2):
        (row,) = run(service_on_c2, source).values()
        assert (row["code"], row["upload_filename"]) == ("duplicate_by_name", stored)
        assert row["image_file_id"] == images(xiehe_c2)[0]["id"]
    write_tree(source, {"2024-02": {"P001": {source_name: a_dicom_file(shade=2)}}})
    found = run(service_on_c2, source)
    assert found[f"2024-02/P001/{source_name}"]["code"] == "uploaded_renamed"
    assert found[f"2024-01/P001/{source_name}"]["code"] == "duplicate_by_name"
    assert len(names(xiehe_c2)) == 2


def test_a_synced_image_is_found_on_all_contracts(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    put_there(xiehe, "b.dcm.png")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"b.dcm": a_dicom_file()}}})

    done = service.run(source)

    (row,) = service.report(done["task_id"])
    assert row["code"] == "duplicate_by_name"
    assert "content_not_verified" in {warning["code"] for warning in row["warnings"]}
    assert results(verified(service, done["task_id"])) == {"ok_present": 1}
    assert names(xiehe) == {("P001", "b.dcm.png")}


@pytest.mark.parametrize(
    ("source_name", "stored", "frames"),
    [
        ("b.dcm", "b.dcm.PNG", 1),
        ("b.dcm", "b.DCM.png", 1),
        ("b.dcm", "b.dcm.tif", 1),
        ("b.dcm", "b.dcm.dcm.png", 1),
        ("cine.dcm", "cine.dcm.png", 2),
        ("cine.dcm", "cine.jpg", 2),
    ],
)
def test_other_names_are_not_the_files(
    service_on_c2: ServiceProcess, xiehe_c2: SandboxProcess, tmp_path: Path, source_name: str, stored: str, frames: int
) -> None:
    put_there(xiehe_c2, stored)
    files = {source_name: a_dicom_file(frames=frames) if frames > 1 else a_dicom_file()}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    assert set(codes(run(service_on_c2, source)).values()) == {"uploaded"}
    assert len(names(xiehe_c2)) == 1 + frames


def test_one_synced_image_stands_for_one_file_only(
    service_on_c2: ServiceProcess, xiehe_c2: SandboxProcess, tmp_path: Path
) -> None:
    """``b.dcm.png`` is the synced name of ``b.dcm`` and the plain one of ``b.dcm.dcm``."""
    put_there(xiehe_c2, "b.dcm.png")
    files = {"b.dcm": a_dicom_file(shade=1), "b.dcm.dcm": a_dicom_file(shade=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    found = sorted(codes(run(service_on_c2, source)).values())
    assert found[0] == "duplicate_by_name"
    assert found[1].startswith("uploaded")
    assert len(names(xiehe_c2)) == 2
    assert sorted(codes(run(service_on_c2, source)).values()) == ["duplicate", "duplicate_by_name"]


def test_the_stems_name_comes_before_a_synced_one(
    service_on_c2: ServiceProcess, xiehe_c2: SandboxProcess, tmp_path: Path
) -> None:
    put_there(xiehe_c2, "b.dcm.png", "b.jpg", "b.dcm.jpg")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"b.dcm": a_dicom_file()}}})
    (row,) = run(service_on_c2, source).values()
    assert (row["code"], row["upload_filename"]) == ("duplicate_by_name", "b.jpg")


# --- white space that cannot be signed


@pytest.mark.parametrize("space", ["\u3000", "\u00a0", "\u2003", "\u202f"])
def test_white_space_that_cannot_be_signed_is_replaced(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path, space: str
) -> None:
    files = {f"张{space}三.dcm": a_dicom_file(shade=1), "a b.dcm": a_dicom_file(shade=2)}
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})

    found = run(service_today, source)

    odd = found[f"2024-01/P001/张{space}三.dcm"]
    assert odd["code"] == "uploaded_renamed"
    assert odd["upload_filename"].startswith("张_三_")
    assert found["2024-01/P001/a b.dcm"]["upload_filename"] == "a b.jpg"
    assert set(codes(run(service_today, source)).values()) == {"duplicate"}
    touch(source)
    assert set(codes(run(service_today, source)).values()) == {"duplicate"}
    forget(service_today, tmp_path / "another-history")
    assert set(codes(run(service_today, source)).values()) == {"duplicate_by_name"}
    assert len(names(xiehe_today)) == 2


@singles
@pytest.mark.parametrize("suffixed", [False, True])
def test_an_image_of_a_former_name_keeps_it(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path, suffixed: bool
) -> None:
    """As version 0.3.0 stored it; by the index, and by XieHe's list alone."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {f"a{SPACE}b.dcm": a_dicom_file()}}})
    (row,) = run(service, source).values()
    new = row["upload_filename"]
    former = new.replace("_", SPACE, 1) if suffixed else f"a{SPACE}b.jpg"
    service.stop()
    with closing(sqlite3.connect(service.folder / "data" / "history.sqlite3")) as history:
        history.execute("UPDATE images SET stored_name = ?, name_key = ?", (former, former.removesuffix(".jpg")))
        history.execute("DELETE FROM seen_sources")
        history.commit()
    with closing(sqlite3.connect(xiehe.data_dir / "sandbox.sqlite3")) as backend:
        backend.execute("UPDATE images SET filename = ?", (former,))
        backend.commit()
    service.start()

    for _ in range(2):
        (row,) = run(service, source).values()
        assert (row["code"], row["upload_filename"]) == ("duplicate", former)
    forget(service, tmp_path / "another-history")
    (row,) = run(service, source).values()
    assert (row["code"], row["upload_filename"]) == ("duplicate_by_name", former)
    assert names(xiehe) == {("P001", former)}

    xiehe.delete_image(images(xiehe)[0]["id"])
    service.stop()
    service.change(data_dir=service.folder / "data")
    service.start()
    (row,) = run(service, source).values()
    assert row["code"] == "removed_in_xiehe"
    assert codes(run(service, source, reupload_removed=True)) == {f"2024-01/P001/a{SPACE}b.dcm": "uploaded_renamed"}
    assert names(xiehe) == {("P001", new)}
    assert set(codes(run(service, source)).values()) == {"duplicate"}


def test_a_name_too_long_for_us_is_found_as_xiehe_has_it(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    stem = "长" * 80
    put_there(xiehe_today, f"{stem}.dcm.png")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {f"{stem}.dcm": a_dicom_file()}}})
    assert set(codes(run(service_today, source)).values()) == {"duplicate_by_name"}


# --- what the index keeps of the content


@sessions
def test_the_index_keeps_what_tells_the_content(service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path) -> None:
    files = {"a.dcm": a_dicom_file(shade=1), "cine.dcm": a_dicom_file(shade=2, frames=2)}
    put_there(xiehe, "strange.jpg")
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": files | {"strange.dcm": a_dicom_file(shade=3)}}})
    service.run(source)
    with RawClient(xiehe) as raw:
        listed = {row["original_filename"]: row["storage_etag"] for row in raw.images(1)}
    with closing(sqlite3.connect(service.folder / "data" / "history.sqlite3")) as history:
        kept = dict(history.execute("SELECT stored_name, storage_etag FROM images"))
    assert kept == listed
    assert len(kept) == 4


@pytest.fixture
def xiehe_c2(tmp_path: Path) -> Any:
    """A contract that stores any name, so that names can be put there as they are."""
    with SandboxProcess(2, tmp_path / "xiehe") as sandbox:
        yield sandbox


@pytest.fixture
def service_on_c2(xiehe_c2: SandboxProcess, tmp_path: Path) -> Any:
    with ServiceProcess(tmp_path / "service", xiehe_c2.url, api_token=xiehe_c2.token, max_workers=1) as process:
        yield process
