"""Keeps one SOP Instance UID with one patient, among imports under way, the history and XieHe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from domain.patient_identity import same_patient_id
from errors import InstanceOfOtherPatientError
from importing.naming.listed_names import PatientNames
from importing.ports import BackendPort, HistoryPort
from models import FileWarning, ImportedImage


@dataclass(slots=True)
class _Holder:
    """``rows`` is what the history had at the last check; ``names`` came since."""

    patient_id: str
    files: int = 0
    names: set[str] = field(default_factory=set)
    rows: Sequence[ImportedImage] = ()


class InstanceRegistry:
    """Refuses a SOP Instance UID that another patient has."""

    def __init__(self, history: HistoryPort, client: BackendPort, backend_url: str) -> None:
        self._history = history
        self._client = client
        self._backend_url = backend_url
        self._under_way: dict[str, _Holder] = {}

    @contextmanager
    def hold(self, sop_instance_uid: str | None, patient_id: str) -> Iterator[None]:
        """Marks an instance as being imported for a patient. Raises InstanceOfOtherPatientError."""
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
        """Looks a held instance up in the history; a row whose image XieHe no longer has does not count.

        Raises InstanceOfOtherPatientError, or BackendError if XieHe cannot be asked now.
        """
        if sop_instance_uid is None:
            return
        rows = await self._history.instances(self._backend_url, sop_instance_uid)
        self._under_way[sop_instance_uid].rows = rows
        for row in rows:
            if not same_patient_id(row.patient_id, patient_id) and await self._still_there(row):
                raise _refusal(row.patient_id)

    def add_name(self, sop_instance_uid: str | None, patient_id: str, key: str) -> tuple[FileWarning, ...]:
        """Notes the name of a held and checked instance; warns if the patient has it under another name too."""
        if sop_instance_uid is None:
            return ()
        holder = self._under_way[sop_instance_uid]
        own = (row for row in holder.rows if row.frame_number == 1 and same_patient_id(row.patient_id, patient_id))
        others = sorted({*holder.names, *(row.name_key for row in own)} - {key})
        holder.names.add(key)
        if not others:
            return ()
        message = f"同一影像（SOP Instance UID 相同）已用另一文件名存于该患者名下：{others[0]}"
        return (FileWarning("instance_under_other_name", message),)

    async def _still_there(self, row: ImportedImage) -> bool:
        lookup = await self._client.find_patient(row.patient_id)
        if lookup is None or lookup.patient.row_id != row.row_id:
            return False
        return PatientNames(await self._client.list_images(lookup.patient), [row]).has(row)


def _refusal(patient_id: str) -> InstanceOfOtherPatientError:
    return InstanceOfOtherPatientError(f"同一影像（SOP Instance UID 相同）已属于患者 {patient_id}；未上传")
