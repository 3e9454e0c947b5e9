"""Each scripted fault × each operation × the four contracts: every image once, counters add up, no file blamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import assert_bytes_are_ours, assert_closed, names
from tests.waiting import until

FILES = ("a", "b")
PATIENT_OPERATIONS = ("search_patients", "create_patient", "list_images")
UPLOAD_OPERATIONS = {
    1: ("upload_single",),
    2: ("upload_single",),
    3: ("create_session", "put_part", "complete_session"),
    4: ("create_session", "put_part", "complete_session"),
}
KINDS: tuple[Mapping[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "html_error", "status": 502},
    {"kind": "unauthorized"},
    {"kind": "slow", "seconds": 0.4},
    {"kind": "slow_after", "seconds": 0.4},
    {"kind": "cut_before"},
    {"kind": "reset"},
    {"kind": "cut_after"},
    {"kind": "status_after", "status": 500},
    {"kind": "status_after", "status": 504},
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "status", "status": 503},
)
"""Those that slow the service's uploads down for a while come last."""
ONLY_SOME: Mapping[str, tuple[str, ...]] = {
    "storage_fault": ("upload_single", "create_session", "put_part", "complete_session"),
    "shuffle_ties": ("list_images",),
}


@dataclass(frozen=True)
class Scene:
    """One XieHe and one service, for all faults of one contract."""

    xiehe: SandboxProcess
    service: ServiceProcess
    folder: Path

    @property
    def operations(self) -> tuple[str, ...]:
        return PATIENT_OPERATIONS + UPLOAD_OPERATIONS[self.xiehe.contract]


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids=lambda number: f"C{number}")
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp(f"faults-{request.param}")
    with (
        SandboxProcess(request.param, folder / "xiehe", lease_seconds=0.3) as xiehe,
        ServiceProcess(folder / "service", xiehe.url, api_token=xiehe.token, max_workers=2) as service,
    ):
        yield Scene(xiehe, service, folder)


@pytest.fixture(autouse=True)
def no_faults_left(scene: Scene) -> Iterator[None]:
    """A test that fails leaves no fault, and no paused task, to the next one."""
    yield
    scene.xiehe.clear_faults()


def rules_of(scene: Scene) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"operation": operation, "kind": kind}
        for kind, operations in ONLY_SOME.items()
        for operation in operations
        if operation in scene.operations
    ]
    rules += [{"operation": operation, **kind} for kind in KINDS for operation in scene.operations]
    return [{"times": 1, **rule, "match": f"F{number:03d}x"} for number, rule in enumerate(rules)]


def files_of(patient: str) -> dict[str, Tree | bytes]:
    """Names of their own, since on C1 and C2 equal ones wait for each other."""
    return {f"{patient}-{name}.dcm": a_dicom_file(patient, shade=ord(name)) for name in FILES}


def test_each_fault_of_each_operation_costs_time_and_nothing_else(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    """One import; each patient's requests meet one kind of fault at one operation."""
    rules = rules_of(scene)
    with RawClient(scene.xiehe) as raw:  # only a patient who is there already is listed
        listed = [rule["match"] for rule in rules if rule["operation"] == "list_images"]
        for patient in listed:
            raw.patient_row(patient)
    patients = [rule["match"] for rule in rules]
    source = write_tree(scene.folder / "each", {"2024-01": {patient: files_of(patient) for patient in patients}})
    scene.xiehe.faults(*rules)

    done = scene.service.run(source)

    report = scene.xiehe.fault_report()
    assert not [(rule["operation"], rule["kind"]) for rule in report if not rule["fired"]]
    record_property("faults_injected", sum(rule["fired"] for rule in report))
    assert (done["status"], done["result"]) == ("completed", "success"), done["errors"]
    assert_closed(done["progress"])
    assert done["progress"]["new_images_uploaded"] == len(FILES) * len(patients)
    assert done["progress"]["total_patients_found"] == len(patients)
    assert done["progress"]["existing_patients_skipped"] == len(listed)
    wanted = {(patient, f"{patient}-{name}.jpg") for patient in patients for name in FILES}
    assert {pair for pair in names(scene.xiehe) if pair[0] in patients} == wanted
    rows = scene.service.report(done["task_id"])
    assert len(rows) == len({row["source_path"] for row in rows}) == len(wanted)
    assert_bytes_are_ours(scene.xiehe, rows)


def test_fault_that_lasts_pauses_and_fails_no_file(scene: Scene) -> None:
    """One operation after the other is out of order until the task pauses; then all is well again."""
    files = [f"{number}.dcm" for number in range(3)]
    for operation, kind in (
        (scene.operations[0], "unauthorized"),
        *((each, "cut_before") for each in scene.operations),
    ):
        patient = f"L-{operation}-{kind}"
        tree = {name: a_dicom_file(patient, shade=number) for number, name in enumerate(files)}
        source = write_tree(scene.folder / patient, {"2024-01": {patient: tree}})
        if operation == "list_images":
            with RawClient(scene.xiehe) as raw:
                raw.patient_row(patient)
        scene.xiehe.faults({"operation": operation, "times": "forever", "kind": kind})
        task_id = scene.service.start_import(source)
        paused = scene.service.wait(task_id, "paused")
        assert paused["pause_reason"] in ("backend_unavailable", "backend_auth"), operation
        scene.xiehe.clear_faults()

        done = scene.service.wait(task_id)

        assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), (operation, done["errors"])
        assert_closed(done["progress"])
        wanted = {(patient, name.replace(".dcm", ".jpg")) for name in files}
        assert {pair for pair in names(scene.xiehe) if pair[0] == patient} == wanted, operation


def test_xiehe_that_refuses_every_upload_for_long_fails_no_file(scene: Scene) -> None:
    """Its lists and log-in work all the while, so only the uploads themselves can tell when it is mended."""
    operation = UPLOAD_OPERATIONS[scene.xiehe.contract][0]
    files = {f"R{number}.dcm": a_dicom_file("R001", shade=number) for number in range(4)}
    source = write_tree(scene.folder / "refused", {"2024-01": {"R001": files}})
    rule = {"operation": operation, "kind": "storage_fault", "times": "forever"}
    scene.xiehe.faults(rule)
    task_id = scene.service.start_import(source)
    paused = scene.service.wait(task_id, "paused")
    assert paused["pause_reason"] == "backend_unavailable"
    fired = scene.xiehe.fault_report()[0]["fired"]
    until(lambda: scene.xiehe.fault_report()[0]["fired"] >= fired + 4)  # it goes on trying, though lists work
    resting = scene.service.status(task_id)
    assert (resting["completed_at"], resting["progress"]["failed_files"]) == (None, 0)
    scene.xiehe.clear_faults()

    done = scene.service.wait(task_id)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done["errors"]
    assert {pair for pair in names(scene.xiehe) if pair[0] == "R001"} == {("R001", f"R{at}.jpg") for at in range(4)}


def test_tokens_revoked_in_mid_run_are_replaced_by_a_log_in(scene: Scene) -> None:
    scene.service.stop()
    user, password = scene.xiehe.user, scene.xiehe.password
    scene.service.change(backend_username=user, backend_password=password)
    scene.service.start()
    operation = UPLOAD_OPERATIONS[scene.xiehe.contract][0]
    scene.xiehe.faults({"operation": operation, "kind": "revoke", "times": 2})
    source = write_tree(scene.folder / "revoked", {"2024-01": {"revoked": files_of("revoked")}})

    done = scene.service.run(source)

    assert (done["result"], done["progress"]["failed_files"]) == ("success", 0), done
    assert len({pair for pair in names(scene.xiehe) if pair[0] == "revoked"}) == len(FILES)
