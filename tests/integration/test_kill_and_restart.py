"""Nothing is lost and nothing doubled by the service's death, at whatever moment it comes."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_closed, images, names
from tests.waiting import PATIENCE_S, until

KILLS = int(os.environ.get("KILLS", "12"))
MOST_CALLS = 9
"""Between two deaths; fewer than an import needs, by far."""
SLOW = {"kind": "slow", "seconds": 0.05, "times": "forever"}


@pytest.fixture
def render_processes() -> int:
    """Two files are under way when death comes."""
    return 2


def lives_to_see(xiehe: SandboxProcess, service: ServiceProcess, task_id: str, calls: int) -> bool:
    """Waits for so many calls more; False where the task ends before. The moment of death is another one each time."""
    wanted = len(xiehe.requests()) + calls
    until(lambda: len(xiehe.requests()) >= wanted or service.status(task_id)["status"] == "completed")
    return bool(service.status(task_id)["status"] != "completed")


def a_tree_of_many(root: Path) -> tuple[Path, set[tuple[str, str]]]:
    """Four patients in two months, single- and multi-frame files; and the names that XieHe must hold in the end."""
    tree: dict[str, dict[str, Tree]] = {"2024-01": {}, "2024-02": {}}
    wanted: set[tuple[str, str]] = set()
    for number in range(4):
        patient = f"P{number}"
        files: dict[str, bytes] = {f"{at}.dcm": a_dicom_file(patient, shade=13 * at) for at in range(8)}
        files["cine.dcm"] = a_dicom_file(patient, frames=4)
        tree[f"2024-0{number % 2 + 1}"][patient] = files
        wanted |= {(patient, f"{at}.jpg") for at in range(8)}
        wanted |= {(patient, f"cine-{at:04d}.jpg") for at in range(1, 5)}
    return write_tree(root, tree), wanted


@pytest.mark.parametrize("contract", [1, 2, 3, 4])
def test_killed_again_and_again_every_image_is_there_once(contract: int, tmp_path: Path) -> None:
    source, wanted = a_tree_of_many(tmp_path / "dicom")
    moments = random.Random(contract)
    with SandboxProcess(contract, tmp_path / "xiehe", lease_seconds=0.3) as xiehe:
        operation = "upload_single" if contract < 3 else "complete_session"
        xiehe.faults({"operation": operation, **SLOW})
        with ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token, max_workers=2) as service:
            task_id = service.start_import(source)
            kills = 0
            for _ in range(KILLS):
                if not lives_to_see(xiehe, service, task_id, moments.randint(1, MOST_CALLS)):
                    break
                service.kill()
                kills += 1
                xiehe.until_idle()  # that a call of the dead may still land is seen in test_api_client_lost_answers
                service.start()
            done = service.wait(task_id)

            assert kills >= 3
            assert (done["status"], done["result"]) == ("completed", "success"), done
            assert names(xiehe) == wanted
            assert_closed(done["progress"])
            assert done["progress"]["new_images_uploaded"] == 36, done["progress"]
            assert done["progress"]["frames_uploaded"] == 48
            assert done["progress"]["new_patients_created"] == 4
            rows = service.report(task_id)
            assert len({row["source_path"] for row in rows}) == len(rows) == 36
            for row in rows:
                on_disk = hashlib.sha256(Path(row["jpg_path"]).read_bytes()).hexdigest() if row["jpg_path"] else None
                stored = [
                    image["sha256"]
                    for image in images(xiehe)
                    if (image["patient_id"], image["filename"]) == (row["patient_id"], row["upload_filename"])
                ]
                assert on_disk is None or stored == [on_disk]


def test_graceful_stop_waits_for_no_import_and_goes_on_by_itself(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source, wanted = a_tree_of_many(tmp_path / "dicom")
    xiehe_today.hold("create_session", skip=6)
    task_id = service_today.start_import(source)
    xiehe_today.until_held("create_session")
    service_today.stop()
    xiehe_today.clear_faults()
    service_today.start()

    done = service_today.wait(task_id)

    assert done["result"] == "success"
    assert names(xiehe_today) == wanted
    assert done["progress"]["new_images_uploaded"] == 36


def test_without_auto_resume_it_waits_to_be_told(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source, wanted = a_tree_of_many(tmp_path / "dicom")
    xiehe_today.faults({"operation": "create_session", **SLOW})
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, auto_resume="false"
    ) as service:
        task_id = service.start_import(source)
        service.kill()
        service.start()
        assert service.status(task_id)["status"] == "interrupted"

        assert service.http.post(f"/import/{task_id}/resume").status_code == 202
        service.wait(task_id)

        assert names(xiehe_today) == wanted


def test_second_process_on_the_same_data_dir_is_refused(
    service_today: ServiceProcess, xiehe_today: SandboxProcess
) -> None:
    second = ServiceProcess(service_today.folder, xiehe_today.url, api_token=xiehe_today.token)
    process = second.launch()

    assert process.wait(PATIENCE_S) != 0
    assert f"{service_today.pid}" in second.log.read_text()
    assert service_today.http.get("/health").status_code == 200
