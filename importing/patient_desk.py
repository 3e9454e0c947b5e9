"""What the service knows of one patient in XieHe while it imports: who it is, which names are taken, and by whom.

One desk serves all tasks, and its lock orders find-or-create, listing and the decision on names; rendering and uploads
go on outside the lock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from errors import FileError
from importing.name_decision import NameDecision, NameState, decide_names
from importing.stored_names import NameChoices, name_key
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
class Claim:
    """Names taken by a file that is on its way; ``done`` is set when it has arrived or given up.

    ``patient`` is the one for whom the names were chosen; the desk's own may be forgotten meanwhile.
    """

    instance: str
    patient: RemotePatient
    decision: NameDecision
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names, one per frame."""
        return self.decision.keys


@dataclass(eq=False)
class PatientDesk:
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
    _listed: dict[str, RemoteImage] = field(default_factory=dict)
    _index: dict[str, ImportedImage] = field(default_factory=dict)
    _claims: dict[str, Claim] = field(default_factory=dict)
    _arriving: list[ImportedImage] | None = None

    @property
    def names_held(self) -> int:
        """How many names this desk keeps in memory."""
        return len(self._listed) + len(self._index)

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
        claim = self._claims.get(key)
        if claim is not None and claim.instance != instance:
            return NameState.OTHERS
        row = self._index.get(key)
        if row is None:
            return NameState.STRANGE if key in self._listed else NameState.FREE
        return _state_of_row(row, instance, listed=key in self._listed)

    def decide(self, choices: NameChoices, instance: str) -> NameDecision:
        """Chooses the names of a file; nothing is claimed yet."""
        return decide_names(choices, lambda key: self.state_of(key, instance))

    def likely_there(self, stem: str) -> bool:
        """True where XieHe lists the plain name of a file, so that rendering would probably be wasted."""
        return stem in self._listed or f"{stem}-0001" in self._listed

    def pending_claims(self, choices: NameChoices, instance: str) -> list[Claim]:
        """Claims of the same instance that are still on their way: wait for these before deciding."""
        keys = {key for keys in choices.ordered for key in keys}
        claims = {id(claim): claim for key in keys if (claim := self._claims.get(key)) and claim.instance == instance}
        return list(claims.values())

    def claim(self, decision: NameDecision, instance: str) -> Claim:
        """Takes the decided names until :meth:`release`; there has to be a patient."""
        assert self.patient is not None
        claim = Claim(instance, self.patient, decision)
        for key in claim.keys:
            self._claims[key] = claim
        return claim

    def release(self, claim: Claim) -> None:
        """Gives the names back; what arrived meanwhile stands in the index. Needs no lock."""
        for key in claim.keys:
            if self._claims.get(key) is claim:
                del self._claims[key]
        claim.done.set()

    def listed_ids(self, key: str) -> tuple[int, ...]:
        """The image ids that XieHe lists under a name."""
        image = self._listed.get(key)
        return () if image is None else (image.image_file_id,)

    def image_of(self, key: str) -> RemoteImage | None:
        """The listed image of a name."""
        return self._listed.get(key)

    def row_of(self, key: str) -> ImportedImage | None:
        """The index row of a name."""
        return self._index.get(key)

    def remember(self, row: ImportedImage) -> None:
        """An image is in XieHe under a name. Needs no lock; also what arrives while the names are being read counts."""
        if self._arriving is not None:
            self._arriving.append(row)
        if self.patient is None or row.row_id != self.patient.row_id:
            return
        self._index[row.name_key] = row
        if row.name_key not in self._listed:
            self._listed[row.name_key] = RemoteImage(row.image_file_id or 0, row.stored_name, row.jpg_size, None)

    def _accept(self, lookup: PatientLookup | None) -> None:
        self.patient = None if lookup is None else lookup.patient
        self.form_differs = lookup is not None and lookup.differs_in_form

    async def _read_names(self, backend_url: str, source: PatientSource, index: ImageIndex) -> None:
        """Replaces all that is known of names; nothing is known of a patient that XieHe does not have."""
        patient, arrived = self.patient, list[ImportedImage]()
        if patient is None:
            self._listed, self._index = {}, {}
            return
        self._arriving = arrived
        images = await source.list_images(patient)
        rows = await index.images_of_patient(backend_url, patient.patient_id)
        self._arriving = None
        self._listed = {name_key(image.filename): image for image in images}
        self._index = {row.name_key: row for row in rows if row.row_id == patient.row_id}
        for row in arrived:
            self.remember(row)


def _state_of_row(row: ImportedImage, instance: str, *, listed: bool) -> NameState:
    if not listed and not row.uploaded_by_us:
        return NameState.FREE
    if row.instance != instance:
        return NameState.OTHERS
    if not listed:
        return NameState.REMOVED
    return NameState.OURS if row.uploaded_by_us else NameState.CLAIMED_BEFORE


class DeskRoom:
    """The desks in use, and a bounded number of idle ones."""

    def __init__(self) -> None:
        self._desks: OrderedDict[str, PatientDesk] = OrderedDict()

    @contextmanager
    def sit_at(self, patient_id: str, key: str) -> Iterator[PatientDesk]:
        """The desk of a patient, kept while it is used. ``key`` is equal for ids that mean one patient."""
        desk = self._desks.setdefault(key, PatientDesk(patient_id))
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
