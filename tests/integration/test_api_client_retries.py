"""Bounded retries: how often, how long between, what is said when they are used up."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from api_client import XieHeClient
from errors import BackendUnavailableError
from models import NewPatient, Sex
from tests.integration.api_client_scene import (
    ALL,
    IMPATIENT,
    SINGLE,
    Scene,
    on,
    options_for,
    sandboxes,
    scene,
    sha,
    until,
)
from tests.integration.sandbox_process import SandboxProcess

__all__ = ["sandboxes", "scene"]

TRANSIENT = [
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "html_error", "status": 502},
    {"kind": "html_error", "status": 504},
    {"kind": "html_error", "status": 500},
    {"kind": "status", "status": 200, "body": "<html>maintenance</html>"},
    {"kind": "cut_before"},
    {"kind": "cut_after"},
    {"kind": "reset"},
]


@on(*ALL)
@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
async def test_a_passing_fault_is_retried_five_times_and_no_more(scene: Scene, fault: dict[str, object]) -> None:
    scene.sandbox.faults({"operation": "search_patients", "times": 4, **fault})
    assert await scene.client.find_patient("P1") is None
    scene.sandbox.clear_faults()
    scene.sandbox.clear_requests()
    scene.sandbox.faults({"operation": "search_patients", "times": "forever", **fault})
    with pytest.raises(BackendUnavailableError, match="5"):
        await scene.client.find_patient("P1")
    assert len(scene.sandbox.requests("search_patients")) == 5


@on(4)
@pytest.mark.parametrize("form", ["seconds", "date", "absurd", "broken"])
async def test_retry_after_is_honoured_and_capped(scene: Scene, form: str, caplog: pytest.LogCaptureFixture) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    value = {"seconds": "1", "date": later, "absurd": "86400", "broken": "soon"}[form]
    scene.sandbox.faults({"operation": "search_patients", "kind": "status", "status": 503, "retry_after": value})
    async with scene.another_client(retry=replace(IMPATIENT, max_retry_after_s=0.7)) as client:
        await client.find_patient("P1")
    announced_s = [float(seconds) for seconds in re.findall(r"again in ([\d.]+) s", caplog.text)]
    refused, served = (entry["time"] for entry in scene.sandbox.requests("search_patients"))
    assert announced_s == [0.0 if form == "broken" else 0.7]
    assert served - refused > 0.9 * announced_s[0]  # load may only lengthen it


@on(*ALL)
async def test_back_off_grows(scene: Scene) -> None:
    scene.sandbox.faults({"operation": "search_patients", "kind": "status", "status": 500, "times": 4})
    async with scene.another_client(retry=replace(IMPATIENT, first_wait_s=0.05, max_wait_s=10, jitter_s=0)) as client:
        await client.find_patient("P1")
    times = [entry["time"] for entry in scene.sandbox.requests("search_patients")]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(pause > 0.9 * 0.05 * 2**step for step, pause in enumerate(pauses))  # load may only lengthen them


async def test_a_backend_that_is_down_is_told_without_secrets(
    sandboxes: dict[int, SandboxProcess], unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    options = options_for(sandboxes[4], base_url=f"http://127.0.0.1:{unused_tcp_port}")
    async with XieHeClient.open(options) as client:
        with pytest.raises(BackendUnavailableError) as caught:
            await client.create_patient(NewPatient("P001", "秘密姓名", Sex.MALE, date(1977, 7, 7)))
    told = f"{caught.value.detail}{caught.value.evidence}{caplog.text}"
    assert "BACKEND_URL" in told and "ConnectError" in told
    assert not any(secret in told for secret in ("秘密", "1977", sandboxes[4].token))


@on(*ALL)
async def test_logs_and_errors_of_a_troubled_run_hold_no_patient_and_no_token(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scene.sandbox.faults({"operation": "any", "kind": "status", "status": 500, "times": "forever", "skip": 3})
    with pytest.raises(BackendUnavailableError) as caught:
        for number in range(5):
            await scene.client.create_patient(NewPatient(f"P{number}", "秘密姓名", Sex.MALE, date(1977, 7, 7)))
            await scene.client.find_patient("秘密姓名")
    told = f"{caught.value.detail}{caught.value.evidence}{caplog.text}"
    assert "attempt" in caplog.text
    assert not any(secret in told for secret in ("秘密", "%E7%A7%98", "1977", scene.sandbox.token, "search="))


@on(*ALL)
async def test_backend_restarted_in_mid_run(sandboxes: dict[int, SandboxProcess], scene: Scene, tmp_path: Path) -> None:
    """Killed and started again while uploads go on: the client's connections are dead, its data are not.

    A completion that was under way leaves its lease (C4), which has to end within the client's patience.
    """
    with SandboxProcess(scene.contract, tmp_path / "xiehe", lease_seconds=0.4) as sandbox:
        retry = replace(IMPATIENT, max_wait_s=2.0, attempts=100)
        async with XieHeClient.open(options_for(sandbox, retry=retry)) as client:
            patient = (await client.create_patient(NewPatient("P1", "n", Sex.MALE, None))).patient
            pictures = [scene.picture(f"{n}.jpg", patient, b"%d" % n) for n in range(30)]
            uploads = asyncio.gather(*(client.upload(picture, known_ids=frozenset()) for picture in pictures))
            await until(lambda: len(sandbox.state(hashes=False)["images"]) >= 5)
            await asyncio.to_thread(sandbox.restart)
            await uploads
            images = [row for row in sandbox.state()["images"] if row["status"] == "UPLOADED"]
    assert sorted((row["filename"], row["sha256"]) for row in images) == sorted(
        (f"{n}.jpg", sha(b"%d" % n)) for n in range(30)
    )


@on(4)
async def test_calls_and_retries_are_told_to_the_metrics(scene: Scene) -> None:
    calls: list[tuple[str, str, float]] = []
    retries: list[str] = []
    scene.sandbox.faults({"operation": "search_patients", "kind": "status", "status": 503, "times": 2})
    hooks = {"on_call": lambda *call: calls.append(call), "on_retry": retries.append}
    async with scene.another_client(**hooks) as client:
        await client.find_patient("P1")
    assert retries == ["search_patients"] * 2
    assert [status for operation, status, _ in calls if operation == "search_patients"] == ["503", "503", "200"]
    assert all(seconds >= 0 for _, _, seconds in calls)


@pytest.mark.parametrize("contract", [1, 4])
async def test_rate_limits_of_the_deployment_slow_uploads_down_but_lose_none(tmp_path: Path, contract: int) -> None:
    """nginx: C4 completes 5/s (burst 10) -> 429; C1 10/s (burst 20) -> a page of 404."""
    with SandboxProcess(contract, tmp_path / "xiehe", rate_limit=True) as sandbox:
        options = options_for(sandbox, upload_concurrency=8)
        options = replace(options, retry=replace(IMPATIENT, first_wait_s=0.2, max_wait_s=2.0, attempts=100))
        async with XieHeClient.open(options) as client:
            patient = (await client.create_patient(NewPatient("P1", "n", Sex.MALE, None))).patient
            scene = Scene(sandbox, options, client, tmp_path)
            number = 32 if contract in SINGLE else 25
            sandbox.stop_clock()  # so that the limit is met however slow this machine is
            uploads = asyncio.gather(*(scene.upload(scene.picture(f"{n}.jpg", patient)) for n in range(number)))
            await until(lambda: client.limiter.per_second is not None)
            limited = {1: 404, 4: 429}[contract]
            probed = "create_session" if contract in SINGLE else "upload_single"  # a route that is absent
            met = {entry["status"] for entry in sandbox.requests() if entry["operation"] != probed}
            assert limited in met, "the test has to meet the limit"
            sandbox.run_clock()
            await uploads
        assert sorted(name for _, name, _ in scene.stored()) == sorted(f"{n}.jpg" for n in range(number))
