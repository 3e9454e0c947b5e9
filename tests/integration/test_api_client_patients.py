"""Find and create patients: substring search, a blind collation, soft-deleted ids, races and lost answers."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from errors import (
    BackendUnavailableError,
    PatientDeletedInXieHeError,
    PatientIdCollisionError,
    PatientRejectedError,
)
from models import NewPatient, PatientLookup, Sex
from tests.integration.api_client_scene import ALL, SESSION, SINGLE, Scene, on, sandboxes, scene
from tests.integration.sandbox_process import RawClient

__all__ = ["sandboxes", "scene"]


def _new(patient_id: str, name: str = "王小东", sex: Sex = Sex.MALE, born: date | None = None) -> NewPatient:
    return NewPatient(patient_id, name, sex, born)


def _patients(scene: Scene) -> list[str]:
    return [row["patient_id"] for row in scene.sandbox.state()["patients"]]


@on(*ALL)
async def test_created_patient_holds_what_was_given(scene: Scene) -> None:
    made = await scene.client.create_patient(_new("P001", "李四", Sex.FEMALE, date(1980, 2, 29)))
    assert made.created and not made.differs_in_form
    assert (made.patient.sex, made.patient.birth_date) == (Sex.FEMALE, date(1980, 2, 29))
    row = scene.sandbox.state()["patients"][0]
    assert (row["id"], row["name"], row["gender"]) == (made.patient.row_id, "李四", "女")
    assert await scene.client.find_patient("P001") == PatientLookup(made.patient, created=False)


@on(*ALL)
async def test_every_sex_comes_back_as_it_went(scene: Scene) -> None:
    for sex in Sex:
        await scene.client.create_patient(_new(sex.name, sex=sex))
        found = await scene.client.find_patient(sex.name)
        assert found is not None and found.patient.sex is sex


@on(*ALL)
async def test_longer_ids_that_contain_it_are_not_the_patient(scene: Scene) -> None:
    with RawClient(scene.sandbox) as raw:
        for patient_id in ("P0010", "XP001", "P001 "):
            raw.patient_row(patient_id)
    assert await scene.client.find_patient("P001") is None
    made = await scene.client.create_patient(_new("P001"))
    assert made.created
    assert (await scene.client.find_patient("P001")) == PatientLookup(made.patient, created=False)


@on(*ALL)
async def test_a_name_that_holds_the_id_is_not_the_patient(scene: Scene) -> None:
    with RawClient(scene.sandbox) as raw:
        raw.create_patient("X", name="P001")
    assert await scene.client.find_patient("P001") is None


@on(*ALL)
async def test_ids_with_wildcards_and_signs_are_found_exactly(scene: Scene) -> None:
    with RawClient(scene.sandbox) as raw:
        for decoy in ("axb", "ab", "a/b", "100", "患者二"):
            raw.patient_row(decoy)
    for patient_id in ("a%b", "a_b", "a\\b", "a\\\\b", '"quoted"', "O'Neil", "100%", "?x=1&y", "#7", "患者一", "\\"):
        assert await scene.client.find_patient(patient_id) is None, patient_id
        made = await scene.client.create_patient(_new(patient_id))
        assert made.created and made.patient.patient_id == patient_id
        found = await scene.client.find_patient(patient_id)
        assert found is not None and found.patient == made.patient


@on(*ALL)
@pytest.mark.parametrize("held", ["p001", "Ｐ００１", "ｐ００１"])
async def test_another_case_or_width_is_the_patient_with_a_remark(scene: Scene, held: str) -> None:
    with RawClient(scene.sandbox) as raw:
        row_id = raw.patient_row(held)
    for found in (await scene.client.find_patient("P001"), await scene.client.create_patient(_new("P001"))):
        assert found is not None
        assert (found.patient.row_id, found.created, found.differs_in_form) == (row_id, False, True)
    assert _patients(scene) == [held]


@on(*ALL)
async def test_another_accent_is_a_collision_not_the_patient(scene: Scene) -> None:
    with RawClient(scene.sandbox) as raw:
        raw.patient_row("Müller")
    assert await scene.client.find_patient("Muller") is None
    with pytest.raises(PatientIdCollisionError, match="Müller"):
        await scene.client.create_patient(_new("Muller"))
    assert _patients(scene) == ["Müller"]


@on(*ALL)
async def test_the_id_of_a_deleted_patient_is_told_as_such(scene: Scene) -> None:
    made = await scene.client.create_patient(_new("P001"))
    scene.sandbox.soft_delete_patient(made.patient.row_id)
    assert await scene.client.find_patient("P001") is None
    with pytest.raises(PatientDeletedInXieHeError, match="P001"):
        await scene.client.create_patient(_new("P001"))


@on(*ALL)
async def test_create_that_fails_while_search_fails_too_blames_the_backend(scene: Scene) -> None:
    scene.sandbox.faults(
        {"operation": "create_patient", "kind": "status", "status": 500, "times": "forever"},
        {"operation": "search_patients", "kind": "status", "status": 500, "times": "forever"},
    )
    with pytest.raises(BackendUnavailableError):
        await scene.client.create_patient(_new("P001"))


@on(*SESSION)
async def test_create_that_always_fails_on_newer_contracts_blames_the_backend(scene: Scene) -> None:
    scene.sandbox.faults({"operation": "create_patient", "kind": "status", "status": 500, "times": "forever"})
    with pytest.raises(BackendUnavailableError):
        await scene.client.create_patient(_new("P001"))


@on(*SINGLE)
async def test_a_gateway_error_on_older_contracts_is_no_deleted_patient(scene: Scene) -> None:
    scene.sandbox.faults({"operation": "create_patient", "kind": "html_error", "status": 502, "times": "forever"})
    with pytest.raises(BackendUnavailableError):
        await scene.client.create_patient(_new("P001"))


@on(*ALL)
@pytest.mark.parametrize("kind", ["cut_after", "status_after", "cut_before", "reset", "html_error"])
async def test_a_lost_answer_makes_one_patient_and_counts_as_created(scene: Scene, kind: str) -> None:
    scene.sandbox.faults({"operation": "create_patient", "kind": kind, "status": 502})
    made = await scene.client.create_patient(_new("P001"))
    assert made.created
    assert _patients(scene) == ["P001"]


@on(*ALL)
async def test_concurrent_creates_make_one_patient(scene: Scene) -> None:
    results = await asyncio.gather(*(scene.client.create_patient(_new("P001")) for _ in range(8)))
    assert len({result.patient.row_id for result in results}) == 1
    created = sum(result.created for result in results)
    assert created == 1 or (created > 1 and scene.contract == 1)  # its losers may see a masked 500
    assert _patients(scene) == ["P001"]


@on(*ALL)
async def test_unfit_fields_are_named_and_not_tried_again(scene: Scene) -> None:
    with pytest.raises(PatientRejectedError) as caught:
        await scene.client.create_patient(_new("P001", "秘密姓名" * 30, born=date(1977, 7, 7)))
    assert "name" in caught.value.detail
    assert "秘密" not in caught.value.detail and "1977" not in caught.value.detail
    assert len(scene.sandbox.requests("create_patient")) == 1


@on(*ALL)
async def test_a_short_id_among_hundreds_of_hits_is_found(scene: Scene) -> None:
    with RawClient(scene.sandbox) as raw:
        wanted = raw.patient_row("1")
        for number in range(10, 140):
            raw.patient_row(f"A{number}1")
    found = await scene.client.find_patient("1")
    assert found is not None and found.patient.row_id == wanted


@on(*SESSION)
async def test_a_patient_hidden_by_the_list_cache_is_found_when_create_says_it_exists(scene: Scene) -> None:
    """Somebody else's row, which this cached page does not show yet."""
    made = await scene.client.create_patient(_new("P001"))
    scene.sandbox.soft_delete_patient(made.patient.row_id)
    assert await scene.client.find_patient("P001") is None
    scene.sandbox.soft_delete_patient(made.patient.row_id, behind_cache=True)
    with pytest.raises(PatientDeletedInXieHeError):
        await scene.client.create_patient(_new("P001"))
