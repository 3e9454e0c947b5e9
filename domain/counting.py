"""Folds outcomes into counts. No other place does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from domain.outcome_codes import NO_PIXEL_DATA
from models import Counts, FileOutcome, OutcomeKind, PatientChange

_NEW = (OutcomeKind.UPLOADED, OutcomeKind.WOULD_UPLOAD)
"""A dry run counts what would happen."""


def fold(counts: Counts, outcomes: Iterable[FileOutcome]) -> Counts:
    """The counts after more scanned files; each adds to exactly one of uploaded, duplicate and failed."""
    new = list(outcomes)
    kinds = Counter(outcome.kind for outcome in new)
    failed = [outcome for outcome in new if outcome.kind is OutcomeKind.FAILED]
    return replace(
        counts,
        total_files_scanned=counts.total_files_scanned + len(new),
        new_images_uploaded=counts.new_images_uploaded + sum(kinds[kind] for kind in _NEW),
        duplicate_images_skipped=counts.duplicate_images_skipped + kinds[OutcomeKind.DUPLICATE],
        failed_files=counts.failed_files + len(failed),
        held_files=counts.held_files + sum(outcome.held for outcome in failed),
        no_pixel_files=counts.no_pixel_files + sum(outcome.code == NO_PIXEL_DATA for outcome in failed),
        frames_uploaded=counts.frames_uploaded + sum(outcome.frames_uploaded for outcome in new),
        bytes_uploaded=counts.bytes_uploaded + sum(outcome.bytes_uploaded for outcome in new),
    )


def fold_patient(counts: Counts, change: PatientChange) -> Counts:
    return replace(
        counts,
        total_patients_found=counts.total_patients_found + change.found,
        new_patients_created=counts.new_patients_created + (change.resolved is True),
        existing_patients_skipped=counts.existing_patients_skipped + (change.resolved is False),
    )


def fold_ignored(counts: Counts, files: int = 1) -> Counts:
    """The counts after more ignored files, which do not count as scanned."""
    return replace(counts, ignored_files=counts.ignored_files + files)
