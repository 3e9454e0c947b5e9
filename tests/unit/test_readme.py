"""The tables of the documents, in both languages, say what the code says."""

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
LANGUAGES = ("", ".zh-CN")
CPU_CORES = {"": "CPU cores", ".zh-CN": "CPU 核数"}
TWINS = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/*.zh-CN.md")])
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("README*.md", "CONTRIBUTING*.md", "docs/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
README_BYTES = 14_000


def rows(document: str, table: str) -> list[list[str]]:
    """The body of the table between ``<!-- table -->`` and ``<!-- /table -->``: one list of cells per row."""
    text = (ROOT / document).read_text(encoding="utf-8")
    body = text.split(f"<!-- {table} -->\n")[1].split(f"<!-- /{table} -->")[0]
    lines = body.strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def code(cell: str) -> str:
    """The text between backticks that a cell begins with."""
    found = re.match(r"`([^`]+)`", cell)
    assert found, f"no code in {cell!r}"
    return found[1]


def shown_default(name: str, language: str) -> str:
    """A setting's default as the documents write it."""
    value = Settings.model_fields[name].default
    if value is PydanticUndefined:
        return CPU_CORES[language]
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_is_documented_with_its_default(language: str) -> None:
    documented = {code(name): default for name, default, _ in rows(f"docs/settings{language}.md", "settings")}
    assert documented == {name.upper(): shown_default(name, language) for name in Settings.model_fields}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_outcome_code_is_documented_with_something_to_do(language: str) -> None:
    documented = {code(name): advice for name, _, advice in rows(f"docs/codes{language}.md", "codes")}
    missing = [f"| `{name}` | which outcome | what to do |" for name in OUTCOME_HINTS if name not in documented]
    assert not missing, f"docs/codes{language}.md lacks these lines:\n" + "\n".join(missing)
    assert list(documented) == list(OUTCOME_HINTS)
    assert all(documented.values())


def test_the_chinese_codes_have_the_very_hints_that_operators_see() -> None:
    documented = {code(name): advice for name, _, advice in rows("docs/codes.zh-CN.md", "codes")}
    assert documented == dict(OUTCOME_HINTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_report_column_is_documented_in_its_order(language: str) -> None:
    assert [code(name) for name, _ in rows(f"docs/columns{language}.md", "columns")] == list(ReportEntry.model_fields)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_route_is_documented(language: str) -> None:
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {code(route) for route, _ in rows(f"docs/usage{language}.md", "routes")} == served


@pytest.mark.parametrize("chinese", TWINS, ids=str)
def test_twins_have_the_same_sections(chinese: Path) -> None:
    chinese_headings, english_headings = (
        re.findall(r"^#+(?= )", _without_code(text), re.MULTILINE) for text in _twins(str(chinese))
    )
    assert chinese_headings == english_headings


@pytest.mark.parametrize("chinese", ["docs/usage.zh-CN.md", "docs/api.zh-CN.md"])
def test_twins_show_the_same_answers(chinese: str) -> None:
    chinese_answers, english_answers = (re.findall(r"```console\n.*?```", text, re.DOTALL) for text in _twins(chinese))
    assert chinese_answers == english_answers


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_readme_is_short(language: str) -> None:
    assert len((ROOT / f"README{language}.md").read_bytes()) <= README_BYTES


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_within_the_repository_lead_to_a_heading(document: Path) -> None:
    text = _without_code((ROOT / document).read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.is_file(), target
        assert not anchor or anchor in _anchors(file), target


def _twins(chinese: str) -> list[str]:
    return [(ROOT / name).read_text(encoding="utf-8") for name in (chinese, chinese.replace(".zh-CN", ""))]


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = _without_code(document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
