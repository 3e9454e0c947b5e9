"""What the service logs: every line JSON where that is asked for, one per outcome, nothing of a patient."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import PATIENCE_S

NAME, BIRTH_DATE = "Seeded^Secretname=秘密^姓名", "19370713"
SECRETS = ("Secretname", "Seeded", "秘密", BIRTH_DATE, "1937-07-13", "shared-with-the-receiver")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    good = a_dicom_file(PatientName=NAME, PatientBirthDate=BIRTH_DATE)
    files = {"a.dcm": good, "b.dcm": good[: len(good) - 100], "Secretname.txt": b"not DICOM"}
    return write_tree(tmp_path / "dicom", {"2024-01": {"P001": files}})


def say_what_is_not_http(port: int) -> None:
    """uvicorn warns of it, and closes the connection."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        while connection.recv(1024):
            pass


def test_every_line_is_json_and_each_outcome_has_one_with_its_fields(
    xiehe_today: SandboxProcess, source: Path, tmp_path: Path
) -> None:
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, log_format="json", log_level="DEBUG"
    ) as service:
        done = service.run(source)
        say_what_is_not_http(service.port)
        assert service.stop() == 0

    lines = [json.loads(line) for line in service.log.read_text("utf-8").splitlines()]
    outcomes = {line["code"]: line for line in lines if line["logger"] == "importing.files.outcome_log"}
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert "Invalid HTTP request received." in {line["message"] for line in lines if line["logger"] == "uvicorn.error"}
    assert set(outcomes) == {"uploaded", "truncated_pixel_data"}
    assert outcomes["uploaded"]["task"] == done["task_id"]
    assert outcomes["uploaded"]["seconds"] > 0
    assert outcomes["uploaded"]["bytes"] == done["progress"]["bytes_uploaded"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_neither_file_nor_terminal_say_anything_of_a_patient(
    xiehe_today: SandboxProcess, source: Path, tmp_path: Path, form: str
) -> None:
    log = tmp_path / "logs" / "service.log"
    with ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        log_format=form,
        log_file=log,
        log_level="DEBUG",
        webhook_url=f"{xiehe_today.url}/nobody",
        webhook_secret="shared-with-the-receiver",
    ) as service:
        service.run(source)
        service.stop()

    written, shown = log.read_text("utf-8"), service.log.read_text("utf-8")
    assert "code=uploaded" in written
    assert written == shown
    for secret in (*SECRETS, xiehe_today.token, "P001", "2024-01"):
        assert secret not in written, secret


def test_a_log_file_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    service = ServiceProcess(tmp_path / "service", "http://127.0.0.1:9", log_file=tmp_path / "file" / "service.log")

    assert service.launch().wait(PATIENCE_S) == 1
    assert "LOG_FILE" in service.log.read_text("utf-8")
