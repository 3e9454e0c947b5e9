"""XieHe's exam type (正位X光片, 侧位X光片, 左侧曲位, 右侧曲位) by the rules of :mod:`dicom.exam.exam_rules`.

Only projection radiography has one, and only if the evidence agrees. XieHe's AI treats anything but 侧位X光片 as
frontal, so a wrong type does more harm than none.
"""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicom.exam.exam_rules import ExamDecision, RuleTable, load_table
from dicom.header.text import read_text
from errors import ConfigurationError


def decide_exam_type(ds: Dataset, rules_path: str | None = None) -> ExamDecision | None:
    """The exam type and the rule that decided; None if no rule matches. Raises as :func:`load_rules`."""
    return load_rules(rules_path).decide(lambda attribute: read_text(ds, attribute).text)


def load_rules(path: str | None) -> RuleTable:
    """The rules of a file (EXAM_RULES_FILE), or the built-in ones for None; cached until the file changes.

    Raises:
        ConfigurationError: the file cannot be read, is no rule table, or has an attribute that is no DICOM keyword.
    """
    table = load_table(path)
    _check_keywords(table)
    return table


@lru_cache(maxsize=4)
def _check_keywords(table: RuleTable) -> None:
    keywords = {keyword for attribute in table.attributes for keyword in attribute.split(".")}
    unknown = sorted(keyword for keyword in keywords if tag_for_keyword(keyword) is None)
    if unknown:
        raise ConfigurationError(f"体位规则文件中的属性名 {unknown[0]} 不是 DICOM 关键字（例如 SeriesDescription）")
