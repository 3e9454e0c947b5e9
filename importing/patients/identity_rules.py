"""Whose image a file is: folder name against PatientID, header against XieHe's patient. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from domain.patient_identity import FORM_DIFFERS_CODE, IdMatch, check_patient_id, match_patient_id, normal_patient_id
from errors import DemographicsMismatchError, PatientMismatchError
from models import (
    DemographicsMismatchPolicy,
    FileWarning,
    NewPatient,
    PatientHeader,
    PatientMismatchPolicy,
    RemotePatient,
    Sex,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The patient id that counts for a file, and warnings about the choice."""

    patient_id: str
    warnings: tuple[FileWarning, ...] = ()


def identify(folder: str, header: PatientHeader, policy: PatientMismatchPolicy) -> Identity:
    """Decides the patient id of a file.

    Raises:
        PatientMismatchError: folder and header differ, and the policy is to hold.
        PatientIdInvalidError, PatientIdTooLongError: the id that counts cannot be stored.
    """
    identity = _choose(normal_patient_id(folder), header.patient_id, policy)
    check_patient_id(identity.patient_id)
    return identity


def _choose(folder_id: str, header_id: str | None, policy: PatientMismatchPolicy) -> Identity:
    if policy is PatientMismatchPolicy.TRUST_FOLDER:
        return Identity(folder_id)
    if not header_id:
        return Identity(folder_id, (FileWarning("patient_id_missing", "文件头没有患者ID，以目录名为准"),))
    match = match_patient_id(folder_id, header_id)
    if match is IdMatch.EXACT:
        return Identity(header_id)
    if match is IdMatch.FORM_DIFFERS:
        message = f"目录名 {folder_id} 与文件头患者ID {header_id} 仅大小写或全半角不同，视为同一患者"
        return Identity(header_id, (FileWarning(FORM_DIFFERS_CODE, message),))
    if policy is PatientMismatchPolicy.HOLD:
        raise PatientMismatchError(f"目录名是 {folder_id}，文件头患者ID是 {header_id}；未上传")
    message = f"目录名 {folder_id} 与文件头患者ID {header_id} 不同，按要求以文件头为准"
    return Identity(header_id, (FileWarning("patient_id_from_header", message),))


def new_patient(patient_id: str, header: PatientHeader, policy: PatientMismatchPolicy) -> NewPatient:
    """The patient to create from a file.

    Under ``trust_folder`` a header with another PatientID describes another patient, so nothing is taken from it.
    """
    differs = match_patient_id(patient_id, header.patient_id or "") is IdMatch.DIFFERENT
    if differs and policy is PatientMismatchPolicy.TRUST_FOLDER:
        return NewPatient(patient_id, patient_id, Sex.UNKNOWN, None)
    return NewPatient(patient_id, header.name or patient_id, header.sex, header.birth_date)


def check_demographics(
    header: PatientHeader, remote: RemotePatient, policy: DemographicsMismatchPolicy
) -> tuple[FileWarning, ...]:
    """Compares birth date and sex with XieHe's patient; nothing known on one side is no conflict.

    Raises DemographicsMismatchError, without the values, if the policy holds such a file.
    """
    differing = _differences(header, remote)
    if not differing:
        return ()
    what = "和".join(differing)
    enough = 1 if policy is DemographicsMismatchPolicy.HOLD else 2
    if policy is not DemographicsMismatchPolicy.WARN and len(differing) >= enough:
        raise DemographicsMismatchError(f"文件头的{what}与 XieHe 中患者 {remote.patient_id} 不符；未上传")
    return (FileWarning("demographics_differ", f"文件头的{what}与 XieHe 中患者 {remote.patient_id} 不符，请核对"),)


def _differences(header: PatientHeader, remote: RemotePatient) -> tuple[str, ...]:
    births = {header.birth_date, remote.birth_date} - {None}
    sexes = {header.sex, remote.sex} - {Sex.UNKNOWN}
    return (*(("出生日期",) if len(births) == 2 else ()), *(("性别",) if len(sexes) == 2 else ()))
