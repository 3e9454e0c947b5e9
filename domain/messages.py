"""English for what operators read: ``messages.toml`` maps each Chinese sentence to its English one, by key.

The code writes Chinese. A caller that asks for English gets the sentence of the same key, found by its template.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

_CATALOGUE = Path(__file__).with_name("messages.toml")
_FIELD = re.compile(r"\{([a-z_]+)(:text)?\}")
_CHINESE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_SEPARATORS = {"。": ". ", "；": "; ", "：": ": "}
_SEPARATOR = re.compile(f"[{''.join(_SEPARATORS)}]")


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence in both languages.

    Attributes:
        key: ``section.name`` in ``messages.toml``.
        chinese: the template; ``{name}`` is replaced by a value.
        english: the template of the same fields.
        texts: fields that are messages themselves.
    """

    key: str
    chinese: str
    english: str
    texts: frozenset[str]

    def match(self, text: str) -> Mapping[str, str] | None:
        """The values of the fields if ``text`` is this sentence in Chinese."""
        found = _pattern(self.chinese).fullmatch(text)
        return found.groupdict() if found else None

    @property
    def literal_length(self) -> int:
        """Characters outside fields: of two messages that match, the longer one is meant."""
        return len(_FIELD.sub("", self.chinese))


@cache
def catalogue() -> Mapping[str, Message]:
    """All messages by key."""
    with _CATALOGUE.open("rb") as file:
        sections = tomllib.load(file)
    messages = (_message(f"{name}.{key}", *pair) for name, section in sections.items() for key, pair in section.items())
    return {message.key: message for message in messages}


@lru_cache(maxsize=4096)
def english(text: str) -> str:
    """``text`` in English, as far as it consists of known sentences; any other text is returned as it is."""
    if not _CHINESE.search(text):
        return text
    return _of_one_message(text) or _of_several(text) or text


def _message(key: str, chinese: str, english: str) -> Message:
    return Message(key, chinese, english, frozenset(field[1] for field in _FIELD.finditer(chinese) if field[2]))


@cache
def _pattern(chinese: str) -> re.Pattern[str]:
    parts, at = [], 0
    for field in _FIELD.finditer(chinese):
        parts += [re.escape(chinese[at : field.start()]), f"(?P<{field[1]}>.*?)"]
        at = field.end()
    return re.compile("".join(parts) + re.escape(chinese[at:]), re.DOTALL)


@lru_cache(maxsize=4096)
def _candidates(first: str) -> tuple[Message, ...]:
    """Messages that may begin with this character, the longest first."""
    may_begin = (message for message in catalogue().values() if message.chinese[0] in (first, "{"))
    return tuple(sorted(may_begin, key=lambda message: -message.literal_length))


def _of_one_message(text: str) -> str | None:
    for message in _candidates(text[:1]):
        if (values := message.match(text)) is not None:
            return _filled(message, values)
    return None


def _filled(message: Message, values: Mapping[str, str]) -> str:
    def value_of(field: re.Match[str]) -> str:
        value = values[field[1]]
        return english(value) if field[1] in message.texts else value

    return _FIELD.sub(value_of, message.english)


def _of_several(text: str) -> str | None:
    """Sentences that follow each other, the first as long as possible; names may stand before a colon."""
    for end in reversed([found.start() for found in _SEPARATOR.finditer(text)]):
        first, separator, rest = text[:end], text[end], text[end + 1 :]
        if rest and (translated := _of_one_message(first + separator)):
            return f"{translated.rstrip()} {english(rest)}"
        known = first if not _CHINESE.search(first) else _of_one_message(first)
        if rest and known:
            return f"{known}{_SEPARATORS[separator]}{english(rest)}"
    return None
