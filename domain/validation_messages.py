"""pydantic's validation errors in Chinese, for settings and requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "missing": "缺少该字段",
        "extra_forbidden": "没有这个字段，请检查拼写",
        "json_invalid": "请求体不是有效的 JSON",
        "model_attributes_type": "请求体应为 JSON 对象（并带 Content-Type: application/json）",
        "dict_type": "应为 JSON 对象",
        "string_type": "应为文本",
        "string_too_long": "文本过长",
        "string_too_short": "不能为空",
        "float_parsing": "应为数字",
        "float_type": "应为数字",
        "finite_number": "应为有限的数字",
        "int_parsing": "应为整数",
        "int_type": "应为整数",
        "int_from_float": "应为整数",
        "bool_parsing": "应为 true 或 false",
        "bool_type": "应为 true 或 false",
    }
)
_BOUNDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "greater_than": ("应大于", "gt"),
        "greater_than_equal": ("不能小于", "ge"),
        "less_than": ("应小于", "lt"),
        "less_than_equal": ("不能大于", "le"),
    }
)


def words_for(problem: Mapping[str, Any]) -> str:
    """The message of one entry of ``ValidationError.errors()``, without the given value."""
    kind, context = str(problem["type"]), problem.get("ctx") or {}
    if kind in _BOUNDS and _BOUNDS[kind][1] in context:
        word, bound = _BOUNDS[kind]
        return f"{word} {context[bound]}"
    if kind in ("enum", "literal_error") and "expected" in context:
        return f"只能是 {context['expected']}".replace(" or ", " 或 ")
    return _WORDS.get(kind) or str(problem["msg"]).removeprefix("Value error, ")
