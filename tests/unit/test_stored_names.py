"""Names: stems, suffixes, safety."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importing.stored_names import (
    MAX_NAME_BYTES,
    name_choices,
    name_key,
    named_dicom,
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


def test_longest_plain_name_is_kept() -> None:
    assert name_choices("x" * 235, UID, 1).plain == ("x" * 235,)


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
