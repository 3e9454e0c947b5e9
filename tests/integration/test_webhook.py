"""The end of a task is told: signed, over faults and restarts, with nothing of a patient."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models import Counts, ImportOptions, TaskRecord, TaskResult, TaskStatus
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.receiver import Received, Receiver
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess, free_port
from tests.waiting import PATIENCE_S, async_until
from webhook import TaskEnd, Webhook, WebhookOptions

SECRET = "shared-with-the-receiver"
STARTED, ENDED = datetime(2026, 11, 22, 1, 0, tzinfo=UTC), datetime(2026, 11, 22, 1, 2, 30, tzinfo=UTC)


def an_end(status: TaskStatus = TaskStatus.COMPLETED) -> TaskEnd:
    record = TaskRecord(
        "dicom-import-20261122-010000-abcd1234",
        "/archive/王小东",
        ImportOptions(description="王小东"),
        status,
        STARTED,
        STARTED,
        ENDED,
        TaskResult.PARTIAL if status is TaskStatus.COMPLETED else None,
        "1 个文件失败",
    )
    return TaskEnd(record, Counts(total_files_scanned=3, failed_files=1), {"truncated_file": 1})


def signature(request: Received) -> str:
    signed = request.headers["X-Dicom-Import-Timestamp"].encode() + b"." + request.body
    return "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as listening:
        yield listening


def options(url: str, folder: Path, **changes: Any) -> WebhookOptions:
    base = WebhookOptions(url, SECRET, str(folder), first_wait_s=0.01)
    return replace(base, **changes)


async def first_fault(caplog: pytest.LogCaptureFixture) -> None:
    await async_until(lambda: "attempt 1: ConnectError" in caplog.text)


async def test_the_notice_is_signed_and_says_how_it_went(receiver: Receiver, tmp_path: Path) -> None:
    async with Webhook.open(options(receiver.url, tmp_path), now=lambda: 1_795_309_200.9) as webhook:
        delivery = await webhook.deliver(an_end())

    (request,) = receiver.got
    assert delivery.result == "delivered"
    assert request.headers["X-Dicom-Import-Timestamp"] == "1795309200"
    assert hmac.compare_digest(request.headers["X-Dicom-Import-Signature"], signature(request))
    assert request.headers["X-Dicom-Import-Event"] == "import.completed"
    told = json.loads(request.body)
    assert told["counters"]["failed_files"] == 1
    assert told["failures_by_code"] == {"truncated_file": 1}
    assert (told["started_at"], told["completed_at"]) == ("2026-11-22T01:00:00Z", "2026-11-22T01:02:30Z")
    assert (told["duration_seconds"], told["status"], told["result"]) == (150.0, "completed", "partial")


async def test_neither_path_nor_words_of_the_task_are_told(receiver: Receiver, tmp_path: Path) -> None:
    async with Webhook.open(options(receiver.url, tmp_path)) as webhook:
        await webhook.deliver(an_end())

    (request,) = receiver.got
    told = json.loads(request.body)
    assert set(told) == {
        *("event", "task_id", "status", "result", "dry_run", "started_at", "completed_at", "duration_seconds"),
        *("counters", "failures_by_code", "service"),
    }
    assert "archive" not in str(request)
    assert "王小东" not in json.dumps(told, ensure_ascii=False)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_what_may_pass_is_told_again_as_the_same_delivery(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    receiver.statuses = deque([status, status])
    async with Webhook.open(options(receiver.url, tmp_path)) as webhook:
        delivery = await webhook.deliver(an_end())

    assert delivery.result == "delivered"
    assert len(receiver.got) == 3
    assert len({request.headers["X-Dicom-Import-Delivery"] for request in receiver.got}) == 1
    assert len({request.body for request in receiver.got}) == 1
    assert all(request.headers["X-Dicom-Import-Signature"] == signature(request) for request in receiver.got)


async def test_a_receiver_that_is_down_is_told_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(port=free_port())
    async with Webhook.open(options(receiver.url, tmp_path, attempts=10_000, max_wait_s=0.05)) as webhook:
        telling = asyncio.create_task(webhook.deliver(an_end()))
        await first_fault(caplog)
        with receiver.listening():
            delivery = await telling

    assert delivery.result == "delivered"
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [400, 404, 302])
async def test_a_refusal_for_good_is_not_repeated(receiver: Receiver, tmp_path: Path, status: int) -> None:
    receiver.statuses = deque([status])
    receiver.headers = {"Location": receiver.url + "/elsewhere"}
    async with Webhook.open(options(receiver.url, tmp_path)) as webhook:
        await webhook.enqueue(an_end().record.task_id)
        delivery = await webhook.deliver(an_end())

        assert delivery.result == "refused"
        assert [request.path for request in receiver.got] == ["/hook"]
        assert await webhook.pending() == []


async def test_it_gives_up_after_the_last_attempt(receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses = deque([500] * 10)
    async with Webhook.open(options(receiver.url, tmp_path, attempts=3)) as webhook:
        await webhook.enqueue(an_end().record.task_id)
        delivery = await webhook.deliver(an_end())

        assert (delivery.result, delivery.answer) == ("given_up", "500")
        assert len(receiver.got) == 3
        assert await webhook.pending() == []


async def test_what_is_cut_short_stays_pending(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Webhook.open(options(f"http://127.0.0.1:{free_port()}/", tmp_path, first_wait_s=3_600)) as webhook:
        await webhook.enqueue(an_end().record.task_id)
        telling = asyncio.create_task(webhook.deliver(an_end()))
        await first_fault(caplog)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling

        assert await webhook.pending() == [an_end().record.task_id]


# --- the whole service -------------------------------------------------------------------------------------------


def the_service(xiehe: SandboxProcess, receiver: Receiver, tmp_path: Path, **settings: object) -> ServiceProcess:
    return ServiceProcess(
        tmp_path / "service",
        xiehe.url,
        api_token=xiehe.token,
        webhook_url=receiver.url,
        webhook_secret=SECRET,
        log_level="DEBUG",
        **settings,
    )


def test_the_end_of_an_import_is_told_with_its_counts_and_without_its_patients(
    xiehe_today: SandboxProcess, receiver: Receiver, tmp_path: Path
) -> None:
    good = a_dicom_file(PatientName="Seeded^Secretname", PatientBirthDate="19370713")
    tree = {"P001": {"a.dcm": good, "b.dcm": good[: len(good) - 100]}}
    source = write_tree(tmp_path / "dicom", {"2024-01": tree})
    with the_service(xiehe_today, receiver, tmp_path) as service:
        done = service.run(source, description="Secretname 的检查")
        (request,) = receiver.wait_for(1)

        told = json.loads(request.body)
        seven = {name: value for name, value in done["progress"].items() if name in told["counters"]}
        assert told["counters"] == seven
        assert (told["event"], told["task_id"], told["result"]) == ("import.completed", done["task_id"], "partial")
        assert told["failures_by_code"] == {"truncated_pixel_data": 1}
        assert request.headers["X-Dicom-Import-Signature"] == signature(request)
        said = str(request) + service.log.read_text()
    for secret in ("Secretname", "19370713", "P001", "2024-01"):
        assert secret not in str(request), secret
    assert SECRET not in said


def test_a_cancelled_import_is_told_and_nothing_is_told_twice(
    xiehe_today: SandboxProcess, receiver: Receiver, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    xiehe_today.faults({"operation": "create_session", "kind": "status", "status": 503, "times": "forever"})
    with the_service(xiehe_today, receiver, tmp_path) as service:
        cancelled = service.start_import(source)
        service.wait(cancelled, "paused")
        service.http.post(f"/import/{cancelled}/cancel").raise_for_status()
        receiver.wait_for(1)
        xiehe_today.clear_faults()
        second = service.run(source)["task_id"]
        receiver.wait_for(2)
        service.stop()
        service.start()
        again = service.run(source)["task_id"]

        events = [
            (json.loads(request.body)["task_id"], request.headers["X-Dicom-Import-Event"])
            for request in receiver.wait_for(3)
        ]
    assert events == [
        (cancelled, "import.cancelled"),
        (second, "import.completed"),
        (again, "import.completed"),
    ]


def test_a_notice_survives_kill_nine(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    receiver = Receiver(port=free_port())
    with the_service(xiehe_today, receiver, tmp_path) as service:
        done = service.run(source)
        service.kill()
        with receiver.listening():
            service.start()
            (request,) = receiver.wait_for(1)

    told = json.loads(request.body)
    assert told["task_id"] == done["task_id"]
    assert told["counters"]["new_images_uploaded"] == 1
    assert told["completed_at"] == done["completed_at"]


def test_a_receiver_that_does_not_answer_delays_neither_tasks_nor_the_stop(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    receiver = Receiver(port=free_port())
    with the_service(xiehe_today, receiver, tmp_path) as service:
        first = service.run(source)["task_id"]
        second = service.run(source)["task_id"]

        assert service.stop() == 0
        assert {path.name for path in (service.folder / "data" / "webhook-outbox").iterdir()} == {first, second}


def test_a_webhook_without_a_secret_is_refused_at_start(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", xiehe_today.url, webhook_url="http://127.0.0.1:9/hook")

    assert service.launch().wait(PATIENCE_S) == 1
    assert "WEBHOOK_SECRET" in service.log.read_text()
