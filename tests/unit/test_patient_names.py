"""Which index row owns which listed image, and what is known of each name."""

from __future__ import annotations

from typing import Any

import pytest

from errors import CallEvidence
from importing.naming.listed_names import PatientNames
from importing.naming.name_decision import NameState
from importing.naming.stored_names import synced_names
from models import Contract, RemoteImage
from tests.unit.test_history import an_image
from xiehe.contracts import image_of

FREE, OURS, CLAIMED, REMOVED, UNKNOWN, OTHERS = NameState
ME, ANOTHER = "1.2.3", "9.9.9"


def listed(image_id: int, name: str, size: int = 5, etag: str | None = None) -> RemoteImage:
    return RemoteImage(image_id, name, size, etag)


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (listed(99, "IM1.jpg"), OURS),
        (listed(99, "IM1.png"), OURS),
        (listed(99, "z.jpg"), OURS),
        (listed(99, "z.jpg", etag="aa-1"), OURS),
        (listed(99, "z.jpg", size=6), REMOVED),
        (listed(99, "z.jpg", etag="bb-1"), REMOVED),
        (listed(99, "IM1.jpg", size=6), OURS),
        (listed(7, "IM1.jpg"), OURS),
        (listed(7, "z.jpg"), REMOVED),
    ],
)
def test_a_row_owns_the_image_of_its_id_or_of_its_name(image: RemoteImage, state: NameState) -> None:
    names = PatientNames([image], [an_image(storage_etag="aa-1")])
    assert names.state("IM1", ME) is state
    assert names.state("IM1", ANOTHER) is OTHERS


def test_a_name_that_a_known_image_got_is_taken() -> None:
    names = PatientNames([listed(99, "z.jpg")], [an_image()])
    assert names.state("z", ANOTHER) is OTHERS
    assert names.state("z", ME) is OTHERS
    assert names.new_name_of(an_image()) is None  # a row of its own
    row = names.row_of("IM1")
    assert row is not None
    assert names.new_name_of(row) == "z.jpg"


def test_of_two_rows_with_one_id_the_one_whose_name_agrees_owns_the_image() -> None:
    """XieHe was emptied and gives its ids anew: the first row is of yesterday's XieHe."""
    stale, fresh = an_image("IM0", image_file_id=1), an_image("IM1", image_file_id=1)
    for rows in ([stale, fresh], [fresh, stale]):
        names = PatientNames([listed(1, "IM1.jpg")], rows)
        assert (names.state("IM0", ME), names.state("IM1", ME)) == (REMOVED, OURS)


def test_a_stranger_under_the_name_of_a_renamed_image_is_left_alone() -> None:
    names = PatientNames([listed(99, "z.jpg"), listed(100, "IM1.jpg")], [an_image()])
    assert names.state("IM1", ME) is OURS
    assert names.state("IM1", ANOTHER) is OTHERS


def test_an_unknown_image_comes_before_a_renamed_one_of_its_name() -> None:
    names = PatientNames([listed(99, "z.jpg"), listed(98, "z.png")], [an_image()])
    assert names.state("z", ANOTHER) is UNKNOWN
    found = names.unknown_image("z")
    assert found is not None
    assert found.image_file_id == 98


SYNCED = ("b.dcm.jpg", "b.dcm.png")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["b.dcm.png"], "b.dcm.png"),
        (["b.dcm.png", "b.dcm.jpg"], "b.dcm.jpg"),
        (["b.dcm.png", "b.jpg"], "b.jpg"),
        (["b.dcm.PNG"], None),
        (["b.dcm"], None),
        (["b.dcm.dcm.png"], None),
    ],
)
def test_synced_names_count_after_the_stems(names: list[str], found: str | None) -> None:
    known = PatientNames([listed(number, name) for number, name in enumerate(names, 1)])
    image = known.unknown_image("b", SYNCED)
    assert (image and image.filename) == found
    assert known.state("b", ME, SYNCED) is (UNKNOWN if found else FREE)
    assert known.is_listed("b", SYNCED) is bool(found)


def test_a_synced_name_counts_for_a_file_only_that_the_history_does_not_know() -> None:
    images = [listed(5, "IM1.dcm.png")]
    assert PatientNames(images, [an_image()]).state("IM1", ME, ("IM1.dcm.png",)) is REMOVED
    assert PatientNames(images, [an_image()]).state("IM1", ANOTHER, ("IM1.dcm.png",)) is OTHERS
    claimed = an_image(uploaded_by_us=False, image_file_id=5, stored_name="IM1.dcm.png")
    names = PatientNames(images, [claimed])
    assert names.state("IM1", ME, ("IM1.dcm.png",)) is CLAIMED
    assert names.state("IM1.dcm", ANOTHER) is OTHERS
    assert names.state("IM1", ME, ("IM1.dcm.png",), taken={5}) is CLAIMED


@pytest.mark.parametrize("listed_id", [None, 99])
def test_the_name_of_a_row_that_knows_no_id_is_no_synced_name_of_another_file(listed_id: int | None) -> None:
    """b.dcm lies beside b.dcm.dcm, which C1 or a dry run has just stored as b.dcm.jpg."""
    row = an_image("b.dcm", image_file_id=None)
    names = PatientNames([] if listed_id is None else [listed(listed_id, "b.dcm.jpg")], [row] if listed_id else [])
    names.remember(row)
    assert names.state("b", ANOTHER, synced_names("b.dcm")) is FREE
    assert names.unknown_image("b", synced_names("b.dcm")) is None
    assert names.state("b.dcm", ME) is OURS


def test_a_second_image_of_a_synced_name_counts_beside_that_of_a_row() -> None:
    both = [listed(98, "b.dcm.jpg"), listed(99, "b.dcm.jpg")]
    names = PatientNames(both, [an_image("b.dcm", image_file_id=None)])
    assert names.state("b", ANOTHER, synced_names("b.dcm")) is UNKNOWN


def test_an_image_that_another_file_is_claiming_is_taken() -> None:
    names = PatientNames([listed(5, "b.dcm.png")])
    assert names.state("b.dcm", ME, taken={5}) is OTHERS
    assert names.state("b", ME, SYNCED, taken={5}) is FREE


def test_what_was_just_uploaded_is_there_with_and_without_an_id() -> None:
    for image_id in (None, 12):
        names = PatientNames()
        names.remember(an_image(image_file_id=image_id))
        assert names.state("IM1", ME) is OURS
        assert names.state("IM1", ANOTHER) is OTHERS
        assert names.ids_at("IM1") == (image_id or 0,)


# --- which rows of XieHe's list are images

EVIDENCE = CallEvidence("GET", "/image-files/patient/1")
ETAG = "0123456789abcdef0123456789abcdef-1"


@pytest.mark.parametrize("status", ["UPLOADING", "UPLOADED", "PROCESSING", "PROCESSED", "FAILED", "ARCHIVED", "NEW"])
def test_a_row_with_content_is_an_image_whatever_its_status(status: str) -> None:
    row: dict[str, Any] = {"id": 1, "original_filename": "a.jpg", "status": status}
    for contract in (Contract.C3, Contract.C4):
        assert image_of(row | {"storage_etag": ETAG}, contract, EVIDENCE) is not None
        without = image_of(row | {"storage_etag": None}, contract, EVIDENCE)
        assert (without is not None) == (status in ("UPLOADED", "PROCESSING", "PROCESSED", "ARCHIVED"))
    for contract in (Contract.C1, Contract.C2):
        assert image_of(row, contract, EVIDENCE) is not None
