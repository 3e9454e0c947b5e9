"""A service without a file descriptor left pauses, fails no file, and continues when some are free."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import until

if sys.platform != "linux":
    pytest.skip("only Linux changes the limits of a running process", allow_module_level=True)

import resource

FILES = 40


@pytest.mark.parametrize("operation", ["create_session", "complete_session"])
def test_a_task_waits_for_descriptors_and_ends_whole(
    operation: str, service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    patients = {
        f"P{each:03d}": {f"{shade}.dcm": a_dicom_file(f"P{each:03d}", shade=each * 4 + shade) for shade in range(4)}
        for each in range(FILES // 4)
    }
    source = write_tree(tmp_path / "dicom", {"2024-01": patients})
    xiehe_today.hold(operation, skip=5)
    task_id = service_today.start_import(source)
    xiehe_today.until_held(operation)

    soft, hard = resource.prlimit(service_today.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service_today.pid, resource.RLIMIT_NOFILE, (1, hard))
    xiehe_today.clear_faults()
    until(lambda: "status=paused reason=out_of_descriptors" in service_today.log.read_text(errors="replace"))
    resource.prlimit(service_today.pid, resource.RLIMIT_NOFILE, (soft, hard))

    done = service_today.wait(task_id)
    told = service_today.log.read_text(errors="replace")
    assert (done["result"], done["progress"]["new_images_uploaded"], done["progress"]["failed_files"]) == (
        "success",
        FILES,
        0,
    )
    assert "source_missing" not in told
    assert "Traceback" not in told
    assert told.count("no file descriptor left") <= 1
