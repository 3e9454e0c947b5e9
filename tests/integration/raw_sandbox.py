"""Fixtures of tests that send requests of their own to the sandbox. The test module defines ``running_sandbox``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sandbox_process import RawClient, SandboxProcess


@pytest.fixture
def sandbox(running_sandbox: SandboxProcess) -> SandboxProcess:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def xiehe(sandbox: SandboxProcess) -> Iterator[RawClient]:
    with RawClient(sandbox) as client:
        yield client
