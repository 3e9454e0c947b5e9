"""Which row of docs/security.md's table holds, as doctor and the log say it before a process is confined."""

from __future__ import annotations

from pathlib import Path

import pytest

from render import Confinement, ConfinementState
from render.confinement import expected_state


@pytest.mark.parametrize(
    ("read", "write", "hidden", "expected"),
    [
        ("films", "out", "secret/.env", ConfinementState.CONFINED),
        ("films", "out", "films2/.env", ConfinementState.CONFINED),
        ("secret", "out", "secret/.env", ConfinementState.EXPOSED),
        ("link", "out", "secret/.env", ConfinementState.EXPOSED),
        ("secret", "out", "secret/missing", ConfinementState.EXPOSED),
        ("films", "secret", "secret", ConfinementState.EXPOSED),
        ("/", "out", "secret/.env", ConfinementState.READS_ALL),
    ],
)
def test_the_state_is_known_beforehand(
    tmp_path: Path, read: str, write: str, hidden: str, expected: ConfinementState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("films", "films2", "out", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".env").touch()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    wanted = Confinement((str(tmp_path / read),), str(tmp_path / write), (str(tmp_path / hidden),))
    monkeypatch.setattr("render.confinement.landlock_abi", lambda: 4)
    assert expected_state(wanted) is expected
    monkeypatch.setattr("render.confinement.landlock_abi", lambda: 0)
    assert expected_state(wanted) is ConfinementState.UNSUPPORTED


def test_each_state_names_what_it_leaves_open_and_no_setting_that_is_set() -> None:
    assert "请设置 DICOM_SOURCE_PATH" not in ConfinementState.EXPOSED.words
    assert "请设置 DICOM_SOURCE_PATH" in ConfinementState.READS_ALL.words
    assert "只能写入 .partial" in ConfinementState.READS_ALL.words
    assert [state for state in ConfinementState if bool(state.words) != bool(state.english)] == []
