"""What the service knows of each patient in XieHe while it imports: the patient's row, and who has which name.

One entry serves all tasks. Its lock orders find-or-create, listing and the decision on names. Rendering and uploads run
outside the lock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from domain.patient_identity import form_key
from errors import FileError
from importing.naming.listed_names import PatientNames
from importing.naming.name_decision import NameDecision, NameState, decide_names
from importing.naming.stored_names import NameChoices, stem_of, synced_names
from importing.ports import BackendPort, HistoryPort
from models import ImportedImage, NewPatient, PatientLookup, RemoteImage, RemotePatient

MAX_IDLE_ENTRIES = 256
MAX_IDLE_NAMES = 4_000
"""About 2 MB. A patient whose entry was dropped is listed again."""


@dataclass(eq=False, slots=True)
class NameReservation:
    """Names that a file holds until it has arrived or given up; ``done`` is set then.

    Attributes:
        instance: whose names.
        patient: for whom the names were chosen; the entry may forget its own meanwhile.
        decision: the names, one per frame.
        found: by name, images that XieHe lists under it and that the history does not know.
    """

    instance: str
    patient: RemotePatient
    decision: NameDecision
    found: Mapping[str, RemoteImage] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class PatientEntry:
    """One patient. Use its methods under ``lock``, unless they say otherwise.

    Attributes:
        patient_id: the id as asked for; XieHe's own form of it is in ``patient``.
        patient: None if XieHe does not have it (yet).
        form_differs: XieHe's id has another case or width.
        refusal: why XieHe cannot have this patient; each of its files in this task fails so.
        counted_for: tasks whose counts include the patient.
    """

    patient_id: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    patient: RemotePatient | None = None
    form_differs: bool = False
    refusal: FileError | None = None
    names: PatientNames = field(default_factory=PatientNames)
    counted_for: set[str] = field(default_factory=set)
    users: int = 0
    _fresh_for: set[str] = field(default_factory=set)
    _reservations: dict[str, NameReservation] = field(default_factory=dict)
    _arriving: list[ImportedImage] | None = None

    async def refresh(self, task_id: str, backend_url: str, client: BackendPort, history: HistoryPort) -> None:
        """Looks the patient up and lists its images, once per task. Raises BackendError."""
        if task_id in self._fresh_for:
            return
        self.refusal = None
        self._accept(await client.find_patient(self.patient_id))
        await self._read_names(backend_url, client, history)
        self._fresh_for.add(task_id)

    async def create(self, new: NewPatient, backend_url: str, client: BackendPort, history: HistoryPort) -> bool:
        """Creates the patient; False if XieHe has it already.

        Raises:
            FileError: XieHe cannot have this patient; remembered in ``refusal``.
            BackendError: XieHe cannot be asked now.
        """
        try:
            lookup = await client.create_patient(new)
        except FileError as error:
            self.refusal = error
            raise
        self._accept(lookup)
        if not lookup.created:
            await self._read_names(backend_url, client, history)
        return lookup.created

    def invalidate(self) -> None:
        """Makes each task look the patient up anew at its next need. Needs no lock."""
        self._fresh_for.clear()

    def state_of(self, key: str, instance: str) -> NameState:
        """What is known of a name, as seen by an instance."""
        return NameState.OTHERS if self._is_reserved(key, instance) else self.names.state(key, instance)

    def probably_uploaded(self, filename: str) -> bool:
        """Whether XieHe lists the plain name of a source file, so that rendering would probably be wasted."""
        stem = stem_of(filename)
        return self.names.is_listed(stem, synced_names(filename)) or self.names.is_listed(f"{stem}-0001")

    def pending(self, choices: NameChoices, instance: str) -> list[NameReservation]:
        """Reservations of the same instance that have to end before its names are decided."""
        keys = {key for keys in (*choices.ordered, *choices.former) for key in keys}
        found = {reservation for key in keys if (reservation := self._reservations.get(key))}
        return [reservation for reservation in found if reservation.instance == instance]

    def reserve(self, choices: NameChoices, instance: str, *, reupload_removed: bool = False) -> NameReservation:
        """Chooses the names of a file and holds them until :meth:`release`. The patient has to exist."""
        assert self.patient is not None
        names = self.names
        taken = {image.image_file_id for held in set(self._reservations.values()) for image in held.found.values()}

        def state_of(key: str) -> NameState:
            if self._is_reserved(key, instance):
                return NameState.OTHERS
            return names.state(key, instance, choices.synced.get(key, ()), taken)

        decision = decide_names(choices, state_of, reupload_removed=reupload_removed)
        found = {
            key: image
            for key, state in zip(decision.keys, decision.states, strict=True)
            if state is NameState.UNKNOWN and (image := names.unknown_image(key, choices.synced.get(key, ()), taken))
        }
        reservation = NameReservation(instance, self.patient, decision, found)
        self._reservations.update(dict.fromkeys(decision.keys, reservation))
        return reservation

    def release(self, reservation: NameReservation) -> None:
        """Frees the names; the index has those of images that arrived. Needs no lock."""
        for key in reservation.decision.keys:
            if self._reservations.get(key) is reservation:
                del self._reservations[key]
        reservation.done.set()

    def remember(self, row: ImportedImage) -> None:
        """Notes that an image is in XieHe, also while the names are being read. Needs no lock."""
        if self._arriving is not None:
            self._arriving.append(row)
        if self.patient is not None and row.row_id == self.patient.row_id:
            self.names.remember(row)

    def _is_reserved(self, key: str, instance: str) -> bool:
        reservation = self._reservations.get(key)
        return reservation is not None and reservation.instance != instance

    def _accept(self, lookup: PatientLookup | None) -> None:
        self.patient = None if lookup is None else lookup.patient
        self.form_differs = lookup is not None and lookup.differs_in_form

    async def _read_names(self, backend_url: str, client: BackendPort, history: HistoryPort) -> None:
        """Replaces all that is known of names."""
        patient, arrived = self.patient, list[ImportedImage]()
        if patient is None:
            self.names = PatientNames()
            return
        self._arriving = arrived
        images = await client.list_images(patient)
        rows = await history.images_of_patient(backend_url, patient.patient_id)
        self._arriving = None
        self.names = PatientNames(images, (row for row in rows if row.row_id == patient.row_id))
        for row in arrived:
            self.remember(row)


class PatientCache:
    """The entries in use, and a bounded number of idle ones."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, PatientEntry] = OrderedDict()

    @contextmanager
    def acquire(self, patient_id: str) -> Iterator[PatientEntry]:
        """The entry of a patient, kept while it is used. Ids that differ in form share one."""
        key = form_key(patient_id)
        entry = self._entries.setdefault(key, PatientEntry(patient_id))
        self._entries.move_to_end(key)
        entry.users += 1
        try:
            yield entry
        finally:
            entry.users -= 1
            if not entry.users:
                self._drop_idle()

    def _drop_idle(self) -> None:
        idle = [key for key, entry in self._entries.items() if not entry.users]
        names = sum(len(self._entries[key].names) for key in idle)
        while len(idle) > 1 and (len(idle) > MAX_IDLE_ENTRIES or names > MAX_IDLE_NAMES):  # never the one used last
            names -= len(self._entries.pop(idle.pop(0)).names)
