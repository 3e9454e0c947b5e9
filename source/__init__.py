"""The source: folders, months, and the walk that finds files."""

from __future__ import annotations

from source.browsing import (
    Folder,
    FolderKind,
    FolderListing,
    browse,
    list_start_folders,
    start_folder,
    start_paths,
    unreachable_start_folder,
)
from source.root import (
    MonthFolder,
    ResolvedSource,
    SourceKind,
    SourcePlace,
    TreeRules,
    allowed_path,
    check_allowed,
    check_present,
    has_month_folder,
    month_at,
    month_folders,
    overlaps,
    place_of,
    real,
    resolve_source,
)
from source.walking import count, revisit, walk

__all__ = [
    "Folder",
    "FolderKind",
    "FolderListing",
    "MonthFolder",
    "ResolvedSource",
    "SourceKind",
    "SourcePlace",
    "TreeRules",
    "allowed_path",
    "browse",
    "check_allowed",
    "check_present",
    "count",
    "has_month_folder",
    "list_start_folders",
    "month_at",
    "month_folders",
    "overlaps",
    "place_of",
    "real",
    "resolve_source",
    "revisit",
    "start_folder",
    "start_paths",
    "unreachable_start_folder",
    "walk",
]
