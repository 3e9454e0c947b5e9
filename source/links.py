"""Which symbolic links a walk follows, so that each real file comes once and loops end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from domain.outcome_codes import OUTSIDE_ROOTS
from domain.regular_files import inside


def is_link(entry: os.DirEntry[str]) -> bool:
    """Symbolic links, and on Windows junctions, which is_symlink() does not know."""
    if entry.is_symlink():
        return True
    if os.name != "nt" or not entry.is_dir(follow_symlinks=False):
        return False
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return bool(tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None))


class LinkLedger:
    """Remembers the targets of followed links; every real folder and file is entered at most once."""

    def __init__(
        self,
        source_real_path: str,
        is_allowed: Callable[[str], bool],
        excluded: frozenset[str],
        walked_directly: Callable[[tuple[str, ...]], bool],
    ) -> None:
        """``is_allowed``: whether a real path lies under the roots. ``walked_directly``: whether the walk reaches
        the path of these parts below the source anyway."""
        self._source = source_real_path
        self._is_allowed = is_allowed
        self._excluded = excluded
        self._walked_directly = walked_directly
        self._followed: set[str] = set()

    def refusal(self, target: str) -> str | None:
        """Why a link to this real path is not followed, or None where it is to be."""
        if not self._is_allowed(target) or self.is_excluded(target):
            return OUTSIDE_ROOTS
        return "symlink_duplicate" if self._comes_otherwise(target) else None

    def is_excluded(self, target: str) -> bool:
        """Whether this real path is, or lies in, a folder that is never walked."""
        return any(inside(target, folder) for folder in self._excluded)

    def follow(self, target: str) -> None:
        """Remember that this real path is being walked."""
        self._followed.add(target)

    def followed(self, real_path: str) -> bool:
        """Whether this very folder or file was entered already."""
        return real_path in self._followed

    def _comes_otherwise(self, target: str) -> bool:
        """A folder that holds the source counts too: below it nothing is this patient's."""
        if inside(self._source, target):
            return True
        if inside(target, self._source):
            below = os.path.relpath(target, self._source)
            parts = () if below == os.curdir else tuple(below.split(os.sep))
            if self._walked_directly(parts):
                return True
        return self._below_followed(target)

    def _below_followed(self, target: str) -> bool:
        """One look per level of the path, whatever the number of links."""
        if not self._followed:
            return False
        while target not in self._followed:
            parent = os.path.dirname(target)
            if parent == target:
                return False
            target = parent
        return True
