"""The pure rules of an import: identity, names, verdicts, hours."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

import errors
from domain.outcome_codes import OUTCOME_HINTS
from errors import DemographicsMismatchError, FileError, PatientIdInvalidError, PatientMismatchError
from importing.background.active_hours import ActiveHours
from importing.naming.name_decision import NameState, decide_names
from importing.naming.stored_names import name_choices
from importing.patients.identity_rules import check_demographics, identify, new_patient
from importing.runs.task_result import judge
from models import (
    Counts,
    DemographicsMismatchPolicy,
    ImportOptions,
    PatientHeader,
    PatientMismatchPolicy,
    RemotePatient,
    Sex,
    SkippedFolder,
    TaskRecord,
    TaskResult,
    TaskStatus,
)

HOLD, DICOM, FOLDER = PatientMismatchPolicy


def header(patient_id: str | None, sex: Sex = Sex.MALE, born: date | None = date(1980, 1, 2)) -> PatientHeader:
    return PatientHeader(patient_id, "张三", sex, born, "declared")


# --- identity


@pytest.mark.parametrize(
    ("folder", "in_header", "policy", "chosen"),
    [
        ("P1", "P1", HOLD, "P1"),
        ("P1 ", "P1", HOLD, "P1"),
        ("p1", "P1", HOLD, "P1"),
        ("Ｐ１", "P1", HOLD, "P1"),
        ("P1", None, HOLD, "P1"),
        ("P1", "P2", DICOM, "P2"),
        ("P1", None, DICOM, "P1"),
        ("P1", "P2", FOLDER, "P1"),
        ("P1", "x" * 99, FOLDER, "P1"),
    ],
)
def test_effective_id(folder: str, in_header: str | None, policy: PatientMismatchPolicy, chosen: str) -> None:
    assert identify(folder, header(in_header), policy).patient_id == chosen


@pytest.mark.parametrize(("folder", "in_header"), [("P1", "P2"), ("P1", "P10"), ("JOSE", "JOSÉ"), ("P1", "P1 X")])
def test_other_ids_are_held(folder: str, in_header: str) -> None:
    with pytest.raises(PatientMismatchError):
        identify(folder, header(in_header), HOLD)


def test_ids_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(PatientIdInvalidError):
        identify("P1", header("a\nb"), DICOM)
    with pytest.raises(FileError):
        identify("x" * 51, header(None), HOLD)


def test_new_patient_is_described_by_a_header_of_its_own_only() -> None:
    assert new_patient("P1", header("P1"), HOLD).name == "张三"
    assert new_patient("P1", header("P1"), FOLDER).birth_date == date(1980, 1, 2)
    assert new_patient("P1", header(None), HOLD).sex is Sex.MALE
    for other in (header("P2"), header(None)):
        made = new_patient("P1", other, FOLDER)
        assert (made.name, made.sex, made.birth_date) == ("P1", Sex.UNKNOWN, None)


@pytest.mark.parametrize(
    ("sex", "born", "policy", "held", "warned"),
    [
        (Sex.MALE, date(1980, 1, 2), "hold", False, False),
        (Sex.FEMALE, date(1980, 1, 2), "hold", True, False),
        (Sex.FEMALE, date(1980, 1, 2), "hold_if_both", False, True),
        (Sex.FEMALE, date(1999, 1, 2), "hold_if_both", True, False),
        (Sex.FEMALE, date(1999, 1, 2), "warn", False, True),
        (Sex.UNKNOWN, None, "hold", False, False),
        (Sex.UNKNOWN, date(1999, 1, 2), "hold_if_both", False, True),
    ],
)
def test_demographics(sex: Sex, born: date | None, policy: str, held: bool, warned: bool) -> None:
    remote = RemotePatient(1, "P1", sex, born)
    try:
        warnings = check_demographics(header("P1"), remote, DemographicsMismatchPolicy(policy))
    except DemographicsMismatchError as error:
        assert held
        assert "19" not in error.detail
    else:
        assert not held
        assert bool(warnings) is warned


# --- names

PLAIN, SUFFIXED = "a", name_choices("a", "1.2", 1).suffixed[0][0]
FREE, OURS, CLAIMED, REMOVED, UNKNOWN, OTHERS = NameState


@pytest.mark.parametrize(
    ("plain", "suffixed", "chosen"),
    [
        (FREE, FREE, PLAIN),
        (OURS, FREE, PLAIN),
        (OURS, UNKNOWN, PLAIN),
        (OTHERS, FREE, SUFFIXED),
        (OTHERS, OURS, SUFFIXED),
        (UNKNOWN, FREE, PLAIN),
        (UNKNOWN, UNKNOWN, SUFFIXED),
        (FREE, UNKNOWN, SUFFIXED),
        (FREE, OURS, SUFFIXED),
        (REMOVED, FREE, PLAIN),
        (CLAIMED, FREE, PLAIN),
        (UNKNOWN, REMOVED, SUFFIXED),
    ],
)
def test_name_decision(plain: NameState, suffixed: NameState, chosen: str) -> None:
    states = {PLAIN: plain, SUFFIXED: suffixed}
    decision = decide_names(name_choices("a.dcm", "1.2", 1), lambda key: states.get(key, FREE))
    assert decision.keys == (chosen,)
    assert decision.suffixed is (chosen == SUFFIXED)


def test_one_frame_of_another_instance_moves_all_frames() -> None:
    decision = decide_names(name_choices("a", "1.2", 2), lambda key: OTHERS if key == "a-0002" else FREE)
    assert decision.suffixed
    assert decision.states == (FREE, FREE)


def test_longer_suffix_where_the_short_one_is_taken() -> None:
    decision = decide_names(name_choices("a", "1.2", 1), lambda key: OTHERS if key in (PLAIN, SUFFIXED) else FREE)
    assert len(decision.keys[0]) == len("a_") + 16


ODD_NAME = "a\u3000b.dcm"
SAFE, SAFE_16 = (keys[0] for keys in name_choices(ODD_NAME, "1.2", 1).ordered)
RAW, FORMER, FORMER_16 = (keys[0] for keys in name_choices(ODD_NAME, "1.2", 1).former)


@pytest.mark.parametrize(
    ("states", "chosen", "suffixed"),
    [
        ({}, SAFE, True),
        ({RAW: OURS}, RAW, False),
        ({RAW: CLAIMED}, RAW, False),
        ({RAW: REMOVED}, RAW, False),
        ({RAW: UNKNOWN}, RAW, False),
        ({RAW: OTHERS}, SAFE, True),
        ({RAW: OTHERS, FORMER: OURS}, FORMER, True),
        ({RAW: OTHERS, FORMER: UNKNOWN}, FORMER, True),
        ({RAW: UNKNOWN, FORMER: UNKNOWN}, FORMER, True),
        ({RAW: UNKNOWN, SAFE: UNKNOWN}, SAFE, True),
        ({RAW: REMOVED, SAFE: OURS}, SAFE, True),
        ({RAW: UNKNOWN, SAFE: OURS}, SAFE, True),
        ({RAW: OTHERS, SAFE: OTHERS, FORMER: OTHERS}, SAFE_16, True),
    ],
)
def test_a_former_name_is_kept_and_never_newly_given(states: dict[str, NameState], chosen: str, suffixed: bool) -> None:
    decision = decide_names(name_choices(ODD_NAME, "1.2", 1), lambda key: states.get(key, FREE))
    assert (decision.keys, decision.suffixed) == ((chosen,), suffixed)


def test_what_was_removed_under_a_former_name_is_uploaded_again_under_a_safe_one() -> None:
    choices = name_choices(ODD_NAME, "1.2", 1)
    decision = decide_names(choices, lambda key: REMOVED if key == RAW else FREE, reupload_removed=True)
    assert (decision.keys, decision.states) == ((SAFE,), (FREE,))
    plain = decide_names(
        name_choices("a", "1.2", 1), lambda key: REMOVED if key == "a" else FREE, reupload_removed=True
    )
    assert (plain.keys, plain.states) == (("a",), (REMOVED,))


# --- verdicts


def record(*skipped: SkippedFolder, parent_id: str | None = None) -> TaskRecord:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return TaskRecord("t", "/d", ImportOptions(), TaskStatus.RUNNING, now, skipped_folders=skipped, parent_id=parent_id)


ODD = SkippedFolder("/d/202401", "不是月份", "MONTH_FOLDER_FORMAT")


@pytest.mark.parametrize(
    ("counts", "skipped", "fits", "result"),
    [
        (Counts(), (), True, "success"),
        (Counts(total_files_scanned=2, new_images_uploaded=2), (), True, "success"),
        (Counts(total_files_scanned=2, new_images_uploaded=1, failed_files=1), (), True, "partial"),
        (Counts(total_files_scanned=2, duplicate_images_skipped=1, failed_files=1), (), True, "partial"),
        (Counts(total_files_scanned=1, failed_files=1), (), True, "failed"),
        (Counts(total_files_scanned=1, failed_files=1, no_pixel_files=1), (), True, "success"),
        (Counts(total_files_scanned=2, new_images_uploaded=2), (ODD,), True, "partial"),
        (Counts(), (ODD,), True, "partial"),
        (Counts(), (ODD,), False, "failed"),
        (Counts(), (), False, "failed"),
    ],
)
def test_verdict(counts: Counts, skipped: tuple[SkippedFolder, ...], fits: bool, result: str) -> None:
    verdict = judge(record(*skipped), counts, anything_fits=fits, month_example="2024-01")
    assert verdict.result is TaskResult(result)
    assert ("nothing_fits" in {warning.code for warning in verdict.warnings}) is not fits


# --- hours


@pytest.mark.parametrize(
    ("hour", "inside"), [(21, False), (22, True), (23, True), (0, True), (5, True), (6, False), (12, False)]
)
def test_hours_over_midnight(hour: int, inside: bool) -> None:
    hours = ActiveHours.of((time(22), time(6)), "Asia/Shanghai")
    assert hours.contains(datetime(2026, 5, 4, hour, 0, tzinfo=ZoneInfo("Asia/Shanghai"))) is inside


def test_hours_are_those_of_the_time_zone() -> None:
    hours = ActiveHours.of((time(9), time(17)), "Asia/Shanghai")
    assert hours.contains(datetime(2026, 5, 4, 2, 0, tzinfo=UTC))
    assert not hours.contains(datetime(2026, 5, 4, 12, 0, tzinfo=UTC))


# --- codes


def test_the_tree_of_errors_is_whole() -> None:
    """The drawing at the top of errors.py has each class."""
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    drawn = set(re.findall(r"\w+Error", errors.__doc__ or ""))
    assert not classes - drawn, "draw these into the tree at the top of errors.py"


def test_every_file_error_has_words_for_the_operator() -> None:
    waiting, codes = [FileError], set()
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if not kind.__subclasses__() or kind.code not in ("file_error", "held"):
            codes.add(kind.code)
    missing = sorted(codes - set(OUTCOME_HINTS))
    assert not missing, f"OUTCOME_HINTS in domain/outcome_codes.py lacks: {', '.join(missing)}"
    assert all(hint.endswith("。") for hint in OUTCOME_HINTS.values())
