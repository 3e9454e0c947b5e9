"""Files that the history knows and that have not changed: duplicates without being opened."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby

from config import IMAGE_KINDS
from domain import outcome_codes as codes
from domain.patient_identity import KEYS_KEPT, form_key, same_patient_id
from errors import FileError, PatientUnavailableError
from history import SeenSource
from importing.files.file_outcome import renamed_to
from importing.naming.name_decision import NameState
from importing.naming.stored_names import named_image
from importing.patients.identity_rules import identify
from importing.patients.patient_cache import PatientEntry
from importing.runs.run_context import RunContext
from models import FileOutcome, OutcomeKind, PatientHeader, PatientMismatchPolicy, Sex, SourceFile


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of the walk, and what the history knows of it."""

    source: SourceFile
    seen: SeenSource


def is_unchanged(source: SourceFile, seen: SeenSource | None, policy: PatientMismatchPolicy) -> bool:
    """True if size and time are as remembered and the same patient would be chosen today."""
    if seen is None or (seen.size_bytes, seen.mtime_ns) != (source.size_bytes, source.mtime_ns):
        return False
    return _means(seen.patient_id, source.patient_dir, seen.header_patient_id, policy)


@lru_cache(KEYS_KEPT)
def _means(patient_id: str, patient_dir: str, header_id: str | None, policy: PatientMismatchPolicy) -> bool:
    """Whether a file of that folder with that PatientID is that patient's."""
    header = PatientHeader(header_id, None, Sex.UNKNOWN, None, "")
    try:
        return same_patient_id(identify(patient_dir, header, policy).patient_id, patient_id)
    except FileError:
        return False


def can_skip(context: RunContext, source: SourceFile, seen: SeenSource | None) -> bool:
    """Whether history and settings allow to skip the file unread."""
    if seen is None or _is_switched_off(source, seen, context.tools.image_extensions):
        return False
    return is_unchanged(source, seen, context.options.on_patient_mismatch)


def _is_switched_off(source: SourceFile, seen: SeenSource, image_extensions: Collection[str]) -> bool:
    """True for a plain picture whose extension IMAGE_EXTENSIONS no longer lists."""
    name = os.path.basename(source.path)
    plain = seen.sop_instance_uid is None and named_image(name, IMAGE_KINDS)
    return plain and not named_image(name, image_extensions)


async def skip_unchanged(context: RunContext, files: Sequence[KnownFile]) -> tuple[list[FileOutcome], list[SourceFile]]:
    """Splits files of one folder into duplicates and those that have to be imported after all.

    A file is a duplicate if each of its names is the history's for this instance and XieHe lists it.
    """
    outcomes: list[FileOutcome] = []
    others: list[SourceFile] = []
    for _, group in groupby(files, key=lambda file: form_key(file.seen.patient_id)):
        of_patient = list(group)
        with context.tools.patient_cache.acquire(of_patient[0].seen.patient_id) as entry:
            found = await _known_duplicates(context, entry, of_patient)
        outcomes.extend(found.values())
        others.extend(file.source for file in of_patient if file.source.path not in found)
    return outcomes, others


async def _known_duplicates(
    context: RunContext, entry: PatientEntry, files: Sequence[KnownFile]
) -> Mapping[str, FileOutcome]:
    """By path; other files have to be imported."""

    async def look() -> dict[str, FileOutcome]:
        if entry.patient is None:
            return {}
        there = {file.source.path: _duplicate(entry, file) for file in files if _all_there(entry, file.seen)}
        if there:
            await context.count_patient(entry, created=False)
        return there

    try:
        return await context.with_patient_lock(entry, look)
    except PatientUnavailableError:  # each file's own import reports it
        return {}


def _all_there(entry: PatientEntry, seen: SeenSource) -> bool:
    wanted = (NameState.OURS, NameState.CLAIMED_BEFORE)
    return all(entry.state_of(key, seen.instance) in wanted for key in seen.name_keys)


def _duplicate(entry: PatientEntry, file: KnownFile) -> FileOutcome:
    row = entry.names.row_of(file.seen.name_keys[0])
    by_name = row is not None and not row.uploaded_by_us
    name = row.stored_name if row else file.seen.name_keys[0]
    renamed = renamed_to(entry.names.new_name_of(row) if row else None)
    return FileOutcome(
        source_path=file.source.path,
        month=file.source.month,
        kind=OutcomeKind.DUPLICATE,
        code=codes.DUPLICATE_BY_NAME if by_name else codes.DUPLICATE,
        detail=f"XieHe 中已有{'同名影像' if by_name else ''} {name}{renamed}（文件未变，未重新读取）",
        finished_at=datetime.now(UTC),
        patient_id=file.seen.patient_id,
        sop_instance_uid=file.seen.sop_instance_uid,
        upload_filename=name,
        image_file_id=row.image_file_id if row else None,
        frames_total=len(file.seen.name_keys),
        size_bytes=file.source.size_bytes,
        mtime_ns=file.source.mtime_ns,
    )
