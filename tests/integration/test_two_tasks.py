"""Two tasks at once: same patient, same names, other months; one held up must not hold the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from config import Settings
from history import History, SeenSource
from import_service import open_import_service
from importing.naming.name_decision import NameState
from models import FileOutcome, ImportedImage, ImportOptions
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.measured import metrics_of, value
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, images, names
from tests.waiting import PATIENCE_S, until

MONTHS = ("2024-01", "2024-02", "2024-03")
FILES = 8


@pytest.fixture
def render_processes() -> int:
    """Files of the tasks race."""
    return 2


def one_patient_in_three_months(root: Path, uids: dict[str, str] | None = None) -> Path:
    """IM0 ... IM7 in each month, as scanners number them; ``uids`` (by name) makes them the same instances."""
    tree = {
        month: {
            "P001": {
                f"IM{at}": a_dicom_file(shade=100 * number + 5 * at, uid=(uids or {}).get(f"IM{at}", ""))
                for at in range(FILES)
            }
        }
        for number, month in enumerate(MONTHS)
    }
    return write_tree(root, tree)


def test_months_of_one_patient_at_once_keep_every_picture(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    source = one_patient_in_three_months(tmp_path / "dicom")

    tasks = [service.start_import(source / month) for month in MONTHS]
    done = [service.wait(task) for task in tasks]

    assert [status["result"] for status in done] == ["success"] * 3, done
    for status in done:
        assert_closed(status["progress"])
        assert status["progress"]["new_images_uploaded"] == FILES
        assert_bytes_are_ours(xiehe, service.report(status["task_id"]))
    assert sum(status["progress"]["new_patients_created"] for status in done) == 1
    assert len(xiehe.state()["patients"]) == 1
    assert len(names(xiehe)) == 3 * FILES
    assert len({image["sha256"] for image in images(xiehe)}) == 3 * FILES
    again = service.run(source)
    assert again["progress"]["duplicate_images_skipped"] == 3 * FILES, again["progress"]


def test_same_instances_in_three_months_at_once_are_stored_once(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    uids = {f"IM{at}": f"1.2.3.{at + 1}" for at in range(FILES)}
    source = one_patient_in_three_months(tmp_path / "dicom", uids)

    done = [service.wait(task) for task in [service.start_import(source / month) for month in MONTHS]]

    counts = [status["progress"] for status in done]
    assert sum(count["new_images_uploaded"] for count in counts) == FILES, counts
    assert sum(count["duplicate_images_skipped"] for count in counts) == 2 * FILES
    assert {row["code"] for status in done for row in service.report(status["task_id"])} == {"uploaded", "duplicate"}
    assert names(xiehe) == {("P001", f"IM{at}.jpg") for at in range(FILES)}


def test_one_instance_for_two_patients_at_once_lands_with_one_of_them(
    service: ServiceProcess, xiehe: SandboxProcess, tmp_path: Path
) -> None:
    months = {
        month: {patient: {"a.dcm": a_dicom_file(patient, uid="1.2.3.4.5.6")}}
        for month, patient in (("2024-01", "P001"), ("2024-02", "P002"))
    }
    source = write_tree(tmp_path / "dicom", months)

    done = [service.wait(task) for task in [service.start_import(source / month) for month in months]]

    assert sorted(status["progress"]["new_images_uploaded"] for status in done) == [0, 1]
    assert [entry["code"] for status in done for entry in status["errors"]] == ["instance_of_other_patient"]
    assert len(names(xiehe)) == 1


def hold_first_task_in_its_patients_lookup(service: ServiceProcess, xiehe: SandboxProcess, source: Path) -> str:
    """A task that its operator paused during the lookup of P001, which then failed until its attempts ran out."""
    xiehe.hold("search_patients")
    task_id = service.start_import(source / MONTHS[0])
    xiehe.until_held("search_patients")
    service.http.post(f"/import/{task_id}/pause").raise_for_status()
    xiehe.stop()
    until(lambda: value(metrics_of(service), "dicom_import_pauses_total", reason="backend_unavailable"))
    xiehe.start()
    return task_id


def test_task_that_its_operator_paused_at_a_fault_does_not_hold_the_patient(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = one_patient_in_three_months(tmp_path / "dicom")
    held = hold_first_task_in_its_patients_lookup(service_today, xiehe_today, source)
    assert service_today.status(held)["pause_reason"] == "user"

    other = service_today.run(source / MONTHS[1])

    assert other["progress"]["new_images_uploaded"] == FILES
    assert service_today.status(held)["status"] == "paused"
    service_today.http.post(f"/import/{held}/resume")
    assert service_today.wait(held)["progress"]["new_images_uploaded"] == FILES
    assert len(names(xiehe_today)) == 2 * FILES


def test_task_waiting_for_another_ones_upload_of_the_same_instance_can_be_cancelled(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    uids = {f"IM{at}": f"1.2.3.{at + 1}" for at in range(FILES)}
    source = one_patient_in_three_months(tmp_path / "dicom", uids)
    xiehe_today.faults({"operation": "create_session", "kind": "status", "status": 503, "times": "forever"})
    first = service_today.start_import(source / MONTHS[0])
    service_today.wait(first, "paused")
    second = service_today.start_import(source / MONTHS[1])
    service_today.wait(second, "running")

    assert service_today.http.post(f"/import/{second}/cancel").status_code == 202

    service_today.wait_for_rest(second)
    xiehe_today.clear_faults()
    assert service_today.wait(first)["progress"]["new_images_uploaded"] == FILES
    again = service_today.run(source / MONTHS[1])
    assert again["progress"]["duplicate_images_skipped"] == FILES
    assert names(xiehe_today) == {("P001", f"IM{at}.jpg") for at in range(FILES)}


async def test_names_read_anew_while_a_picture_is_being_recorded_do_not_lose_it(
    xiehe_today: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XieHe lists it by then, and the history does not have it yet: another image would take its name."""
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"IM0": a_dicom_file()}}})
    record = History.record_outcome

    async def another_task_looks_first(
        history: History, task_id: str, outcome: FileOutcome, images: Sequence[ImportedImage], seen: SeenSource | None
    ) -> bool:
        async with entry.lock:
            await entry.refresh("another task", xiehe_today.url, service._tools.client, history)
        return await record(history, task_id, outcome, images, seen)

    monkeypatch.setattr(History, "record_outcome", another_task_looks_first)
    settings = Settings(
        _env_file=None,
        backend_url=xiehe_today.url,
        api_token=xiehe_today.token,
        output_dir=str(tmp_path / "output"),
        data_dir=str(tmp_path / "data"),
        max_workers=1,
    )
    async with open_import_service(settings) as service:
        with service._tools.patient_cache.acquire("P001") as entry:
            task_id = (await service.start(str(source), ImportOptions())).record.task_id
            with service.registry.subscribe(task_id) as changes:
                async with asyncio.timeout(PATIENCE_S):
                    while not service.registry.get(task_id).at_rest:
                        await anext(changes)
            (row,) = await service._tools.history.images_of_patient(xiehe_today.url, "P001")
            assert entry.state_of("IM0", row.instance) is NameState.OURS
            assert entry.state_of("IM0", "another instance") is NameState.OTHERS
