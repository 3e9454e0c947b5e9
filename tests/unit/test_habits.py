"""The tools of a contributor: the quick tests exist, and the hooks use the versions that `make lint` uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.quick_tests import QUICK_INTEGRATION_TESTS, SLOW_UNIT_FILES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stem", QUICK_INTEGRATION_TESTS)
def test_every_quick_integration_test_exists(stem: str) -> None:
    source = (ROOT / "tests" / "integration" / f"{stem}.py").read_text(encoding="utf-8")
    assert set(QUICK_INTEGRATION_TESTS[stem]) <= set(re.findall(r"def (test_\w+)\(", source))


@pytest.mark.parametrize("stem", SLOW_UNIT_FILES)
def test_every_slow_unit_file_exists(stem: str) -> None:
    assert (ROOT / "tests" / "unit" / f"{stem}.py").is_file()


def test_hooks_use_the_pinned_versions() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [package for hook in hooks for package in hook["additional_dependencies"]]
    assert wanted
    assert [package for package in wanted if package not in pinned] == []


@pytest.mark.parametrize("document", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"])
def test_documents_name_both_ways_to_test(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert "`make test`" in text
    assert "`make test-all`" in text
