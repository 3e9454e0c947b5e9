"""Scripted faults do what they say: what the client sees, and what the sandbox holds afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.raw_sandbox import sandbox, xiehe
from tests.integration.sandbox_process import RawClient, SandboxProcess
from tests.waiting import until

__all__ = ["sandbox", "xiehe"]

JPG = b"\xff\xd8" + b"j" * 500


@pytest.fixture(scope="module", params=[1, 4], ids=["C1", "C4"])
def running_sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SandboxProcess]:
    with SandboxProcess(request.param, tmp_path_factory.mktemp(f"xiehe-c{request.param}")) as process:
        yield process


def patients(sandbox: SandboxProcess) -> list[str]:
    return [patient["patient_id"] for patient in sandbox.state()["patients"]]


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        ("cut_before", httpx.RemoteProtocolError, False),
        ("reset", httpx.ReadError, False),
        ("cut_after", httpx.RemoteProtocolError, True),
    ],
)
def test_a_cut_connection_with_the_work_done_or_not(
    sandbox: SandboxProcess, xiehe: RawClient, kind: str, error: type[Exception], done: bool
) -> None:
    sandbox.faults({"operation": "create_patient", "kind": kind})
    with pytest.raises(error):
        xiehe.create_patient("P001")
    assert patients(sandbox) == (["P001"] if done else [])
    assert xiehe.create_patient("P002").status_code == 200


def test_a_cut_upload_is_cut_whatever_its_size(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    operation = "upload_single" if xiehe.contract == 1 else "put_part"
    sandbox.faults({"operation": operation, "kind": "cut_before"}, {"operation": operation, "kind": "reset"})
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            xiehe.upload("a.jpg", row, b"x" * 3_000_000)
    assert sandbox.state()["images"] == []


def test_a_status_before_and_after_the_work(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.faults(
        {"operation": "create_patient", "kind": "status", "status": 429, "retry_after": 7, "body": {"detail": "slow"}},
        {"operation": "create_patient", "kind": "status_after", "status": 504},
    )
    before, after = xiehe.create_patient("before"), xiehe.create_patient("after")
    assert (before.status_code, before.headers["retry-after"], before.json()) == (429, "7", {"detail": "slow"})
    assert after.status_code == 504
    assert patients(sandbox) == ["after"]


def test_a_proxys_page_is_not_json(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.faults({"operation": "any", "kind": "html_error", "status": 502})
    answer = xiehe.http.get("/patients")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")


@pytest.mark.parametrize("kind", ["held", "held_after"])
def test_a_held_request_is_finished_though_the_client_gave_up(
    sandbox: SandboxProcess, xiehe: RawClient, kind: str
) -> None:
    sandbox.faults({"operation": "create_patient", "kind": kind})
    body = {"patient_id": "P001", "name": "n", "gender": "男"}
    with pytest.raises(httpx.ReadTimeout):
        xiehe.http.post("/patients", json=body, timeout=0.2)
    sandbox.until_held("create_patient")
    until(lambda: kind == "held" or patients(sandbox))
    assert patients(sandbox) == (["P001"] if kind == "held_after" else [])
    sandbox.let_go()
    sandbox.until_idle()
    assert patients(sandbox) == ["P001"]


@pytest.mark.parametrize("kind", ["slow", "slow_after"])
def test_a_slow_request_takes_its_time(sandbox: SandboxProcess, xiehe: RawClient, kind: str) -> None:
    sandbox.faults({"operation": "create_patient", "kind": kind, "seconds": 0.1})
    assert xiehe.create_patient("P001").status_code == 200
    sandbox.until_idle()
    [entry] = sandbox.requests("create_patient")
    assert entry["finished"] - entry["time"] >= 0.1


def test_rules_skip_and_count_and_pick_their_subject(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    rule = {"operation": "create_patient", "kind": "status", "skip": 1, "times": 2, "match": "bad"}
    sandbox.faults(rule)
    tried = ["bad0", "good0", "bad1", "bad2", "good1", "bad3"]
    statuses = [xiehe.create_patient(patient_id).status_code for patient_id in tried]
    assert statuses == [200, 200, 503, 503, 200, 200]
    assert [(report["seen"], report["fired"]) for report in sandbox.fault_report()] == [(3, 2)]


@pytest.mark.parametrize("match", ["病人.jpg", "P-002"])
def test_a_rule_finds_its_file_or_patient_in_every_operation_of_an_upload(
    sandbox: SandboxProcess, xiehe: RawClient, match: str
) -> None:
    rows = [xiehe.patient_row("P-001"), xiehe.patient_row("P-002")]
    operations = ["upload_single"] if xiehe.contract == 1 else ["create_session", "put_part", "complete_session"]
    for operation in operations:
        sandbox.faults({"operation": operation, "kind": "status", "match": match})
        assert xiehe.upload("a.jpg", rows[0], JPG).status_code == 200
        with pytest.raises(httpx.HTTPStatusError):
            xiehe.upload("病人.jpg", rows[1], JPG).raise_for_status()
        assert [report["fired"] for report in sandbox.fault_report()] == [1]
        sandbox.clear_faults()
    sandbox.faults({"operation": "list_images", "kind": "status", "match": "P-002"})
    assert xiehe.images(rows[0]) != []
    with pytest.raises(httpx.HTTPStatusError):
        xiehe.images(rows[1])


def test_rules_stay_until_they_are_cleared(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.faults({"operation": "any", "kind": "status", "status": 500, "times": "forever"})
    assert {xiehe.http.get("/patients").status_code for _ in range(5)} == {500}
    sandbox.clear_faults()
    assert xiehe.http.get("/patients").status_code == 200


def test_a_rule_that_makes_no_sense_is_refused(sandbox: SandboxProcess) -> None:
    for rule in ({"operation": "nonsense", "kind": "status"}, {"operation": "any", "kind": "cut_befor"}):
        with pytest.raises(httpx.HTTPStatusError):
            sandbox.faults(rule)


def test_one_401_says_nothing_about_the_token(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.faults({"operation": "search_patients", "kind": "unauthorized"})
    refused = xiehe.http.get("/patients")
    assert (refused.status_code, refused.json()["error_code"]) == (401, "AUTH_FAILED")
    assert xiehe.http.get("/patients").status_code == 200


def test_tokens_revoked_after_n_requests_are_good_again_after_a_log_in(
    sandbox: SandboxProcess, xiehe: RawClient
) -> None:
    sandbox.faults({"operation": "any", "kind": "revoke", "skip": 3})
    assert [xiehe.http.get("/patients").status_code for _ in range(6)] == [200] * 3 + [401] * 3
    credentials = {"username": sandbox.user, "password": sandbox.password}
    token = xiehe.payload(xiehe.http.post("/auth/login", json=credentials))["access_token"]
    with RawClient(sandbox, token) as again:
        assert again.http.get("/patients").status_code == 200


def test_a_deployment_without_a_secret_key_refuses_most_requests_at_random(
    sandbox: SandboxProcess, xiehe: RawClient
) -> None:
    sandbox.faults({"operation": "any", "kind": "random_401", "fraction": 0.7, "times": "forever", "seed": 1})
    statuses = [xiehe.http.get("/patients").status_code for _ in range(100)]
    assert set(statuses) == {200, 401}
    assert 55 <= statuses.count(401) <= 85


def test_ties_can_be_shuffled_on_a_full_page_too(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    sandbox.stop_clock()
    row = xiehe.patient_row("P001")
    for number in range(8):
        xiehe.upload(f"{number}.jpg", row, JPG)
    steady = [image["id"] for image in xiehe.images(row)]
    sandbox.faults({"operation": "list_images", "kind": "shuffle_ties", "times": 20})
    shuffled = [[image["id"] for image in xiehe.images(row)] for _ in range(20)]
    assert any(ids != steady for ids in shuffled)
    assert all(sorted(ids) == sorted(steady) for ids in shuffled)


def test_the_journal_tells_what_was_asked_and_when(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("病人.jpg", row, JPG)
    operations = ["upload_single"] if xiehe.contract == 1 else ["create_session", "put_part", "complete_session"]
    sandbox.until_idle()
    entries = sandbox.requests()
    assert [entry["operation"] for entry in entries] == ["create_patient", *operations]
    assert {entry["filename"] for entry in entries[1:]} == {"病人.jpg"}
    assert all(entry["status"] == 200 and entry["time"] <= entry["finished"] <= time.time() for entry in entries)
    assert sandbox.state()["requests"] == dict.fromkeys(["create_patient", *operations], 1)


def test_a_restart_keeps_the_data_and_forgets_the_faults(sandbox: SandboxProcess, xiehe: RawClient) -> None:
    row = xiehe.patient_row("P001")
    xiehe.upload("a.jpg", row, JPG)
    before = sandbox.state()
    sandbox.faults({"operation": "any", "kind": "status", "times": "forever"})
    sandbox.restart()
    after = sandbox.state()
    assert (after["patients"], after["images"]) == (before["patients"], before["images"])
    with RawClient(sandbox) as again:
        assert [image["original_filename"] for image in again.images(row)] == ["a.jpg"]


@pytest.mark.parametrize(("contract", "status", "burst", "per_second"), [(1, 404, 21, 10), (4, 429, 41, 20)])
def test_rate_limits_of_the_deployment(contract: int, status: int, burst: int, per_second: int, tmp_path: Path) -> None:
    with SandboxProcess(contract, tmp_path, rate_limit=True) as sandbox, RawClient(sandbox) as xiehe:
        sandbox.stop_clock()
        at_once = [xiehe.http.get("/auth/me").status_code for _ in range(burst + 3)]
        sandbox.pass_time(1.0)
        a_second_later = [xiehe.http.get("/auth/me").status_code for _ in range(per_second + 3)]
    assert at_once == [200] * burst + [status] * 3
    assert a_second_later == [200] * per_second + [status] * 3


def test_log_ins_are_limited_to_five_a_minute(tmp_path: Path) -> None:
    with SandboxProcess(4, tmp_path, rate_limit=True) as sandbox, RawClient(sandbox) as xiehe:
        sandbox.stop_clock()
        credentials = {"username": sandbox.user, "password": sandbox.password}
        statuses = [xiehe.http.post("/auth/login", json=credentials).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


def test_latency_is_added_to_every_request(tmp_path: Path) -> None:
    with SandboxProcess(4, tmp_path, latency_ms=50) as sandbox, RawClient(sandbox) as xiehe:
        xiehe.http.get("/patients")
        sandbox.until_idle()
        [entry] = sandbox.requests()
    assert entry["finished"] - entry["time"] >= 0.05
