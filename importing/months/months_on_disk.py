"""The months on disk now. A share that hangs costs one thread and some seconds, not the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from errors import SourceError, SourceVanishedError
from importing.threads import AT_A_GLANCE_S, SourceLooks
from source import MonthFolder, ResolvedSource, SourceKind, TreeRules, month_folders, resolve_source

_Found = tuple[ResolvedSource, tuple[MonthFolder, ...]]


@dataclass(frozen=True, slots=True)
class DiskMonths:
    """Month folders that were found; a root in ``whole_roots`` has no others."""

    folders: tuple[MonthFolder, ...]
    whole_roots: frozenset[str]


async def months_on_disk(looks: SourceLooks, rules: TreeRules, known_roots: Iterable[str]) -> DiskMonths:
    """The months under the allowed roots and these; leaves out a root that does not answer in time."""
    roots = dict.fromkeys((*rules.allowed_roots, *sorted(known_roots)))
    found = await asyncio.gather(*(_months_of(looks, rules, root) for root in roots))
    answers = [answer for answer in found if answer is not None]
    return DiskMonths(
        tuple(dict.fromkeys(folder for _, folders in answers for folder in folders)),
        frozenset(source.path for source, _ in answers if source.kind is SourceKind.ROOT),
    )


async def _months_of(looks: SourceLooks, rules: TreeRules, root: str) -> _Found | None:
    try:
        return await looks.look(_months, root, rules, within_s=AT_A_GLANCE_S)
    except (SourceError, SourceVanishedError):
        return None


def _months(root: str, rules: TreeRules) -> _Found:
    source = resolve_source(root, rules)
    return source, month_folders(source, rules)
