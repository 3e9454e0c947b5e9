"""Who may import whom. A new module on top, or a new package, has to be placed in ROOMS: where does it belong?"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE_THE_SPINE = {"sandbox", "tests", "demo", "benchmarks"}
FLOOR = ("errors", "models")


@dataclass(frozen=True)
class Room:
    """Modules that belong together.

    Attributes:
        doors: what other rooms may import: top-level modules, or modules of the package.
        package: the folder with the room's other modules.
        may_import: rooms whose doors these may import, beside their own.
    """

    doors: tuple[str, ...]
    package: str | None = None
    may_import: tuple[str, ...] = ()

    def holds(self, module: str) -> bool:
        return module in self.doors or (self.package is not None and module.partition(".")[0] == self.package)


ROOMS = {
    "errors": Room(("errors",)),
    "models": Room(("models",), may_import=("errors",)),
    "rules": Room(
        (
            "domain.content_etag",
            "domain.counting",
            "domain.descriptors",
            "domain.dotenv_check",
            "domain.outcome_codes",
            "domain.patient_identity",
            "domain.regular_files",
            "domain.validation_messages",
            "domain.version",
        ),
        "domain",
        may_import=FLOOR,
    ),
    "config": Room(("config",), may_import=(*FLOOR, "rules")),
    "source": Room(("source",), "source", (*FLOOR, "rules")),
    "dicom": Room(("dicom_processor", "dicom.exam.exam_rules"), "dicom", (*FLOOR, "rules")),
    "client": Room(("api_client",), "xiehe", (*FLOOR, "rules")),
    "tasks": Room(("tasks",), "tasks", (*FLOOR, "rules")),
    "history": Room(("history",), "history", (*FLOOR, "rules")),
    "render": Room(("render", "render.pool", "render.cluster.executor"), "render", (*FLOOR, "rules", "dicom")),
    "webhook": Room(("webhook",), "webhook", (*FLOOR, "rules")),
    "importer": Room(
        (
            "import_service",
            "importing.background.active_hours",
            "importing.background.supervisor",
            "importing.background.pause_monitor",
            "importing.images.image_service",
            "importing.settings_mapping",
            "importing.telemetry",
            "importing.threads",
        ),
        "importing",
        (*FLOOR, "rules", "config", "source", "dicom", "client", "tasks", "history", "render", "webhook"),
    ),
    "monitoring": Room(
        ("monitoring.metrics", "monitoring.logging_setup"), "monitoring", (*FLOOR, "rules", "config", "importer")
    ),
    "web": Room(("main",), "web", (*FLOOR, "rules", "config", "source", "tasks", "history", "importer", "monitoring")),
    "cli": Room((), "cli", (*FLOOR, "config", "source", "dicom", "client", "history", "importer", "web")),
}
"""Bottom to top. The rooms source, dicom, client, tasks and history never import each other or config; of the render
room only the worker process knows dicom."""

FOREIGN = {
    "httpx": {"client", "webhook", "cli"},
    "h11": {"client", "web"},
    "tenacity": {"client", "webhook"},
    "cronsim": {"importer"},
    "distributed": {"render"},
    "prometheus_client": {"monitoring"},
    "pythonjsonlogger": {"monitoring"},
    "sqlite3": {"history"},
    "pydicom": {"dicom"},
    "PIL": {"dicom"},
    "imagecodecs": {"dicom"},
    "simplejpeg": {"dicom"},
    "pydantic_settings": {"config"},
    "dotenv": {"config", "rules"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "typer": {"cli"},
    "rich": {"cli"},
}
"""Packages that only one room knows."""

PACKAGES = {room.package for room in ROOMS.values() if room.package}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SPINE = {
    name_of(path): path
    for path in (*ROOT.glob("*.py"), *(found for package in PACKAGES for found in (ROOT / package).rglob("*.py")))
}


def imports_of(path: Path) -> Iterator[str]:
    """Everything the file imports, also inside functions: ``errors``, ``source.layout``, ``numpy.typing``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in SPINE else node.module for name in names)


def packages_of(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def rooms_of(module: str) -> set[str]:
    return {name for name, room in ROOMS.items() if room.holds(module)}


def breaches(module: str) -> Iterator[str]:
    """Imports of our own modules that the table does not allow."""
    (own,) = rooms_of(module)
    for imported in set(imports_of(SPINE[module])) & set(SPINE):
        (other,) = rooms_of(imported)
        if other == own:
            continue
        if other not in ROOMS[own].may_import:
            yield f"{module} may not import {imported}"
        elif imported not in ROOMS[other].doors:
            yield f"{module} imports {imported}, which is inside another room; use its door"


@pytest.mark.parametrize("module", sorted(SPINE))
def test_every_module_has_its_place_and_imports_only_what_that_allows(module: str) -> None:
    assert len(rooms_of(module)) == 1, f"{module} is not placed: add it to a room of ROOMS in {Path(__file__).name}"
    assert list(breaches(module)) == []


def test_the_table_names_nothing_that_is_gone() -> None:
    assert {door for room in ROOMS.values() for door in room.doors} - set(SPINE) == set()
    assert all((ROOT / package).is_dir() for package in PACKAGES)


def test_every_folder_with_code_is_a_room() -> None:
    tracked = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert tracked - PACKAGES - BESIDE_THE_SPINE == set()


@pytest.mark.parametrize("package", sorted(FOREIGN))
def test_a_foreign_package_is_known_to_one_room_only(package: str) -> None:
    users = {
        module for module, path in SPINE.items() if package in {name.partition(".")[0] for name in imports_of(path)}
    }
    assert users
    assert {module for module in users if not rooms_of(module) & FOREIGN[package]} == set()


@pytest.mark.parametrize("room", ["dicom", "source", "rules"])
def test_pure_rooms_know_no_event_loop(room: str) -> None:
    modules = [module for module in SPINE if room in rooms_of(module)]
    assert modules
    assert [module for module in modules if "asyncio" in imports_of(SPINE[module])] == []


def test_only_the_worker_process_knows_the_decoders() -> None:
    known = {module: [name for name in imports_of(path) if "dicom" in rooms_of(name)] for module, path in SPINE.items()}
    outside = {module for module, names in known.items() if names and "render" in rooms_of(module)}
    assert outside <= {"render.worker_main"}


def test_only_one_module_knows_dask_and_only_where_the_setting_asks_for_it() -> None:
    users = {module for module, path in SPINE.items() if {"dask", "distributed"} & packages_of(imports_of(path))}
    assert users == {"render.cluster.dask_client"}
    assert [module for module in SPINE if "render.cluster.dask_client" in imports_of(SPINE[module])] == [
        "render.cluster.executor"
    ]
    at_the_top = ast.parse(SPINE["render.cluster.executor"].read_text(encoding="utf-8")).body
    assert "render.cluster.dask_client" not in {node.module for node in at_the_top if isinstance(node, ast.ImportFrom)}


def test_sandbox_and_spine_do_not_know_each_other() -> None:
    """Contract drift would pass every test if the look-alike used the client's own code."""
    sandbox = sorted((ROOT / "sandbox").rglob("*.py"))
    assert sandbox
    known = {path.name: {name for name in imports_of(path) if rooms_of(name)} for path in sandbox}
    assert {name for name, imported in known.items() if imported} == set()
    assert [module for module, path in SPINE.items() if any(n.startswith("sandbox") for n in imports_of(path))] == []
