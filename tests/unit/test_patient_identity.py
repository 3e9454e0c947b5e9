"""When two spellings of a hospital number mean one patient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.patient_identity import (
    IdMatch,
    check_patient_id,
    collation_key,
    match_patient_id,
    normal_patient_id,
    same_patient_id,
)
from errors import PatientIdInvalidError, PatientIdTooLongError


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ("P001", "P001", IdMatch.EXACT),
        ("P001", " P001\0 ", IdMatch.EXACT),
        ("José", "Jose\u0301", IdMatch.EXACT),
        ("P001", "p001", IdMatch.FORM_DIFFERS),
        ("P001", "Ｐ００１", IdMatch.FORM_DIFFERS),
        ("STRASSE", "straße", IdMatch.FORM_DIFFERS),
        ("ｶﾞ1", "ガ1", IdMatch.FORM_DIFFERS),
        ("\u3000P001", "P001", IdMatch.FORM_DIFFERS),
        ("P001", "P0O1", IdMatch.DIFFERENT),
        ("P001", "P01", IdMatch.DIFFERENT),
        ("P 001", "P001", IdMatch.DIFFERENT),
        ("Jose", "José", IdMatch.DIFFERENT),
        ("0012", "12", IdMatch.DIFFERENT),
        ("住院1", "住院2", IdMatch.DIFFERENT),
    ],
)
def test_two_ids_match(first: str, second: str, match: IdMatch) -> None:
    assert match_patient_id(first, second) is match
    assert match_patient_id(second, first) is match
    assert same_patient_id(first, second) is (match is not IdMatch.DIFFERENT)
    assert match is IdMatch.DIFFERENT or collation_key(first) == collation_key(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("P001", "p001"), ("P001", "Ｐ００１"), ("Jose", "JOSÉ"), ("Müller", "MULLER"), ("straße", "STRASSE"),
        ("Łódź", "LODZ"), ("Øre", "ore"), ("ガ", "か"), ("ｶﾞ", "が"), ("P\u200b1", "p1"), ("𠮷", "𠀀"), ("Ⅳ", "iv"),
        ("P001", "P001\0 "),
    ],
)  # fmt: skip
def test_ids_that_the_database_may_take_for_one_share_a_lock(first: str, second: str) -> None:
    assert collation_key(first) == collation_key(second)


@pytest.mark.parametrize(
    ("first", "second"), [("P001", "P002"), ("P-1", "P1"), ("A_1", "A%1"), ("王1", "李1"), ("A 1", "A1")]
)
def test_ids_that_the_database_keeps_apart_do_not_wait_for_each_other(first: str, second: str) -> None:
    assert collation_key(first) != collation_key(second)


@given(st.text(max_size=12), st.text(max_size=12))
def test_ids_that_match_always_share_a_lock(first: str, second: str) -> None:
    for other in (second, first.upper(), first.lower(), f" {first}\0"):
        if same_patient_id(first, other):
            assert collation_key(first) == collation_key(other)


@given(st.text(max_size=20))
def test_the_normal_form_is_stable(text: str) -> None:
    assert normal_patient_id(normal_patient_id(text)) == normal_patient_id(text)


@pytest.mark.parametrize("patient_id", ["P001", "住院-001/2", "a" * 50, "王" * 50, "../../etc", "%_\\'"])
def test_a_usable_id_passes(patient_id: str) -> None:
    check_patient_id(patient_id)


@pytest.mark.parametrize(
    "patient_id", ["", "P\x0001", "P\n01", "P\x7f", "P\x85", "P\u200b1", "P\u202e1", "P\ufeff", "P\udc80", "P\u2028"]
)
def test_an_empty_id_or_one_with_invisible_characters_is_invalid(patient_id: str) -> None:
    with pytest.raises(PatientIdInvalidError):
        check_patient_id(patient_id)


def test_an_id_longer_than_xiehe_stores_is_refused_by_characters_not_bytes() -> None:
    with pytest.raises(PatientIdTooLongError, match="51"):
        check_patient_id("王" * 51)
