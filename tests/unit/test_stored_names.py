"""Names: stems, suffixes, safety."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importing.naming.stored_names import (
    MAX_NAME_BYTES,
    name_choices,
    name_key,
    named_dicom,
    named_image,
    safe_local_name,
    stem_of,
)

UID = "1.2.840.10008.1.1"
DIGEST = hashlib.sha256(UID.encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.dcm", "a"),
        ("a.DCM", "a"),
        ("a.dicom", "a"),
        ("a.ima", "a"),
        ("a.DiC", "a"),
        ("a.dcm.dcm", "a.dcm"),
        ("1.2.840.5.55", "1.2.840.5.55"),
        ("IM0001", "IM0001"),
        ("a.jpg", "a.jpg"),
        (".dcm", ".dcm"),
    ],
)
def test_only_dicom_extensions_are_taken_off(name: str, stem: str) -> None:
    assert stem_of(name) == stem


def test_names_of_single_and_multi_frame_files() -> None:
    assert name_choices("a.dcm", UID, 1).ordered == (("a",), (f"a_{DIGEST[:8]}",), (f"a_{DIGEST[:16]}",))
    assert name_choices("a.dcm", UID, 2).ordered[:2] == (
        ("a-0001", "a-0002"),
        (f"a_{DIGEST[:8]}-0001", f"a_{DIGEST[:8]}-0002"),
    )


def test_suffix_without_uid_is_of_the_files_bytes() -> None:
    digest = hashlib.sha256(b"the file").hexdigest()
    assert name_choices("a", f"sha256:{digest}", 1).suffixed[0] == (f"a_{digest[:8]}",)


@pytest.mark.parametrize("name", ["a\\b.dcm", "a\nb", "\udcff\udcfe.dcm", "长" * 90 + ".dcm", "x" * 236])
def test_names_that_xiehe_cannot_hold_always_carry_the_suffix(name: str) -> None:
    choices = name_choices(name, UID, 1)
    assert choices.plain is None
    for keys in choices.ordered:
        assert len((keys[0] + ".jpg").encode()) <= MAX_NAME_BYTES
        assert not set(keys[0]) & set("/\\\n")


@pytest.mark.parametrize(
    "space",
    [
        *"\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
        "\u2028",
        "\u2029",
    ],
)
@pytest.mark.parametrize("form", ["{}a", "a{}b", "a {}b", "a{}"])
def test_white_space_that_cannot_be_signed_is_made_safe(space: str, form: str) -> None:
    stem = form.format(space)
    choices = name_choices(f"{stem}.dcm", UID, 1)
    assert choices.ordered == tuple((f"{form.format('_')}_{DIGEST[:digits]}",) for digits in (8, 16))
    former = ((stem,),) if space in "\u2028\u2029" else ((stem,), (f"{stem}_{DIGEST[:8]}",), (f"{stem}_{DIGEST[:16]}",))
    assert choices.former == former


@pytest.mark.parametrize("stem", ["a b", "a  b", " a", "a ", "a\u200bb", "a\ufeffb", "张 三"])
def test_names_that_can_be_signed_are_kept(stem: str) -> None:
    choices = name_choices(f"{stem}.dcm", UID, 1)
    assert (choices.plain, choices.former) == ((stem,), ())


def test_a_name_of_one_frame_has_the_names_of_xiehes_sync_page_beside_it() -> None:
    assert name_choices("b.dcm", UID, 1).synced == {"b": ("b.dcm.jpg", "b.dcm.png")}
    assert name_choices("a.png", UID, 1).synced == {"a.png": ("a.png.jpg", "a.png.png")}
    assert name_choices("b.dcm", UID, 2).synced == {}


def test_longest_plain_name_is_kept() -> None:
    assert name_choices("x" * 235, UID, 1).plain == ("x" * 235,)


@pytest.mark.parametrize("length", [210, 211, 230, 235, 236])
def test_a_name_that_just_fits_leaves_room_for_its_suffix(length: int) -> None:
    for keys in name_choices("x" * length, UID, 2).ordered:
        assert all(len(f"{key}.jpg") <= MAX_NAME_BYTES for key in keys)


@given(st.text(min_size=1, max_size=300), st.integers(1, 3))
def test_every_choice_fits_xiehe(name: str, frames: int) -> None:
    for keys in name_choices(name, UID, frames).ordered:
        assert len(keys) == frames
        assert all(len((key + ".jpg").encode()) <= MAX_NAME_BYTES for key in keys)
        assert not any(set(key) & set('/\\"\n\0') for key in keys)


@given(st.text(max_size=200))
def test_local_names_are_single_safe_components(text: str) -> None:
    safe = safe_local_name(text, 120)
    assert safe
    assert safe not in (".", "..")
    assert not set(safe) & set('/\\:*?"<>|\0\n')
    assert len(safe.encode()) <= 120
    assert not safe.endswith((" ", "."))


@given(st.text(max_size=60), st.text(max_size=60))
def test_different_texts_stay_apart(first: str, second: str) -> None:
    if first != second:
        assert safe_local_name(first) != safe_local_name(second)


@pytest.mark.parametrize("device", ["CON", "nul", "Aux.txt", "com1", "LPT9.jpg"])
def test_device_names_are_not_used(device: str) -> None:
    assert safe_local_name(device).lower().partition(".")[0] not in ("con", "nul", "aux", "com1", "lpt9")


def test_output_format_does_not_count_for_duplicates() -> None:
    assert name_key("a.jpg") == name_key("a.png") == "a"
    assert name_key("a.jpeg") == "a.jpeg"


def test_claims_of_being_dicom() -> None:
    assert named_dicom("X.DCM")
    assert not named_dicom("X.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.dcm.png", "1.2.png"])
def test_claims_of_being_a_listed_picture(name: str) -> None:
    assert named_image(name, ("png", "tif"))
    assert not named_image(name, ())


@pytest.mark.parametrize("name", ["a.jpg", "png", ".png", "a.png.dcm", "apng"])
def test_other_names_claim_nothing(name: str) -> None:
    assert not named_image(name, ("png", "tif"))


def test_a_picture_beside_a_dicom_file_of_its_name_is_another_name() -> None:
    assert name_choices("a.png", UID, 1).plain == ("a.png",)
    assert name_choices("a.dcm", UID, 1).plain == ("a",)
    assert name_key("a.png.jpg") == name_key("a.png.png") == "a.png"
