"""Refuses a ``.env`` that python-dotenv would misread: it skips what it cannot parse."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from errors import ConfigurationError

ENCODING = "utf-8-sig"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_FIRST_WORD = re.compile(r"\s*(?:export\s+)?'?([A-Za-z_][A-Za-z0-9_]*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
OPEN_IF_EMPTY = frozenset({"DICOM_SOURCE_PATH", "SERVICE_API_KEY"})
"""Settings that permit more if they are empty, so a lost value must not count as empty."""


@dataclass(frozen=True, slots=True)
class RepeatedName:
    """A setting on more than one line (counted from 1); the last line counts."""

    name: str
    lines: tuple[int, ...]


def check_env_file(path: str | os.PathLike[str], known: Collection[str]) -> tuple[RepeatedName, ...]:
    """Checks the file, if it exists; returns repeated settings.

    Args:
        known: names of all settings, in upper case. Errors quote no other word, which may be a secret.

    Raises:
        ConfigurationError: the file cannot be read, or a line has a mistake; names file, line and setting.
    """
    text = _text_of(path)
    if text is None:
        return ()
    bindings = list(_bindings(text))
    for line, binding in bindings:
        problem = _problem_of(binding, known)
        if problem is not None:
            name = _known_name(binding.original.string, known)
            raise ConfigurationError(f"设置文件 {path} 第 {line} 行{f'（{name}）' if name else ''}{problem}")
    _refuse_lost_values(path, bindings, dotenv_values(stream=StringIO(text, newline=None)))
    return tuple(_repeated(bindings, known))


def _text_of(path: str | os.PathLike[str]) -> str | None:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and str(path) != os.devnull:
            raise _unreadable(path, "不是普通文件")
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    try:
        return content.decode(ENCODING)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        cause = "不是 UTF-8 编码（可能由记事本存成了 ANSI/GBK 或 UTF-16）：请另存为 UTF-8 后再启动"
        raise ConfigurationError(f"设置文件 {path} 第 {line} 行{cause}") from None


def _unreadable(path: str | os.PathLike[str], why: str | None) -> ConfigurationError:
    return ConfigurationError(f"设置文件 {path} 无法读取（{why}）：请检查它的路径和权限")


def _bindings(text: str) -> Iterator[tuple[int, Binding]]:
    """Each statement with the number of the line on which it begins."""
    for binding in parse_stream(StringIO(text, newline=None)):
        statement = binding.original.string
        blank = statement[: len(statement) - len(statement.lstrip())]
        yield binding.original.line + blank.count("\n"), binding


def _problem_of(binding: Binding, known: Collection[str]) -> str | None:
    """The first mistake of a statement, in this order, or None."""
    statement, key = binding.original.string.strip(), binding.key
    lines = statement.splitlines()
    problems = {
        "含有 NUL 字符：请删去它，或将文件另存为 UTF-8": "\0" in statement,
        "名称含有不允许的字符（可能看不见，或是全角符号）：请重新输入这一行": key is not None
        and not _NAME.fullmatch(key),
        "没有“=”：请写成 名称=值，注释以 # 开头": (
            "=" not in statement if binding.error else key is not None and binding.value is None
        ),
        "无法解析：引号没有成对，或“=”前后写错；值中有引号、空格或 # 时，用一对单引号括起来": binding.error,
        "的值跨了几行，吞掉了后面的行：请检查引号是否成对": (
            len(lines) > 1 and any(_known_name(line, known) for line in lines)
        ),
        "的值含有控制字符：双引号中的 \\n、\\t、\\b 等会被换掉，Windows 路径请改用一对单引号": (
            (key or "").upper() in known and _CONTROL.search(binding.value or "") is not None
        ),
    }
    return next((words for words, is_so in problems.items() if is_so), None)


def _refuse_lost_values(
    path: str | os.PathLike[str], bindings: list[tuple[int, Binding]], meant: Mapping[str, str | None]
) -> None:
    """A value is lost if its ``${NAME}`` has no value, or if a later, empty line of the same name counts."""
    values = {name.upper(): value for name, value in meant.items()}
    for line, binding in bindings:
        name = (binding.key or "").upper()
        if name in OPEN_IF_EMPTY and binding.value and not values[name]:
            why = "它引用的 ${名称} 没有值，或者后面另有一行把它清空"
            raise ConfigurationError(f"设置文件 {path} 第 {line} 行（{name}）的值最终为空：{why}")


def _repeated(bindings: list[tuple[int, Binding]], known: Collection[str]) -> Iterator[RepeatedName]:
    lines: dict[str, list[int]] = {}
    for line, binding in bindings:
        if binding.key is not None and binding.key.upper() in known:
            lines.setdefault(binding.key.upper(), []).append(line)
    for name, found in lines.items():
        if len(found) > 1:
            yield RepeatedName(name, tuple(found))


def _known_name(line: str, known: Collection[str]) -> str | None:
    found = _FIRST_WORD.match(line)
    return found[1].upper() if found and found[1].upper() in known else None
