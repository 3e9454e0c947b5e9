"""Fixtures of the tests that run the whole service against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

LEASE_SECONDS = 1.0


@pytest.fixture(params=[1, 2, 3, 4], ids=lambda number: f"C{number}")
def xiehe(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SandboxProcess]:
    """A fresh XieHe of each contract."""
    with SandboxProcess(request.param, tmp_path / "xiehe", lease_seconds=LEASE_SECONDS) as sandbox:
        yield sandbox


@pytest.fixture
def xiehe_today(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A fresh XieHe of today's contract, C4."""
    with SandboxProcess(4, tmp_path / "xiehe", lease_seconds=LEASE_SECONDS) as sandbox:
        yield sandbox


@pytest.fixture
def render_processes() -> int:
    """Modules whose files are to race with each other overrule it."""
    return 1


@pytest.fixture
def service(xiehe: SandboxProcess, tmp_path: Path, render_processes: int) -> Iterator[ServiceProcess]:
    """The service beside ``xiehe``."""
    with ServiceProcess(
        tmp_path / "service", xiehe.url, api_token=xiehe.token, max_workers=render_processes
    ) as process:
        yield process


@pytest.fixture
def service_today(xiehe_today: SandboxProcess, tmp_path: Path, render_processes: int) -> Iterator[ServiceProcess]:
    """The service beside ``xiehe_today``."""
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, max_workers=render_processes
    ) as process:
        yield process
