"""Which months lie on disk now. A share that hangs costs one thread and some seconds, not the board."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from errors import SourceError, SourceVanishedError
from source_tree import MonthFolder, ResolvedSource, SourceKind, TreeRules, month_folders, resolve_source

LOOK_WITHIN_S = 5.0
_Look = asyncio.Task[tuple[ResolvedSource, tuple[MonthFolder, ...]] | None]


@dataclass(frozen=True, slots=True)
class DiskMonths:
    """Month folders that were seen; of a root in ``whole_roots`` there are no others."""

    folders: tuple[MonthFolder, ...]
    whole_roots: frozenset[str]


class MonthsOnDisk:
    """Looks into roots, each by one thread at a time."""

    def __init__(self, rules: TreeRules) -> None:
        self._rules = rules
        self._looks: dict[str, _Look] = {}

    async def look(self, known_roots: Iterable[str]) -> DiskMonths:
        """The months under the allowed roots and under these; a root that does not answer in time is left out."""
        roots = dict.fromkeys((*self._rules.allowed_roots, *sorted(known_roots)))
        looks = [self._look_into(root) for root in roots]
        if looks:
            await asyncio.wait(looks, timeout=LOOK_WITHIN_S)
        found = [result for look in looks if look.done() and (result := look.result()) is not None]
        return DiskMonths(
            tuple(dict.fromkeys(folder for _, folders in found for folder in folders)),
            frozenset(source.path for source, _ in found if source.kind is SourceKind.ROOT),
        )

    def _look_into(self, root: str) -> _Look:
        """A new look, or the one that has not come back yet."""
        if root not in self._looks:
            look = asyncio.create_task(asyncio.to_thread(self._months, root), name="months on disk")
            look.add_done_callback(lambda _: self._looks.pop(root, None))
            self._looks[root] = look
        return self._looks[root]

    def _months(self, root: str) -> tuple[ResolvedSource, tuple[MonthFolder, ...]] | None:
        try:
            source = resolve_source(root, self._rules)
            return source, month_folders(source, self._rules)
        except (SourceError, SourceVanishedError):
            return None
