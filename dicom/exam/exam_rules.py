"""The exam-type rule table: its TOML file, and its decision on the texts of one header. No DICOM here.

``exam_types.toml`` in this folder is the built-in table and explains the form; EXAM_RULES_FILE names a hospital's.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from errors import ConfigurationError
from models import FileWarning

BUILT_IN_RULES = str(Path(__file__).with_name("exam_types.toml"))

NO_TYPE = "-"
"""``exam_type`` of a rule for a view without a type in XieHe."""
SAYS_NOTHING = "?"
"""``exam_type`` of a rule for a text of several views, which is no evidence."""

_CJK = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
_CASE_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TOKEN = re.compile(r"[^\W\d_]{2,}|[^\W_]+")  # AP1 is a word and a number; L5 is a vertebra, not "left"
_DEADLY = (
    "ct", "mr", "us", "断层", "磁共振", "超声", "head", "brain", "头", "颅", "脑", "chest", "lung", "胸", "肺",
    "abdomen", "腹", "肝", "肾", "spine", "脊柱", "椎",
)  # fmt: skip


def server_crashing_words(text: str) -> tuple[str, ...]:
    """The words in a description (substrings, any case) for which XieHe C1 and C2 always refuse an upload."""
    lowered = text.lower()
    return tuple(word for word in _DEADLY if word in lowered)


@dataclass(frozen=True, slots=True)
class ExamDecision:
    """The table's decision on one image.

    Attributes:
        exam_type: None if XieHe has none for the view, or the header contradicts itself.
        rule: name of the deciding rule and its attribute, for the report.
        warnings: of contradicting evidence.
    """

    exam_type: str | None
    rule: str
    warnings: tuple[FileWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class WordRule:
    name: str
    exam_type: str
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Matches an attribute that equals a value, or whose number is in a range (both ends included)."""

    name: str
    exam_type: str
    attribute: str
    equals: frozenset[str] = frozenset()
    between: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RuleTable:
    """A whole table; exam_types.toml explains each part. Compared by identity."""

    modalities: frozenset[str]
    noise: tuple[str, ...]
    image_texts: tuple[str, ...]
    series_texts: tuple[str, ...]
    study_texts: tuple[str, ...]
    word_rules: tuple[WordRule, ...]
    value_rules: tuple[ValueRule, ...]
    refines: Mapping[str, str] = field(default_factory=dict)

    @property
    def exam_types(self) -> tuple[str, ...]:
        """Every exam type of the table; to be checked with :func:`server_crashing_words` at start."""
        given = {rule.exam_type for rule in self.word_rules} | {rule.exam_type for rule in self.value_rules}
        return tuple(sorted(given - {NO_TYPE, SAYS_NOTHING}))

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every attribute of the table: keywords, or ``Sequence.Keyword`` for a sequence's first item."""
        valued = (rule.attribute for rule in self.value_rules)
        return (*valued, *self.image_texts, *self.series_texts, *self.study_texts)

    def decide(self, read: Callable[[str], str]) -> ExamDecision | None:
        """Decides by ``read(attribute)``, which gives "" if absent; None if no rule matches."""
        if read("Modality").strip().upper() not in self.modalities:
            return None
        evidence = [*self._values(read), *self._texts(read, (*self.image_texts, *self.series_texts))]
        return self._agree(evidence or [*self._texts(read, self.study_texts)])

    def _values(self, read: Callable[[str], str]) -> Iterator[_Evidence]:
        for rule in self.value_rules:
            if _value_holds(rule, read(rule.attribute)):
                yield _Evidence(rule.exam_type, rule.name, rule.attribute)

    def _texts(self, read: Callable[[str], str], attributes: tuple[str, ...]) -> Iterator[_Evidence]:
        for attribute in attributes:
            content = read(attribute)
            if not content:
                continue
            text = SearchableText.of(content, self.noise)
            rule = next((rule for rule in self.word_rules if all(map(text.has_any, rule.groups))), None)
            if rule is not None and rule.exam_type != SAYS_NOTHING:
                yield _Evidence(rule.exam_type, rule.name, attribute)

    def _agree(self, evidence: list[_Evidence]) -> ExamDecision | None:
        untyped = next((item for item in evidence if item.exam_type == NO_TYPE), None)
        if untyped is not None:
            return ExamDecision(None, untyped.rule)
        types = {item.exam_type for item in evidence}
        specific = types - {self.refines.get(exam_type, "") for exam_type in types}
        if len(specific) > 1:
            return _contradiction(evidence)
        return next((ExamDecision(item.exam_type, item.rule) for item in evidence if item.exam_type in specific), None)


@dataclass(frozen=True, slots=True)
class _Evidence:
    exam_type: str
    name: str
    attribute: str

    @property
    def rule(self) -> str:
        return f"{self.name}（{self.attribute}）"


@dataclass(frozen=True, slots=True)
class SearchableText:
    """A text prepared for whole-word search in English and substring search in Chinese.

    Attributes:
        tokens: its words in lower case, one space around each; signs, digits and inner capitals end a word.
        chinese: the text in lower case without white space.
    """

    tokens: str
    chinese: str

    @classmethod
    def of(cls, text: str, noise: tuple[str, ...] = ()) -> SearchableText:
        searchable = cls(_tokens(text), _squeezed(text))
        for word in noise:
            searchable = searchable.without(word)
        return searchable

    def has(self, word: str) -> bool:
        is_chinese, form = _form_of(word)
        return form in (self.chinese if is_chinese else self.tokens)

    def has_any(self, words: tuple[str, ...]) -> bool:
        return any(map(self.has, words))

    def without(self, word: str) -> SearchableText:
        is_chinese, form = _form_of(word)
        if is_chinese:
            return SearchableText(self.tokens, self.chinese.replace(form, " "))
        return SearchableText(self.tokens.replace(form, " "), self.chinese)


@lru_cache(maxsize=2048)
def _form_of(word: str) -> tuple[bool, str]:
    """Whether a rule's word is Chinese, and its form for the search."""
    is_chinese = _CJK.search(word) is not None
    return is_chinese, _squeezed(word) if is_chinese else _tokens(word)


def _tokens(text: str) -> str:
    plain = _CJK.sub(" ", unicodedata.normalize("NFKC", text))
    return f" {' '.join(_TOKEN.findall(_CASE_BORDER.sub(' ', plain).lower()))} "


def _squeezed(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).lower().split())


def _value_holds(rule: ValueRule, text: str) -> bool:
    if not text:
        return False
    if "".join(text.upper().split()) in rule.equals:
        return True
    try:
        number = float(text)
    except ValueError:
        return False
    return any(low <= number <= high for low, high in rule.between)


def _contradiction(evidence: list[_Evidence]) -> ExamDecision:
    views = "，".join(f"{item.attribute} → {item.exam_type}" for item in evidence)
    warning = FileWarning("exam_type_contradictory", f"文件头对体位的说法互相矛盾（{views}），未标注检查类型")
    return ExamDecision(None, f"矛盾（{views}）", (warning,))


# --- the file --------------------------------------------------------------------------------------------------------


def load_table(path: str | None) -> RuleTable:
    """The table of a file, or the built-in one for None; cached until the file changes.

    Raises:
        ConfigurationError: the file cannot be read or is no rule table.
    """
    path = path or BUILT_IN_RULES
    try:
        changed_ns = os.stat(path).st_mtime_ns
    except OSError as error:
        raise ConfigurationError(f"无法读取体位规则文件 EXAM_RULES_FILE={path}：{error.strerror}") from error
    return _load(path, changed_ns)


@lru_cache(maxsize=4)
def _load(path: str, changed_ns: int) -> RuleTable:
    try:
        with open(path, "rb") as file:
            return _parse(tomllib.load(file))
    except OSError as error:
        raise ConfigurationError(f"无法读取体位规则文件 EXAM_RULES_FILE={path}：{error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"体位规则文件 {path} 不是有效的 UTF-8 TOML：{error}") from error
    except _FormError as error:
        raise ConfigurationError(f"体位规则文件 {path} 有误：{error}") from error


class _FormError(Exception):
    """Valid TOML, but no rule table; text in Chinese."""


_TOP_KEYS = frozenset({"modalities", "noise", "texts", "words", "rules", "values", "refines"})


def _parse(toml: dict[str, object]) -> RuleTable:
    unknown = sorted(toml.keys() - _TOP_KEYS)
    if unknown:
        raise _FormError(f"未知的项 {unknown[0]}")
    texts = _table(toml.get("texts"), "texts")
    groups = {name: _strings(words, f"words.{name}") for name, words in _table(toml.get("words"), "words").items()}
    return RuleTable(
        modalities=frozenset(text.upper() for text in _strings(toml.get("modalities"), "modalities")),
        noise=_strings(toml.get("noise", []), "noise"),
        image_texts=_strings(texts.get("picture", []), "texts.picture"),
        series_texts=_strings(texts.get("series", []), "texts.series"),
        study_texts=_strings(texts.get("study", []), "texts.study"),
        word_rules=tuple(_word_rule(rule, groups) for rule in _tables(toml.get("rules", []), "rules")),
        value_rules=tuple(_value_rule(rule) for rule in _tables(toml.get("values", []), "values")),
        refines={
            name: _string(of, f"refines.{name}") for name, of in _table(toml.get("refines", {}), "refines").items()
        },
    )


def _word_rule(rule: dict[str, object], groups: Mapping[str, tuple[str, ...]]) -> WordRule:
    name = _string(rule.get("name"), "rules 的 name")
    wanted = _strings(rule.get("all"), f"规则“{name}”的 all")
    missing = next((group for group in wanted if group not in groups), None)
    if missing is not None or not wanted:
        raise _FormError(f"规则“{name}”的 all 引用了 words 中没有的词组 {missing or '（空）'}")
    exam_type = _string(rule.get("exam_type"), f"规则“{name}”的 exam_type")
    return WordRule(name, exam_type, tuple(groups[group] for group in wanted))


def _value_rule(rule: dict[str, object]) -> ValueRule:
    name = _string(rule.get("name"), "values 的 name")
    equals = _strings(rule.get("equals", []), f"取值规则“{name}”的 equals")
    return ValueRule(
        name=name,
        exam_type=_string(rule.get("exam_type"), f"取值规则“{name}”的 exam_type"),
        attribute=_string(rule.get("attribute"), f"取值规则“{name}”的 attribute"),
        equals=frozenset("".join(text.upper().split()) for text in equals),
        between=_ranges(rule.get("between", []), f"取值规则“{name}”的 between"),
    )


def _string(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _FormError(f"{place} 应为非空字符串")
    return value.strip()


def _strings(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _FormError(f"{place} 应为字符串列表")
    return tuple(_string(item, place) for item in value)


def _table(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _FormError(f"缺少 [{place}] 表")
    return value


def _tables(value: object, place: str) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise _FormError(f"{place} 应写成 [[{place}]]")
    return [_table(item, place) for item in value]


def _ranges(value: object, place: str) -> tuple[tuple[float, float], ...]:
    match value:
        case list():
            return tuple(_range(pair, place) for pair in value)
    raise _FormError(f"{place} 应写成 [[下限, 上限], ...]")


def _range(pair: object, place: str) -> tuple[float, float]:
    match pair:
        case [int() | float() as low, int() | float() as high] if low <= high:
            return float(low), float(high)
    raise _FormError(f"{place} 应写成 [[下限, 上限], ...]")
