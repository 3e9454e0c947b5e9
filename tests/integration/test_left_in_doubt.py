"""What a cancelled import had sent, without hearing the answer, is known for its own afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import images, names
from tests.waiting import until

PATIENTS = 3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three patients with one image each."""
    tree = {f"P{at}": {f"unheard-{at}.dcm": a_dicom_file(f"P{at}", shade=at)} for at in range(PATIENTS)}
    return write_tree(tmp_path / "dicom", {"2024-01": tree})


def column(service: ServiceProcess, question: str) -> list[object]:
    """From the history on disk."""
    with closing(sqlite3.connect(service.folder / "data" / "history.sqlite3")) as connection:
        return [value for (value,) in connection.execute(question)]


def open_intents(service: ServiceProcess) -> int:
    return len(column(service, "SELECT intent_id FROM intents"))


def cancelled_with_images_that_arrived_unconfirmed(
    service: ServiceProcess, xiehe: SandboxProcess, contract: int, source: Path
) -> str:
    """The task; XieHe has all its images, and none was answered."""
    operation = "upload_single" if contract < 3 else "complete_session"
    rule = {"operation": operation, "kind": "held_after", "times": PATIENTS}
    xiehe.faults({**rule, "match": "unheard"})  # not the client's probe of the contract
    task_id = service.start_import(source)
    until(lambda: len(images(xiehe)) == PATIENTS)
    service.http.post(f"/import/{task_id}/cancel").raise_for_status()
    return task_id


def assert_known_for_its_own(service: ServiceProcess, xiehe: SandboxProcess, source: Path) -> None:
    again = service.run(source)
    codes = [row["code"] for row in service.report(again["task_id"])]
    assert codes == ["duplicate"] * PATIENTS
    assert open_intents(service) == 0
    assert column(service, "SELECT uploaded_by_us FROM images WHERE image_file_id IS NOT NULL") == [1] * PATIENTS
    assert len(names(xiehe)) == PATIENTS


@pytest.mark.parametrize("contract", [1, 4])
def test_cancelled_and_killed_it_is_settled_by_the_next_start(contract: int, source: Path, tmp_path: Path) -> None:
    with (
        SandboxProcess(contract, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        task_id = cancelled_with_images_that_arrived_unconfirmed(service, xiehe, contract, source)
        service.kill()
        assert open_intents(service) == PATIENTS
        service.start()
        until(lambda: open_intents(service) == 0)

        ended = service.status(task_id)
        assert (ended["status"], ended["progress"]["new_images_uploaded"]) == ("cancelled", 0)
        assert_known_for_its_own(service, xiehe, source)


@pytest.mark.parametrize("contract", [1, 4])
def test_where_xiehe_was_away_at_the_start_the_next_import_settles_it_first(
    contract: int, source: Path, tmp_path: Path
) -> None:
    with (
        SandboxProcess(contract, tmp_path / "xiehe") as xiehe,
        ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token) as service,
    ):
        cancelled_with_images_that_arrived_unconfirmed(service, xiehe, contract, source)
        service.kill()
        xiehe.stop()
        service.start()
        until(lambda: "uploads of ended tasks not reconciled yet" in service.log.read_text())
        assert open_intents(service) == PATIENTS
        xiehe.start()

        assert_known_for_its_own(service, xiehe, source)


def test_what_the_end_of_a_cancelled_run_cuts_off_is_settled_too(
    xiehe_today: SandboxProcess, source: Path, tmp_path: Path
) -> None:
    settings = {"api_token": xiehe_today.token}
    with ServiceProcess(tmp_path / "service", xiehe_today.url, **settings) as service:
        task_id = cancelled_with_images_that_arrived_unconfirmed(service, xiehe_today, 4, source)
        until(lambda: service.status(task_id)["completed_at"] is not None)
        assert open_intents(service) == PATIENTS

        assert_known_for_its_own(service, xiehe_today, source)
