"""What holds for all tests: how programs are started, which tests come first, and which stay on one worker."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # has no type hints

from tests.integration.service_process import FAST_CLIENT, ServiceProcess
from tests.integration.warm_start import allow_warm_starts

LONG_ONES = (
    "test_kill_and_restart",
    "test_fault_matrix",
    "test_page",
    "test_dask_executor",
    "test_changes_underneath",
    "test_importing",
    "test_demo",
    "test_two_tasks",
    "test_hostile_trees",
    "test_left_in_doubt",
    "test_task_control",
    "test_cli",
    "test_benchmarks",
    "test_disk_full",
    "test_openapi_fuzz",
    "test_image_formats",
    "test_import_main_job",
)
"""Begun first, so that nobody waits for one worker in the end; the longest at the top, those not named here follow."""

ONE_SCENE = ("test_page", "test_importing", "test_dask_executor", "test_fault_matrix")
"""Their tests share a browser, a cluster or a service, which each worker that takes one of them would start anew."""

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # an example may take as long as the machine makes it
allow_warm_starts()
ServiceProcess.client_options = FAST_CLIENT
ServiceProcess.render_processes = 1  # enough where files need not race; to start another takes longer than most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByScene | None:
    """For ``--dist loadscope``; xdist's own marks for groups go unheard with pytest 9.2."""
    return ByScene(config, log) if config.getoption("dist") == "loadscope" else None


class ByScene(LoadScopeScheduling):  # type: ignore[misc]
    """Each test goes to the worker that has time, but for those that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        stem = PurePath(path).stem
        if stem == "test_fault_matrix":
            return f"{stem}[{name.partition('[')[2]}"
        return stem if stem in ONE_SCENE or (_is_of_a_unit(path) and stem not in LONG_ONES) else nodeid


def _place(item: pytest.Item) -> int:
    stem = item.path.stem
    if stem in LONG_ONES:
        return LONG_ONES.index(stem)
    return len(LONG_ONES) + _is_of_a_unit(item.path)


def _is_of_a_unit(path: str | PurePath) -> bool:
    """Those are so quick that handing them out one by one would take longer; they go file by file."""
    return "unit" in PurePath(path).parts
