"""What tests ask of a sandbox's state."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration.sandbox_process import SandboxProcess


def images(xiehe: SandboxProcess) -> list[dict[str, Any]]:
    """The images that have content, whatever their status."""
    return [image for image in xiehe.state()["images"] if image["has_content"]]


def names(xiehe: SandboxProcess) -> set[tuple[str, str]]:
    """(patient id, file name) of each image; fails where one is stored twice or belongs to nobody."""
    found = Counter((image["patient_id"], image["filename"]) for image in images(xiehe))
    assert not [pair for pair, times in found.items() if times > 1], f"doubled: {found}"
    assert xiehe.state()["orphans"] == []
    return set(found)


def assert_bytes_are_ours(xiehe: SandboxProcess, rows: list[dict[str, Any]]) -> None:
    """Each uploaded single-frame row's JPG on disk is what XieHe holds for that patient under that name."""
    stored = {(image["patient_id"], image["filename"]): image["sha256"] for image in images(xiehe)}
    for row in rows:
        if row["outcome"] == "uploaded":
            ours = hashlib.sha256(Path(row["jpg_path"]).read_bytes()).hexdigest()
            assert stored[row["patient_id"], row["upload_filename"]] == ours, row["source_path"]


def assert_closed(progress: dict[str, Any]) -> None:
    """The counters add up."""
    outcomes = ("new_images_uploaded", "duplicate_images_skipped", "failed_files")
    assert progress["total_files_scanned"] == sum(progress[name] for name in outcomes)
    patients = progress["new_patients_created"] + progress["existing_patients_skipped"]
    assert progress["total_patients_found"] == patients
