"""The answers that the documents show are answers of the API's models. ``…`` stands for what an example leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from config import Settings
from main import create_app
from web.api import schemas as api

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")]
    if "$ curl " in path.read_text("utf-8")
)
SHORTENED = "…"
_PLACE = re.compile(r"curl (?P<options>.*?)localhost:8001(?P<path>/[^\s'\"?]*)")
_STRING_OR_DOTS = re.compile(r'"(?:[^"\\]|\\.)*"|…')


def models() -> dict[tuple[str, str], Any]:
    """Method and path → model of the answer."""
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    found: dict[tuple[str, str], Any] = {("GET", "/import/{task_id}/report"): api.ReportEntry}
    for path, methods in paths.items():
        for method, operation in methods.items():
            schemas = [
                answer.get("content", {}).get("application/json", {}).get("schema", {})
                for status, answer in operation["responses"].items()
                if status.startswith("2")
            ]
            for name in (schema["$ref"].rpartition("/")[2] for schema in schemas if "$ref" in schema):
                found[method.upper(), path] = getattr(api, name)
    return found


def examples(page: str) -> Iterator[tuple[str, str, str]]:
    """Method, path and answer of each curl call that shows its answer as JSON."""
    for block in re.findall(r"```console\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL):
        for call in re.split(r"^\$ ", block, flags=re.MULTILINE):
            command, _, answer = call.partition("\n")
            place = _PLACE.search(command)
            if place and answer.lstrip().startswith("{"):
                yield "POST" if "-X POST" in command else "GET", place["path"], answer.strip()


def parsed(answer: str) -> Any:
    """The first JSON value of an answer. A value left out becomes a member or an element named ``…``."""

    def marked(found: re.Match[str]) -> str:
        if found[0] != SHORTENED:
            return found[0].replace(SHORTENED, "...")
        before = answer[: found.start()]
        return ',"…":0,' if _is_in_object(before) else ',"…",'

    text = _STRING_OR_DOTS.sub(marked, answer)
    text = re.sub(r",(\s*,)+", ",", text)
    text = re.sub(r"([\[{]\s*),", r"\1", re.sub(r",(\s*[\]}])", r"\1", text))
    value, _ = json.JSONDecoder().raw_decode(text)
    return value


def _is_in_object(before: str) -> bool:
    open_brackets = list[str]()
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", before):
        if character in "[{":
            open_brackets.append(character)
        elif character in "]}":
            open_brackets.pop()
    return open_brackets[-1] == "{"


def check(model: Any, value: Any, place: str) -> None:
    """Fails unless ``value`` is of the model, what is left out aside."""
    optional = [kind for kind in get_args(model) if kind is not NoneType]
    if NoneType in get_args(model) and value is not None:
        model = optional[0] if len(optional) == 1 else model
    if isinstance(value, list) and get_origin(model) is list:
        for element in value:
            if element != SHORTENED:
                check(get_args(model)[0], element, place)
    elif isinstance(model, type) and issubclass(model, BaseModel):
        check_members(model, value, place)
    elif not (isinstance(value, dict) and SHORTENED in value):
        TypeAdapter(model).validate_python(value)


def check_members(model: type[BaseModel], value: dict[str, Any], place: str) -> None:
    shown = set(value) - {SHORTENED}
    assert shown <= set(model.model_fields), f"{place}: no fields of {model.__name__}"
    if SHORTENED not in value:
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert required <= shown, f"{place}: {model.__name__} has more fields: add them, or …"
    for name in shown:
        check(model.model_fields[name].annotation, value[name], f"{place}.{name}")


def model_of(known: dict[tuple[str, str], Any], method: str, path: str, answer: Any) -> Any:
    if str(answer.get("type", "")).startswith("urn:"):
        return api.Problem
    for (known_method, pattern), model in known.items():
        if known_method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return model
    return None


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_answers_of_the_models(page: str) -> None:
    known, checked = models(), 0
    for method, path, text in examples(page):
        answer = parsed(text)
        model = model_of(known, method, path, answer)
        if model is not None:
            check(model, answer, f"{page}: {method} {path}")
            checked += 1
    assert checked, f"{page}: no example was recognised"
