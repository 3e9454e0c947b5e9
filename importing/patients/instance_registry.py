"""Keeps one SOP Instance UID with one patient: what is under way here, and what the history and XieHe have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from domain.patient_identity import same_patient_id
from errors import InstanceOfOtherPatientError
from importing.naming.listed_names import PatientNames
from models import FileWarning, ImportedImage, PatientLookup, RemoteImage, RemotePatient


class InstanceIndex(Protocol):
    """The part of the history that the ledger needs."""

    async def instances(self, backend_url: str, sop_instance_uid: str) -> list[ImportedImage]: ...


class PatientView(Protocol):
    """The part of the XieHe client that the ledger needs."""

    async def find_patient(self, patient_id: str) -> PatientLookup | None: ...
    async def list_images(self, patient: RemotePatient) -> list[RemoteImage]: ...


@dataclass(slots=True)
class _Holder:
    """``rows`` is what the history had at the last look; what came to it since stands in ``names``."""

    patient_id: str
    files: int = 0
    names: set[str] = field(default_factory=set)
    rows: Sequence[ImportedImage] = ()


class InstanceRegistry:
    """Refuses a SOP Instance UID that another patient has."""

    def __init__(self, index: InstanceIndex, view: PatientView, backend_url: str) -> None:
        self._index = index
        self._view = view
        self._backend_url = backend_url
        self._under_way: dict[str, _Holder] = {}

    @contextmanager
    def holding(self, sop_instance_uid: str | None, patient_id: str) -> Iterator[None]:
        """Marks an instance as being imported for a patient.

        Raises:
            InstanceOfOtherPatientError: it is just being imported for another one.
        """
        if sop_instance_uid is None:
            yield
            return
        holder = self._under_way.setdefault(sop_instance_uid, _Holder(patient_id))
        if not same_patient_id(holder.patient_id, patient_id):
            raise _refusal(holder.patient_id)
        holder.files += 1
        try:
            yield
        finally:
            holder.files -= 1
            if not holder.files:
                del self._under_way[sop_instance_uid]

    async def check(self, sop_instance_uid: str | None, patient_id: str) -> None:
        """Looks a held instance up in the history; a row whose picture XieHe no longer has does not count.

        Raises:
            InstanceOfOtherPatientError: another patient has it.
            BackendError: XieHe cannot be asked now.
        """
        if sop_instance_uid is None:
            return
        rows = await self._index.instances(self._backend_url, sop_instance_uid)
        self._under_way[sop_instance_uid].rows = rows
        for row in rows:
            if not same_patient_id(row.patient_id, patient_id) and await self._still_there(row):
                raise _refusal(row.patient_id)

    def name(self, sop_instance_uid: str | None, patient_id: str, key: str) -> tuple[FileWarning, ...]:
        """Notes under which name an instance goes to its patient. To be called while it is held, after the check.

        Returns:
            A warning where the patient has the instance, or is just getting it, under another name.
        """
        if sop_instance_uid is None:
            return ()
        holder = self._under_way[sop_instance_uid]
        under_way = holder.names - {key}
        holder.names.add(key)
        own = (row for row in holder.rows if row.frame_number == 1 and same_patient_id(row.patient_id, patient_id))
        others = sorted(under_way.union(row.name_key for row in own if row.name_key != key))
        if not others:
            return ()
        message = f"同一影像（SOP Instance UID 相同）已用另一文件名存于该患者名下：{others[0]}"
        return (FileWarning("instance_under_other_name", message),)

    async def _still_there(self, row: ImportedImage) -> bool:
        lookup = await self._view.find_patient(row.patient_id)
        if lookup is None or lookup.patient.row_id != row.row_id:
            return False
        images = await self._view.list_images(lookup.patient)
        return PatientNames(images, [row]).has(row)


def _refusal(patient_id: str) -> InstanceOfOtherPatientError:
    return InstanceOfOtherPatientError(f"同一影像（SOP Instance UID 相同）已属于患者 {patient_id}；未上传")
