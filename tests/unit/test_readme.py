"""The README's tables, in both languages, say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from config import Settings
from domain.outcome_codes import OUTCOME_HINTS
from main import create_app
from web.api.schemas import ReportEntry

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
CPU_CORES = {"README.md": "CPU cores", "README.zh-CN.md": "CPU 核数"}


def rows(readme: str, table: str) -> list[list[str]]:
    """The body of the table between ``<!-- table -->`` and ``<!-- /table -->``: one list of cells per row."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    body = text.split(f"<!-- {table} -->\n")[1].split(f"<!-- /{table} -->")[0]
    lines = body.strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def code(cell: str) -> str:
    """The text between backticks that a cell begins with."""
    found = re.match(r"`([^`]+)`", cell)
    assert found, f"no code in {cell!r}"
    return found[1]


def shown_default(name: str, readme: str) -> str:
    """A setting's default as the README writes it."""
    value = Settings.model_fields[name].default
    if value is PydanticUndefined:
        return CPU_CORES[readme]
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("readme", READMES)
def test_every_setting_stands_in_the_readme_with_its_default(readme: str) -> None:
    documented = {code(name): default for name, default, _ in rows(readme, "settings")}
    assert documented == {name.upper(): shown_default(name, readme) for name in Settings.model_fields}


@pytest.mark.parametrize("readme", READMES)
def test_every_outcome_code_stands_in_the_readme_with_something_to_do(readme: str) -> None:
    documented = {code(name): advice for name, _, advice in rows(readme, "codes")}
    assert list(documented) == list(OUTCOME_HINTS)
    assert all(documented.values())


def test_the_chinese_readme_gives_the_very_hints_that_operators_are_shown() -> None:
    documented = {code(name): advice for name, _, advice in rows("README.zh-CN.md", "codes")}
    assert documented == dict(OUTCOME_HINTS)


@pytest.mark.parametrize("readme", READMES)
def test_every_report_column_stands_in_the_readme_in_its_order(readme: str) -> None:
    assert [code(name) for name, _ in rows(readme, "columns")] == list(ReportEntry.model_fields)


@pytest.mark.parametrize("readme", READMES)
def test_every_route_stands_in_the_readme(readme: str) -> None:
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {code(route) for route, _ in rows(readme, "routes")} == served


def test_both_readmes_show_the_same_sections_and_answers() -> None:
    english, chinese = ((ROOT / readme).read_text(encoding="utf-8") for readme in READMES)
    assert re.findall(r"^#+", english, re.MULTILINE) == re.findall(r"^#+", chinese, re.MULTILINE)
    answers = re.compile(r"```console\n.*?```", re.DOTALL)
    assert answers.findall(english) == answers.findall(chinese)


@pytest.mark.parametrize("readme", READMES)
def test_links_within_the_repository_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []
