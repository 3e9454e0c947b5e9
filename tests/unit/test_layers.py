"""Who may import whom. A new top-level module has to be placed in ROOMS; that is the moment to ask where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOOR = ("errors", "models")


@dataclass(frozen=True)
class Room:
    """Modules that belong together.

    Attributes:
        modules: all of them, the front door first.
        may_import: rooms whose modules these may import, beside their own.
        doors: modules that other rooms may import; empty for all.
    """

    modules: tuple[str, ...]
    may_import: tuple[str, ...] = ()
    doors: tuple[str, ...] = ()


ROOMS = {
    "errors": Room(("errors",)),
    "models": Room(("models",), ("errors",)),
    "rules": Room(("patient_identity", "counting"), FLOOR),
    "config": Room(("config",), FLOOR),
    "source": Room(("source_tree", "source_root", "source_layout", "source_links"), FLOOR, ("source_tree",)),
    "dicom": Room(
        (
            "dicom_processor",
            "dicom_attributes",
            "dicom_charset",
            "dicom_parsing",
            "dicom_text",
            "dicom_values",
            "charset_guess",
            "codestreams",
            "colour",
            "exam_rules",
            "exam_type",
            "frame_rendering",
            "inflating_stream",
            "lookup_tables",
            "picture_files",
            "pixel_decoders",
            "pixel_frames",
            "rendering",
            "stored_values",
        ),
        (*FLOOR, "rules"),
        ("dicom_processor", "exam_rules"),
    ),
    "client": Room(
        (
            "api_client",
            "api_answers",
            "api_completion_c3",
            "api_completion_c4",
            "api_contracts",
            "api_lists",
            "api_login",
            "api_name_gate",
            "api_options",
            "api_patients",
            "api_picture",
            "api_session_upload",
            "api_sessions",
            "api_single_upload",
            "api_transport",
            "upload_limiter",
        ),
        (*FLOOR, "rules"),
        ("api_client",),
    ),
    "tasks": Room(
        ("task_registry", "live_task", "task_states", "progress"), (*FLOOR, "rules"), ("task_registry", "progress")
    ),
    "history": Room(
        (
            "history",
            "history_database",
            "history_reads",
            "history_rows",
            "history_schema",
            "history_values",
            "history_writer",
            "history_writes",
            "data_dir_lock",
        ),
        (*FLOOR, "rules"),
        ("history",),
    ),
    "render": Room(("render_pool", "render_process", "render_protocol"), FLOOR, ("render_pool",)),
    "worker": Room(("render_worker", "render_protocol"), (*FLOOR, "dicom")),
    "importer": Room(
        (
            "import_service",
            "active_hours",
            "file_trip",
            "identity_rules",
            "instance_ledger",
            "intent_settling",
            "known_files",
            "name_decision",
            "outcome_codes",
            "patient_desk",
            "pause_watch",
            "picture_upload",
            "run_context",
            "service_settings",
            "stored_names",
            "task_run",
            "task_verdict",
            "turnstile",
            "upload_confirmation",
        ),
        (*FLOOR, "rules", "config", "source", "dicom", "client", "tasks", "history", "render"),
    ),
    "web": Room(
        (
            "main",
            "answers",
            "api_models",
            "guard",
            "log_setup",
            "problem_details",
            "readiness",
            "report_writer",
            "routes",
            "version",
        ),
        (*FLOOR, "rules", "config", "importer", "source", "client", "tasks", "history", "render"),
    ),
}
"""Bottom to top. The six rooms source, dicom, client, tasks, history and render never import each other or config."""

FOREIGN = {
    "httpx": {"client"},
    "tenacity": {"client"},
    "sqlite3": {"history"},
    "pydicom": {"dicom"},
    "PIL": {"dicom"},
    "imagecodecs": {"dicom"},
    "pydantic_settings": {"config"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
}
"""Packages that only one room knows."""

SPINE = sorted(path.stem for path in ROOT.glob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Top-level names of everything the file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def rooms_of(module: str) -> set[str]:
    return {name for name, room in ROOMS.items() if module in room.modules}


def breaches(module: str) -> Iterator[str]:
    """Imports of our own modules that the table does not allow."""
    own = [ROOMS[name] for name in rooms_of(module)]
    for imported in set(imports_of(ROOT / f"{module}.py")) & set(SPINE):
        if any(imported in room.modules for room in own):
            continue
        if not any(rooms_of(imported) & set(room.may_import) for room in own):
            yield f"{module} may not import {imported}"
        elif not any(not ROOMS[name].doors or imported in ROOMS[name].doors for name in rooms_of(imported)):
            yield f"{module} imports {imported}, which is inside another room; use its door"


@pytest.mark.parametrize("module", SPINE)
def test_every_module_has_its_place_and_imports_only_what_that_allows(module: str) -> None:
    assert rooms_of(module), f"{module}.py is not placed: add it to a room of ROOMS in {Path(__file__).name}"
    assert list(breaches(module)) == []


def test_the_table_names_no_module_that_is_gone() -> None:
    assert {module for room in ROOMS.values() for module in room.modules} - set(SPINE) == set()


@pytest.mark.parametrize("package", sorted(FOREIGN))
def test_a_foreign_package_is_known_to_one_room_only(package: str) -> None:
    users = {module for module in SPINE if package in imports_of(ROOT / f"{module}.py")}
    assert {module for module in users if not rooms_of(module) & FOREIGN[package]} == set()


@pytest.mark.parametrize("room", ["dicom", "source", "rules"])
def test_pure_rooms_know_no_event_loop(room: str) -> None:
    assert [m for m in ROOMS[room].modules if "asyncio" in imports_of(ROOT / f"{m}.py")] == []


def test_sandbox_and_spine_do_not_know_each_other() -> None:
    """Contract drift would pass every test if the look-alike used the client's own code."""
    sandbox = sorted((ROOT / "sandbox").rglob("*.py"))
    assert sandbox
    known = {path.name: set(imports_of(path)) & set(SPINE) for path in sandbox}
    assert {name for name, imported in known.items() if imported} == set()
    assert [module for module in SPINE if "sandbox" in imports_of(ROOT / f"{module}.py")] == []
