"""A run's steps on its source; each runs in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError
from models import SourceFile
from source import ResolvedSource, TreeRules, resolve_source

Item = TypeVar("Item")

EVENTS_AT_ONCE = 512
PULL_SECONDS = 0.05


def resolve_present(path: str, rules: TreeRules) -> ResolvedSource:
    """The source as it is now.

    Raises:
        SourceVanishedError: it cannot be reached, or leads outside the allowed roots now.
    """
    try:
        return resolve_source(path, rules)
    except (SourceNotAllowedError, SourceNotFoundError) as error:
        raise SourceVanishedError(error.detail) from error


def with_current_size(source: SourceFile) -> SourceFile:
    """The file with its current size and time; unchanged if they cannot be read."""
    try:
        status = os.stat(source.path)
    except OSError:
        return source
    return SourceFile(source.path, source.month, source.patient_dir, status.st_size, status.st_mtime_ns)


def pull(items: Iterator[Item]) -> list[Item]:
    """The next few events of a walk, as many as come within a moment; none at its end."""
    begun = time.monotonic()
    pulled: list[Item] = []
    for item in islice(items, EVENTS_AT_ONCE):
        pulled.append(item)
        if time.monotonic() - begun > PULL_SECONDS:
            break
    return pulled
