"""Finds the uploaded image of a report row in OUTPUT_DIR."""

from __future__ import annotations

import os

from importing.images.kept_files import has_exact_name, kept_paths
from importing.naming.stored_names import MAX_FOLDER_BYTES, name_key, safe_local_name
from importing.runs.run_context import ImportTools
from importing.threads import for_people
from models import FileOutcome, ImportedImage, OutcomeKind

_CLOCKS_DIFFER_S = 2.0


class KeptImages:
    """Finds uploaded images. It returns no path outside OUTPUT_DIR, and none that may hold another image."""

    def __init__(self, tools: ImportTools) -> None:
        self._tools = tools

    async def path_of(self, outcome: FileOutcome, frame: int) -> str | None:
        """The path of the image; None if it was not kept, or may be another one."""
        if outcome.kind is OutcomeKind.FAILED and outcome.frames_uploaded == 0:
            return None
        for own in _own_paths(outcome, frame):
            if await for_people(self._is_own, own, outcome):
                return own
        return await self._from_index(outcome, frame)

    def _is_own(self, path: str, outcome: FileOutcome) -> bool:
        """False if the image is newer than the row: a later task made it, perhaps with another window."""
        try:
            made_at = os.stat(path).st_mtime
            if not has_exact_name(path):
                return False
        except (OSError, ValueError):
            return False
        return made_at <= outcome.finished_at.timestamp() + _CLOCKS_DIFFER_S and self._is_in_output(path)

    def _is_in_output(self, path: str) -> bool:
        folder, found = (os.path.normcase(os.path.realpath(place)) for place in (self._tools.output_dir, path))
        return found.startswith(folder + os.sep) and os.path.isfile(found)

    async def _from_index(self, outcome: FileOutcome, frame: int) -> str | None:
        """The image of an earlier task, for a duplicate. Its size must be that of the upload."""
        if outcome.sop_instance_uid is None or outcome.patient_id is None or outcome.month is None:
            return None
        rows = await self._tools.history.instances(self._tools.backend_url, outcome.sop_instance_uid)
        ours = [row for row in rows if _matches(row, outcome, frame)]
        folder = os.path.join(
            self._tools.output_dir, outcome.month, safe_local_name(outcome.patient_id, MAX_FOLDER_BYTES)
        )
        paths = [(path, row.jpg_size) for row in ours for path in kept_paths(folder, row.stored_name)]
        return await for_people(self._first_of_size, paths)

    def _first_of_size(self, paths: list[tuple[str, int | None]]) -> str | None:
        for path, size in paths:
            try:
                if os.stat(path).st_size == size and has_exact_name(path) and self._is_in_output(path):
                    return path
            except OSError:
                continue
        return None


def _matches(row: ImportedImage, outcome: FileOutcome, frame: int) -> bool:
    return (
        row.uploaded_by_us
        and row.jpg_size is not None
        and row.patient_id == outcome.patient_id
        and row.frame_number == frame
        and row.name_key == _key_of(outcome, frame)
    )


def _key_of(outcome: FileOutcome, frame: int) -> str | None:
    """The frame's name without its ending; None if there is no such frame. The row has the first frame's name."""
    if outcome.upload_filename is None:
        return None
    key = name_key(outcome.upload_filename)
    if frame == 1:
        return key
    return f"{key.removesuffix('-0001')}-{frame:04d}" if key.endswith("-0001") else None


def _own_paths(outcome: FileOutcome, frame: int) -> tuple[str, ...]:
    """Paths where the task may have kept the frame: the row has the first frame's, the others are beside it."""
    if outcome.jpg_path is None or outcome.upload_filename is None or frame > max(1, outcome.frames_total):
        return ()
    if frame == 1:
        return (outcome.jpg_path,)
    key = _key_of(outcome, frame)
    if key is None:
        return ()
    other = key + outcome.upload_filename[len(name_key(outcome.upload_filename)) :]
    return kept_paths(os.path.dirname(outcome.jpg_path), other)
