"""Web pages from elsewhere may not change anything, even where the service needs no key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

ADMIN = "http://admin.hospital:3000"


@pytest.fixture
def keyless(xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service on loopback with one root, so that an empty POST starts an import."""
    root = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    with ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        dicom_source_path=root,
        cors_origins=ADMIN,
        allowed_hosts="127.0.0.1,dicom.hospital",
    ) as service:
        yield service


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://admin.hospital",
        "http://127.0.0.1.evil.example:{port}",
        "http://evil@127.0.0.1:x",
        "file://",
        "",
    ],
)
def test_a_foreign_page_cannot_start_an_import(keyless: ServiceProcess, origin: str) -> None:
    """A form's POST needs no leave from CORS; without a body it is a whole order."""
    refused = keyless.http.post("/import", headers={"Origin": origin.format(port=keyless.port)})

    assert (refused.status_code, refused.json()["code"]) == (403, "origin_not_allowed")
    assert "CORS_ORIGINS" in refused.json()["detail"]
    assert keyless.http.get("/import/tasks", headers={"Origin": "http://evil.example"}).json()["total"] == 0


def test_own_page_named_pages_and_programs_can(keyless: ServiceProcess) -> None:
    own = f"127.0.0.1:{keyless.port}"
    for headers in (
        {},
        {"Origin": f"http://{own}"},
        {"Origin": ADMIN},
        {"Origin": "https://dicom.hospital", "Host": "dicom.hospital"},
        {"Origin": "https://dicom.hospital", "Host": "dicom.hospital:443"},
        {"Origin": "https://DICOM.hospital:8443", "Host": "dicom.hospital:8443"},
    ):
        started = keyless.http.post("/import", headers=headers)
        assert started.status_code == 202, headers
        keyless.wait(started.json()["task_id"])


def test_two_origins_are_no_better_than_the_worse(keyless: ServiceProcess) -> None:
    refused = keyless.http.post("/import", headers=[("Origin", ADMIN), ("Origin", "http://evil.example")])
    assert refused.status_code == 403


def test_named_pages_are_told_what_they_may(keyless: ServiceProcess) -> None:
    ask = {"Origin": ADMIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    leave = keyless.http.options("/import", headers=ask)
    assert leave.status_code == 200
    assert leave.headers["access-control-allow-origin"] == ADMIN
    assert "POST" in leave.headers["access-control-allow-methods"]
    assert keyless.http.get("/health", headers={"Origin": ADMIN}).headers["access-control-allow-origin"] == ADMIN


@pytest.mark.parametrize(
    "asked", ["X-Request-ID", "x-request-id", "Content-Type, X-API-Key, x-request-id", "authorization,x-request-id"]
)
def test_a_named_page_may_send_the_number_of_its_request(keyless: ServiceProcess, asked: str) -> None:
    ask = {"Origin": ADMIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    for path in ("/import", "/import/some-task/pause", "/months"):
        leave = keyless.http.options(path, headers=ask)
        assert leave.status_code == 200
        assert "x-request-id" in leave.headers["access-control-allow-headers"].lower()


def test_the_private_network_is_open_to_named_pages_alone(keyless: ServiceProcess) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    leave = keyless.http.options("/import", headers=ask | {"Origin": ADMIN})
    assert leave.status_code == 200
    assert leave.headers["access-control-allow-private-network"] == "true"
    plain = keyless.http.options("/import", headers={"Origin": ADMIN, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-private-network" not in plain.headers
    for origin in ("http://evil.example", "null", "http://admin.hospital", "https://admin.hospital:3000"):
        refused = keyless.http.options("/import", headers=ask | {"Origin": origin})
        assert refused.status_code == 400
        assert "access-control-allow-private-network" not in refused.headers
        assert "access-control-allow-origin" not in refused.headers
