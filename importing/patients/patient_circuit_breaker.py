"""Tells a patient whom XieHe cannot serve from a XieHe that serves nobody."""

from __future__ import annotations

from domain.patient_identity import form_key
from errors import BackendError, PatientUnavailableError
from importing.patients.instance_registry import PatientView
from models import RemotePatient

FAULTS_ENOUGH = 3
"""Rounds of attempts, a pause between each two, before anybody is blamed."""


class PatientCircuitBreaker:
    """What one run has learnt. Without it, one patient whose every call ends in 500 would hold up all others."""

    def __init__(self) -> None:
        self._served: dict[str, RemotePatient] = {}
        self._blamed: set[str] = set()

    def note_served(self, patient_id: str, patient: RemotePatient | None) -> None:
        """XieHe has answered for that patient; the last two are remembered, to be asked for again."""
        if patient is None or form_key(patient_id) in self._served:
            return
        self._served[form_key(patient_id)] = patient
        if len(self._served) > 2:
            del self._served[next(iter(self._served))]

    def refuse_blamed(self, patient_id: str) -> None:
        """Raises PatientUnavailableError for a patient who was found to be the cause."""
        if form_key(patient_id) in self._blamed:
            raise PatientUnavailableError(f"XieHe 对患者 {patient_id} 的请求始终出错，而对其他患者正常；未上传")

    async def others_are_served(self, patient_id: str, view: PatientView) -> bool:
        """Whether XieHe serves a patient now whom it served before; False where none is known."""
        others = [patient for key, patient in self._served.items() if key != form_key(patient_id)]
        return bool(others) and await _serves(view, others[-1])

    def blame(self, patient_id: str) -> None:
        """From now on :meth:`refuse_blamed` refuses the patient. Raises PatientUnavailableError."""
        self._blamed.add(form_key(patient_id))
        self.refuse_blamed(patient_id)

    def forgive(self) -> None:
        """Everybody gets a second chance."""
        self._blamed.clear()


async def _serves(view: PatientView, patient: RemotePatient) -> bool:
    try:
        await view.find_patient(patient.patient_id)
        await view.list_images(patient)
    except BackendError:
        return False
    return True
