"""The folders of one level, for a person who chooses a source."""

from __future__ import annotations

import asyncio
import os

from errors import SourceUnavailableError
from importing.threads import AT_A_GLANCE_S, SourceLooks
from source import (
    Folder,
    FolderListing,
    TreeRules,
    browse,
    list_start_folders,
    start_folder,
    start_paths,
    unreachable_start_folder,
)


async def list_folders(looks: SourceLooks, path: str | None, rules: TreeRules) -> FolderListing:
    """The folders in ``path``; None lists the level above the allowed roots.

    Raises:
        SourceNotFoundError, SourceNotAllowedError, SourceUnavailableError: the folder cannot be listed.
    """
    if path:
        return await looks.look(browse, path, rules)
    roots = await looks.look(_roots, os.sep, rules)
    return list_start_folders(await asyncio.gather(*(_root(looks, root, rules) for root in roots)))


def _roots(_: str, rules: TreeRules) -> tuple[str, ...]:
    return start_paths(rules)


async def _root(looks: SourceLooks, root: str, rules: TreeRules) -> Folder:
    """A root on a share that hangs is listed, too, and delays no other."""
    try:
        return await looks.look(start_folder, root, rules, within_s=AT_A_GLANCE_S)
    except SourceUnavailableError:
        return unreachable_start_folder(root, rules)
