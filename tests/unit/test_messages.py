"""Each Chinese sentence that the service writes has an English one, and is found again from its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.messages import Message, catalogue, english

_ROOT = Path(__file__).parents[2]
_PACKAGES = (
    "cli",
    "dicom",
    "domain",
    "history",
    "importing",
    "monitoring",
    "render",
    "source",
    "tasks",
    "web",
    "webhook",
    "xiehe",
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_PUNCTUATION = re.compile("[，。；：（）“”]")
_FIELD = re.compile(r"\{[a-z_]*(?::text)?\}")
_NO_SENTENCES = {
    "dicom/header/charset_guess.py": "characters of names",
    "dicom/header/east_asian_names.py": "characters of names",
}
"""Files whose Chinese is data."""
_DATA = {
    *("断层", "磁共振", "超声", "头", "颅", "脑", "胸", "肺", "腹", "肝", "肾", "脊柱", "椎"),  # words of exam rules
    *("男", "女", "其他", "未知", "未说明", "%Y年%m月", "2024年1月份影像导入", "设置"),  # XieHe's and folders' words
}
_OF_OPENAPI = {"summary", "description", "title", "examples", "responses", "response_description"}
"""Arguments and keys whose text is documentation."""


def written(*, documentation: bool = False) -> Iterator[tuple[str, str]]:
    """Place and template of each Chinese text in the service's code; a field is ``{}``."""
    files = [*_ROOT.glob("*.py"), *(file for name in _PACKAGES for file in (_ROOT / name).rglob("*.py"))]
    for file in sorted(files):
        place = file.relative_to(_ROOT).as_posix()
        if place not in _NO_SENTENCES:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            parts = _errors(tree) if place.startswith("cli/") else [tree]
            for line, template in (text for part in parts for text in _texts(part, documentation)):
                yield f"{place}:{line}", template


def _errors(tree: ast.Module) -> list[ast.AST]:
    """The errors that the command line raises; it has two wordings of everything else."""
    return [
        node.exc
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and "BadParameter" not in ast.unparse(node.exc)
    ]


def _texts(tree: ast.AST, documentation: bool) -> Iterator[tuple[int, str]]:
    passed = {id(part) for node in ast.walk(tree) for part in _not_shown(node)} if not documentation else set()
    for node in ast.walk(tree):
        template = "" if id(node) in passed else _template(node)
        if _CHINESE.search(template) and not _is_word_list(template):
            yield getattr(node, "lineno", 0), template


def _is_word_list(text: str) -> bool:
    return len(text.split(" ")) > 5 and text.islower() and not _PUNCTUATION.search(text)


def _not_shown(node: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, texts of the API's documentation, pieces of an f-string."""
    match node:
        case ast.Expr(value=ast.Constant()):
            yield node.value
        case ast.keyword(arg=name) if name in _OF_OPENAPI:
            yield from ast.walk(node.value)
        case ast.Dict():
            named = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in named if isinstance(key, ast.Constant) and key.value in _OF_OPENAPI)
        case ast.Call(func=ast.Name(id="problems")):
            yield from ast.walk(node)
        case ast.JoinedStr():
            yield from node.values


def _template(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return _FIELD.sub("{}", text)
        case ast.JoinedStr():
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def _known() -> set[str]:
    return {_FIELD.sub("{}", message.chinese) for message in catalogue().values()}


def test_each_sentence_of_the_code_is_in_the_catalogue() -> None:
    known = _known() | _DATA | {" 或 "}
    missing = [
        f"{place}  {template}" for place, template in written() if template not in known and "UPDATE" not in template
    ]
    assert not missing, "add these to domain/messages.toml:\n" + "\n".join(missing)


def test_the_catalogue_holds_no_sentence_that_the_code_does_not_write() -> None:
    used = "\n".join(template for _, template in written(documentation=True))
    assert not sorted(template for template in _known() - {"{} 或 {}"} if template not in used)


def test_both_languages_have_the_same_fields() -> None:
    for message in catalogue().values():
        assert sorted(_FIELD.findall(message.chinese)) == sorted(_FIELD.findall(message.english)), message.key
        assert not _CHINESE.search(message.english), message.key


@pytest.mark.parametrize("message", [pytest.param(message, id=message.key) for message in catalogue().values()])
def test_a_sentence_is_found_from_its_text(message: Message) -> None:
    values = {
        field.strip("{}").removesuffix(":text"): f"v{at}" for at, field in enumerate(_FIELD.findall(message.chinese))
    }

    def filled(template: str) -> str:
        return _FIELD.sub(lambda field: values[field[0].strip("{}").removesuffix(":text")], template)

    assert english(filled(message.chinese)) == filled(message.english)


def test_sentences_that_follow_each_other_are_translated_one_by_one() -> None:
    text = "没有这个任务：import_x。请在请求中给出 source_path：没有设置 DICOM_SOURCE_PATH"
    assert english(text) == "There is no task import_x. Give source_path in the request: DICOM_SOURCE_PATH is not set"


@pytest.mark.parametrize(
    ("chinese", "wanted"),
    [
        ("1/2 个渲染进程就绪；渲染进程无法启动", "1/2 render processes ready; 渲染进程无法启动"),
        ("lang：只能是 'zh' 或 'en'；limit：应为整数", "lang: must be 'zh' or 'en'; limit: must be an integer"),
    ],
)
def test_parts_of_a_list_are_translated_one_by_one(chinese: str, wanted: str) -> None:
    assert english(chinese) == wanted


@pytest.mark.parametrize("text", ["", "plain English", "王小明", "一句谁也没写过的话。"])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert english(text) == text


def test_values_are_not_translated() -> None:
    assert english("不是文件夹：已完成。请填写根目录、月份文件夹或患者文件夹。") == (
        "Not a folder: 已完成. Give a root, a month or a patient folder."
    )
