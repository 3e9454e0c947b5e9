"""``pip install .`` brings the whole service: read off pyproject.toml, since a build needs the network."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import pytest

from domain import version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
PACKAGES = {*PYPROJECT["tool"]["importlinter"]["root_packages"], "static"} - {"sandbox"}


def test_all_modules_of_the_root_are_installed() -> None:
    assert set(SETUPTOOLS["py-modules"]) == {path.stem for path in ROOT.glob("*.py")}


def test_all_packages_of_the_service_are_installed_and_nothing_else() -> None:
    patterns = SETUPTOOLS["packages"]["find"]["include"]
    assert set(patterns) == {f"{package}*" for package in PACKAGES}
    others = {path.parent.name for path in ROOT.glob("*/*.py")} - PACKAGES
    assert {"sandbox", "tests", "demo"} <= others
    assert [name for name in others for pattern in patterns if fnmatch(name, pattern)] == []


def data_files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                yield path.relative_to(ROOT)


@pytest.mark.parametrize("path", sorted(data_files()), ids=str)
def test_each_file_that_is_no_module_is_package_data(path: Path) -> None:
    package_data = SETUPTOOLS["package-data"]
    assert path.parts[0] == "static" or fnmatch(path.name, package_data[".".join(path.parent.parts)][0])
    assert package_data["static"] == ["**/*"]


@pytest.mark.parametrize("entry", PYPROJECT["project"]["scripts"].values())
def test_each_console_script_names_a_function(entry: str) -> None:
    module, _, function = entry.partition(":")
    assert callable(getattr(import_module(module), function))


def test_name_and_version_are_those_of_the_service() -> None:
    assert PYPROJECT["project"]["name"] == version.NAME
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "domain.version.VERSION"}
