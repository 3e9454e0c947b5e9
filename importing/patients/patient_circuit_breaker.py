"""Fails the files of a patient for whom XieHe always errs, so that they do not hold up all others."""

from __future__ import annotations

from domain.patient_identity import form_key
from errors import BackendError, PatientUnavailableError
from importing.ports import BackendPort
from models import RemotePatient

FAULTS_ENOUGH = 3
"""Rounds of attempts, a pause between each two, before another patient is asked for."""


class PatientCircuitBreaker:
    """What one run has learnt of patients that XieHe serves, and of those that it does not."""

    def __init__(self) -> None:
        self._served: dict[str, RemotePatient] = {}
        self._unavailable: set[str] = set()

    def note_served(self, patient_id: str, patient: RemotePatient | None) -> None:
        """XieHe has answered for that patient; the last two are remembered as probes."""
        if patient is None or form_key(patient_id) in self._served:
            return
        self._served[form_key(patient_id)] = patient
        if len(self._served) > 2:
            del self._served[next(iter(self._served))]

    def check(self, patient_id: str) -> None:
        """Raises PatientUnavailableError if the breaker is open for the patient."""
        if form_key(patient_id) in self._unavailable:
            raise PatientUnavailableError(f"XieHe 对患者 {patient_id} 的请求始终出错，而对其他患者正常；未上传")

    async def serves_another(self, patient_id: str, client: BackendPort) -> bool:
        """Whether XieHe serves now a patient that it served before; False if none is known."""
        others = [patient for key, patient in self._served.items() if key != form_key(patient_id)]
        if not others:
            return False
        try:
            await client.find_patient(others[-1].patient_id)
            await client.list_images(others[-1])
        except BackendError:
            return False
        return True

    def open(self, patient_id: str) -> None:
        """Opens the breaker for the patient. Raises PatientUnavailableError."""
        self._unavailable.add(form_key(patient_id))
        self.check(patient_id)

    def reset(self) -> None:
        """Closes it for all patients."""
        self._unavailable.clear()
