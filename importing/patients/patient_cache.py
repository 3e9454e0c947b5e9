"""What the service knows of one patient in XieHe while it imports: who it is, which names are taken, and by whom.

One desk serves all tasks, and its lock orders find-or-create, listing and the decision on names; rendering and uploads
go on outside the lock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from errors import FileError
from importing.naming.listed_names import PatientNames
from importing.naming.name_decision import NameDecision, NameState, decide_names
from importing.naming.stored_names import NameChoices, stem_of, synced_names
from models import ImportedImage, NewPatient, PatientLookup, RemoteImage, RemotePatient

MAX_IDLE_DESKS = 256
MAX_IDLE_NAMES = 4_000
"""About 2 MB; a patient of another month whose desk has been cleared meanwhile is listed again."""


class PatientSource(Protocol):
    """The part of the XieHe client that a desk needs."""

    async def find_patient(self, patient_id: str) -> PatientLookup | None: ...
    async def create_patient(self, new: NewPatient) -> PatientLookup: ...
    async def list_images(self, patient: RemotePatient) -> list[RemoteImage]: ...


class ImageIndex(Protocol):
    """The part of the history that a desk needs."""

    async def images_of_patient(self, backend_url: str, patient_id: str) -> list[ImportedImage]: ...


@dataclass(eq=False, slots=True)
class NameReservation:
    """Names taken by a file that is on its way; ``done`` is set when it has arrived or given up.

    Attributes:
        instance: whose names.
        patient: for whom the names were chosen; the desk's own may be forgotten meanwhile.
        decision: the names, one per frame.
        found: by name, the images that XieHe lists under it and that the history does not know.
    """

    instance: str
    patient: RemotePatient
    decision: NameDecision
    found: Mapping[str, RemoteImage] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names, one per frame."""
        return self.decision.keys


@dataclass(eq=False)
class PatientEntry:
    """One patient. Use its methods under ``lock``, except where they say otherwise.

    Attributes:
        patient_id: the id as asked for; XieHe's own form of it is in ``patient``.
        patient: None where XieHe does not have it (yet).
        form_differs: XieHe's id has another case or width.
        refusal: why this patient cannot be used at all; met again by each of its files in this task.
    """

    patient_id: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    patient: RemotePatient | None = None
    form_differs: bool = False
    refusal: FileError | None = None
    users: int = 0
    _fresh_for: set[str] = field(default_factory=set)
    _counted_for: set[str] = field(default_factory=set)
    _names: PatientNames = field(default_factory=PatientNames)
    _claims: dict[str, NameReservation] = field(default_factory=dict)
    _arriving: list[ImportedImage] | None = None

    @property
    def names_held(self) -> int:
        """How many names this desk keeps in memory."""
        return len(self._names)

    async def refresh(self, task_id: str, backend_url: str, source: PatientSource, index: ImageIndex) -> None:
        """Looks the patient up and lists its images, once per task.

        Raises:
            BackendError: XieHe cannot be asked now.
        """
        if task_id in self._fresh_for:
            return
        self.refusal = None
        self._accept(await source.find_patient(self.patient_id))
        await self._read_names(backend_url, source, index)
        self._fresh_for.add(task_id)

    async def create(self, new: NewPatient, backend_url: str, source: PatientSource, index: ImageIndex) -> bool:
        """Makes the patient; False where it turned out to exist.

        Raises:
            FileError: XieHe cannot have this patient; remembered in ``refusal``.
            BackendError: XieHe cannot be asked now.
        """
        try:
            lookup = await source.create_patient(new)
        except FileError as error:
            self.refusal = error
            raise
        self._accept(lookup)
        if not lookup.created:
            await self._read_names(backend_url, source, index)
        return lookup.created

    def is_counted_for(self, task_id: str) -> bool:
        """Whether the patient stands in a task's counts."""
        return task_id in self._counted_for

    def note_counted(self, task_id: str) -> None:
        """The patient stands in a task's counts from now on."""
        self._counted_for.add(task_id)

    def look_again(self) -> None:
        """XieHe may show something else by now: to be looked up anew at the next need. Needs no lock."""
        self._fresh_for.clear()

    def state_of(self, key: str, instance: str) -> NameState:
        """What is known of a name, as seen by an instance."""
        return NameState.OTHERS if self._is_claimed(key, instance) else self._names.state(key, instance)

    def probably_uploaded(self, filename: str) -> bool:
        """True if XieHe lists the plain name of a source file, so that rendering would probably be wasted."""
        stem = stem_of(filename)
        return self._names.is_listed(stem, synced_names(filename)) or self._names.is_listed(f"{stem}-0001")

    def pending_claims(self, choices: NameChoices, instance: str) -> list[NameReservation]:
        """Claims of the same instance that are still on their way: wait for these before deciding."""
        keys = {key for keys in (*choices.ordered, *choices.former) for key in keys}
        claims = {id(claim): claim for key in keys if (claim := self._claims.get(key)) and claim.instance == instance}
        return list(claims.values())

    def claim(self, choices: NameChoices, instance: str, *, reupload_removed: bool = False) -> NameReservation:
        """Chooses the names of a file and takes them until :meth:`release`; there has to be a patient."""
        assert self.patient is not None
        names, taken = self._names, {image.image_file_id for image in self._images_claimed()}

        def state_of(key: str) -> NameState:
            if self._is_claimed(key, instance):
                return NameState.OTHERS
            return names.state(key, instance, choices.synced.get(key, ()), taken)

        decision = decide_names(choices, state_of, reupload_removed=reupload_removed)
        strange = [key for key, state in decision.by_key if state is NameState.STRANGE]
        images = {key: names.unknown_image(key, choices.synced.get(key, ()), taken) for key in strange}
        claim = NameReservation(
            instance, self.patient, decision, {key: image for key, image in images.items() if image}
        )
        for key in claim.keys:
            self._claims[key] = claim
        return claim

    def release(self, claim: NameReservation) -> None:
        """Gives the names back; what arrived meanwhile stands in the index. Needs no lock."""
        for key in claim.keys:
            if self._claims.get(key) is claim:
                del self._claims[key]
        claim.done.set()

    def listed_ids(self, key: str) -> tuple[int, ...]:
        """The image ids that XieHe lists under a name."""
        return self._names.ids_at(key)

    def row_of(self, key: str) -> ImportedImage | None:
        """The index row of a name."""
        return self._names.row_of(key)

    def new_name_of(self, row: ImportedImage) -> str | None:
        """What XieHe calls the image of a row by now, or None if that is its stored name."""
        return self._names.new_name_of(row)

    def remember(self, row: ImportedImage) -> None:
        """An image is in XieHe under a name. Needs no lock; also what arrives while the names are being read counts."""
        if self._arriving is not None:
            self._arriving.append(row)
        if self.patient is None or row.row_id != self.patient.row_id:
            return
        self._names.remember(row)

    def _is_claimed(self, key: str, instance: str) -> bool:
        claim = self._claims.get(key)
        return claim is not None and claim.instance != instance

    def _images_claimed(self) -> Iterator[RemoteImage]:
        return (image for claim in set(self._claims.values()) for image in claim.found.values())

    def _accept(self, lookup: PatientLookup | None) -> None:
        self.patient = None if lookup is None else lookup.patient
        self.form_differs = lookup is not None and lookup.differs_in_form

    async def _read_names(self, backend_url: str, source: PatientSource, index: ImageIndex) -> None:
        """Replaces all that is known of names; nothing is known of a patient that XieHe does not have."""
        patient, arrived = self.patient, list[ImportedImage]()
        if patient is None:
            self._names = PatientNames()
            return
        self._arriving = arrived
        images = await source.list_images(patient)
        rows = await index.images_of_patient(backend_url, patient.patient_id)
        self._arriving = None
        self._names = PatientNames(images, (row for row in rows if row.row_id == patient.row_id))
        for row in arrived:
            self.remember(row)


class PatientCache:
    """The patient_cache in use, and a bounded number of idle ones."""

    def __init__(self) -> None:
        self._desks: OrderedDict[str, PatientEntry] = OrderedDict()

    @contextmanager
    def acquire(self, patient_id: str, key: str) -> Iterator[PatientEntry]:
        """The desk of a patient, kept while it is used. ``key`` is equal for ids that mean one patient."""
        desk = self._desks.setdefault(key, PatientEntry(patient_id))
        self._desks.move_to_end(key)
        desk.users += 1
        try:
            yield desk
        finally:
            desk.users -= 1
            if not desk.users:
                self._clear_idle()

    def _clear_idle(self) -> None:
        idle = [key for key, desk in self._desks.items() if not desk.users]
        names = sum(self._desks[key].names_held for key in idle)
        while len(idle) > 1 and (len(idle) > MAX_IDLE_DESKS or names > MAX_IDLE_NAMES):  # never the one used last
            desk = self._desks.pop(idle.pop(0))
            names -= desk.names_held
