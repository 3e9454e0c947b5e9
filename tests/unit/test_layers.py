"""What the modules of the root import. For packages see the contracts in pyproject.toml. ``make lint`` checks both."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE_THE_SERVICE = {"tests", "demo", "benchmarks"}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGES = set(CONTRACTS["root_packages"])
WITH_A_DOOR = {"history", "render", "source", "tasks", "webhook"}

IMPORTS_OF_THE_ROOT: dict[str, set[str]] = {
    "errors": set(),
    "models": set(),
    "config": {"domain", "dotenv", "errors", "models", "pydantic", "pydantic_settings"},
    "dicom_processor": {"dicom", "domain", "errors", "models", "pydicom"},
    "api_client": {"errors", "models", "xiehe"},
    "import_service": {
        "api_client",
        "config",
        "errors",
        "history",
        "importing",
        "models",
        "render",
        "source",
        "tasks",
        "webhook",
    },
    "main": {"config", "domain", "errors", "fastapi", "import_service", "importing", "monitoring", "uvicorn", "web"},
}
"""All that the modules of the root may import of ours and of others, without the standard library."""


def imports_of(path: Path) -> Iterator[str]:
    """Everything that the file imports, also inside functions: ``errors``, ``source.layout``, ``numpy.typing``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def known_to(path: Path) -> set[str]:
    """Packages and modules of the root, and packages of others, that a file imports."""
    return {name.partition(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)


def test_the_root_holds_these_modules_only() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == set(IMPORTS_OF_THE_ROOT)


@pytest.mark.parametrize("module", sorted(IMPORTS_OF_THE_ROOT))
def test_a_module_of_the_root_imports_only_what_it_may(module: str) -> None:
    assert known_to(ROOT / f"{module}.py") <= IMPORTS_OF_THE_ROOT[module]


def test_the_root_uses_the_doors_of_packages() -> None:
    imported = {name for module in IMPORTS_OF_THE_ROOT for name in imports_of(ROOT / f"{module}.py")}
    assert {name for name in imported if "." in name and name.partition(".")[0] in WITH_A_DOOR} == set()


def test_every_folder_with_code_is_named_in_the_contracts() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert folders - BESIDE_THE_SERVICE == PACKAGES


def test_every_folder_of_a_package_is_a_package() -> None:
    """The contracts are checked on packages; a folder without ``__init__.py`` would be left out."""
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_a_render_worker_loads_neither_the_pool_nor_an_event_loop() -> None:
    words = "import sys, render.worker_main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    own = {name for name in loaded.split() if name.partition(".")[0] in PACKAGES}
    assert own <= {
        *("render", "render.confinement", "render.executor", "render.protocol", "render.worker_main"),
        *("domain", "domain.patient_identity"),
    }
    assert "asyncio" not in loaded.split()


def test_only_one_module_knows_dask_and_only_where_the_setting_asks_for_it() -> None:
    users = [path for path in (ROOT / "render").rglob("*.py") if {"dask", "distributed"} & known_to(path)]
    assert users == [ROOT / "render/cluster/dask_client.py"]
    at_the_top = ast.parse((ROOT / "render/cluster/executor.py").read_text(encoding="utf-8")).body
    imported = {node.module for node in at_the_top if isinstance(node, ast.ImportFrom)}
    assert "render.cluster.dask_client" not in imported
