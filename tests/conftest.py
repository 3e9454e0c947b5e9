"""What holds for all tests: which are quick, how programs start, which tests come first, and which share a worker."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # has no type hints

from tests.integration.service_process import FAST_CLIENT, ServiceProcess
from tests.integration.warm_start import allow_warm_starts
from tests.quick_tests import OLDER_CONTRACTS, QUICK_INTEGRATION_TESTS, SLOW_UNIT_FILES

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
"""They begin first, the longest at the top, so that no single worker ends long after the others."""

ONE_SCENE = ("test_page", "test_importing", "test_dask_executor", "test_fault_matrix")
"""Their tests share a browser, a cluster or a service; each worker that runs one of them has to start its own."""

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # an example may take as long as the machine makes it
allow_warm_starts()
ServiceProcess.client_options = FAST_CLIENT
ServiceProcess.render_processes = 1  # enough if files need not race; starting another takes longer than most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _is_quick(item):
            item.add_marker(pytest.mark.slow)
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByScene | None:
    """For ``--dist loadscope``; xdist's own marks for groups have no effect with pytest 9.2."""
    return ByScene(config, log) if config.getoption("dist") == "loadscope" else None


class ByScene(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each test to the worker that has time, but keeps those of one scene together."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        stem = PurePath(path).stem
        if stem == "test_fault_matrix":
            return f"{stem}[{name.partition('[')[2]}"
        return stem if stem in ONE_SCENE or (_is_of_a_unit(path) and stem not in LONG_ONES) else nodeid


def _is_quick(item: pytest.Item) -> bool:
    if _is_of_a_unit(item.path):
        return item.path.stem not in SLOW_UNIT_FILES
    name, _, parameters = item.name.partition("[")
    return name in QUICK_INTEGRATION_TESTS.get(item.path.stem, ()) and not parameters.startswith(OLDER_CONTRACTS)


def _place(item: pytest.Item) -> int:
    stem = item.path.stem
    if stem in LONG_ONES:
        return LONG_ONES.index(stem)
    return len(LONG_ONES) + _is_of_a_unit(item.path)


def _is_of_a_unit(path: str | PurePath) -> bool:
    """Unit tests are so quick that they go file by file; handing them out one by one takes longer."""
    return "unit" in PurePath(path).parts
