"""XieHe's exam type (正位X光片, 侧位X光片, 左侧曲位, 右侧曲位) by the rules of :mod:`dicom.exam.exam_rules`.

Only projection radiography is decided, and only where the evidence agrees: XieHe's AI takes anything but 侧位X光片 for
frontal, so a wrong type does more harm than none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicom.exam.exam_rules import ExamDecision, RuleTable, load_table
from dicom.header.text import TextReader
from errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ExamRules:
    """A rule table, applied to data sets."""

    table: RuleTable

    def decide(self, ds: Dataset) -> ExamDecision | None:
        """The exam type and the rule that decided; None where no rule has anything to say."""
        return self.table.decide(TextReader(ds).text)


def load_rules(path: str | None) -> ExamRules:
    """The rules in a file (EXAM_RULES_FILE), or the built-in ones for None; cached until the file changes.

    Raises:
        ConfigurationError: the file cannot be read, is no rule table, or names an attribute that DICOM does not have.
    """
    return _checked(load_table(path))


@lru_cache(maxsize=4)
def _checked(table: RuleTable) -> ExamRules:
    keywords = {keyword for attribute in table.attributes for keyword in attribute.split(".")}
    unknown = sorted(keyword for keyword in keywords if tag_for_keyword(keyword) is None)
    if unknown:
        raise ConfigurationError(f"体位规则文件中的属性名 {unknown[0]} 不是 DICOM 关键字（例如 SeriesDescription）")
    return ExamRules(table)
