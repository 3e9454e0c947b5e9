"""Which symbolic links a walk follows, so that each real file comes once and loops end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from domain.outcome_codes import OUTSIDE_ROOTS
from domain.regular_files import inside


def is_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a symbolic link, or on Windows a junction, which is_symlink() does not know."""
    if entry.is_symlink():
        return True
    if os.name != "nt" or not entry.is_dir(follow_symlinks=False):
        return False
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return bool(tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None))


class VisitedLinks:
    """The real paths of followed links.

    Args:
        source: real path of the source.
        in_roots: whether a real path is under the allowed roots.
        excluded: real paths of folders that are never walked.
        is_walked: whether the walk reaches the path of these parts below the source without any link.
    """

    def __init__(
        self,
        source: str,
        in_roots: Callable[[str], bool],
        excluded: frozenset[str],
        is_walked: Callable[[tuple[str, ...]], bool],
    ) -> None:
        self._source = source
        self._in_roots = in_roots
        self._excluded = excluded
        self._is_walked = is_walked
        self._visited: set[str] = set()

    def refusal(self, target: str) -> str | None:
        """The reason not to follow a link to this real path, or None."""
        if not self._in_roots(target) or self.is_excluded(target):
            return OUTSIDE_ROOTS
        return "symlink_duplicate" if self._is_reached_otherwise(target) else None

    def is_excluded(self, target: str) -> bool:
        return any(inside(target, folder) for folder in self._excluded)

    def add(self, target: str) -> None:
        self._visited.add(target)

    def __contains__(self, real_path: str) -> bool:
        return real_path in self._visited

    def _is_reached_otherwise(self, target: str) -> bool:
        """A folder that holds the source counts too: below it no file belongs to one patient."""
        if inside(self._source, target):
            return True
        if inside(target, self._source):
            below = os.path.relpath(target, self._source)
            if self._is_walked(() if below == os.curdir else tuple(below.split(os.sep))):
                return True
        while target not in self._visited:
            parent = os.path.dirname(target)
            if parent == target:
                return False
            target = parent
        return True
