"""Keys, hosts, origins, paths, sizes; and what must never be written down."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.integration.xiehe_facts import names

KEY = "a-service-key"
NAME, BIRTH_DATE = "Seeded^Secretname=秘密^姓名", "19370713"


@pytest.fixture
def guarded(xiehe_today: SandboxProcess, tmp_path: Path) -> ServiceProcess:
    """A service with a key; its client carries none unless told."""
    return ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        service_api_key=KEY,
        cors_origins="http://admin.hospital:3000",
    )


def test_key_guards_everything_but_health(guarded: ServiceProcess) -> None:
    with guarded as service:
        for path in ("/", "/import/tasks", "/docs", "/openapi.json", "/health/ready", "/import/x/status"):
            refused = service.http.get(path)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized"), path
        assert service.http.post("/import", json={}).status_code == 401
        assert service.http.get("/health").status_code == 200
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert service.http.get("/import/tasks", headers=headers).status_code == 200
        for wrong in ("", "a-service-ke", KEY + "x", "密钥"):
            refused = service.http.get("/import/tasks", headers={b"X-API-Key": wrong.encode()})
            assert refused.status_code == 401
        assert service.http.get("/import/tasks", params={"api_key": KEY}).status_code == 401


def test_only_named_origins_are_answered(guarded: ServiceProcess) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    with guarded as service:
        good = service.http.options("/import", headers=preflight | {"Origin": "http://admin.hospital:3000"})
        evil = service.http.options("/import", headers=preflight | {"Origin": "http://evil.example"})

        assert good.headers["access-control-allow-origin"] == "http://admin.hospital:3000"
        assert "access-control-allow-origin" not in evil.headers


def test_foreign_host_names_are_refused(service_today: ServiceProcess) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", f"evil.example:{service_today.port}"):
        refused = service_today.http.get("/health", headers={"Host": host})
        assert (refused.status_code, refused.json()["code"]) == (421, "host_not_allowed")
    for host in ("localhost", f"127.0.0.1:{service_today.port}", "[::1]:8001"):
        assert service_today.http.get("/health", headers={"Host": host}).status_code == 200


def test_simple_requests_of_web_pages_start_nothing(service_today: ServiceProcess, tmp_path: Path) -> None:
    """What a form or a no-cors fetch can send needs no preflight, so it must not be understood."""
    body = f'{{"source_path": "{tmp_path}"}}'.encode()
    answer = service_today.http.post("/import", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422
    assert service_today.http.get("/import/tasks").json()["total"] == 0


def test_without_a_key_other_addresses_are_refused_at_start(xiehe_today: SandboxProcess, tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "service", xiehe_today.url, host="0.0.0.0")

    assert service.launch().wait(30) == 1
    said = service.log.read_text()
    assert "SERVICE_API_KEY" in said
    assert "HOST=127.0.0.1" in said


def test_large_bodies_and_queries_are_refused(service_today: ServiceProcess) -> None:
    assert service_today.http.post("/import", content=b"x" * 100_000).status_code == 413
    assert service_today.http.get("/import/tasks", params={"x": "y" * 5000}).status_code == 413
    deep = b"[" * 30_000 + b"]" * 30_000
    answer = service_today.http.post("/import", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_answers_carry_security_headers(service_today: ServiceProcess) -> None:
    headers = service_today.http.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


@pytest.mark.parametrize("odd", ["../../etc", "..", "CON", "a:b", "x" * 50, ".hidden", "p 1", "-rf", "王小东"])
def test_names_from_files_never_leave_the_output_folder(
    service_today: ServiceProcess, xiehe_today: SandboxProcess, tmp_path: Path, odd: str
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a:b|c.dcm": a_dicom_file(odd)}}})
    before = {path for path in tmp_path.rglob("*") if "service" not in path.parts and "xiehe" not in path.parts}

    done = service_today.run(source, on_patient_mismatch="trust_dicom")

    assert done["result"] == "success", done["errors"]
    (row,) = service_today.report(done["task_id"])
    assert Path(row["jpg_path"]).resolve().is_relative_to(service_today.output.resolve())
    assert names(xiehe_today) == {(odd, "a:b|c.jpg")}
    assert before == {path for path in tmp_path.rglob("*") if "service" not in path.parts and "xiehe" not in path.parts}


def test_nothing_of_a_patient_in_logs_or_errors(xiehe: SandboxProcess, tmp_path: Path) -> None:
    good = a_dicom_file(PatientName=NAME, PatientBirthDate=BIRTH_DATE)
    wrong = a_dicom_file("P999", PatientName=NAME, PatientBirthDate=BIRTH_DATE)
    other = a_dicom_file("P2", PatientName=NAME, PatientBirthDate="19370799", PatientSex="F")
    tree = {"P001": {"a.dcm": good, "b.dcm": wrong, "c.dcm": good[: len(good) - 100]}, "P2": {"a.dcm": other}}
    source = write_tree(tmp_path / "dicom", {"2024-01": tree})
    xiehe.faults(
        {"operation": "create_patient", "kind": "status", "status": 422, "times": 1, "match": "P2"},
        {"operation": "search_patients", "kind": "cut_before", "times": 1},
        {"operation": "any", "kind": "html_error", "status": 502, "times": 2, "skip": 6},
    )
    token = xiehe.token
    with ServiceProcess(tmp_path / "service", xiehe.url, api_token=token, log_level="DEBUG") as service:
        done = service.run(source)
        said = service.log.read_text() + str(done) + str(service.report(done["task_id"], include="ignored"))

    assert done["progress"]["failed_files"] >= 2
    for secret in ("Secretname", "Seeded", "秘密", "姓名^", BIRTH_DATE, "1937-07-13", token, "search="):
        assert secret not in said, secret


def test_history_and_pictures_are_private_to_the_account(service_today: ServiceProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    done = service_today.run(source)
    (row,) = service_today.report(done["task_id"])

    picture = Path(row["jpg_path"])
    for path in (*service_today.folder.joinpath("data").rglob("*"), picture, picture.parent):
        assert not stat.S_IMODE(os.stat(path).st_mode) & 0o077, path


def test_pictures_are_deleted_once_stored_where_they_are_not_to_be_kept(
    xiehe_today: SandboxProcess, tmp_path: Path
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(), "b.dcm": a_dicom_file()}}})
    with ServiceProcess(
        tmp_path / "service", xiehe_today.url, api_token=xiehe_today.token, keep_jpg="false"
    ) as service:
        done = service.run(source)

        assert done["progress"]["new_images_uploaded"] == 2
        assert list(service.output.rglob("*.jpg")) == []
        assert {row["jpg_path"] for row in service.report(done["task_id"])} == {None}


def test_formula_cells_are_neutralised(service_today: ServiceProcess, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"=cmd()": {"a.dcm": a_dicom_file("=cmd()")}}})
    done = service_today.run(source)

    text = service_today.http.get(f"/import/{done['task_id']}/report", params={"format": "csv"}).text

    assert "'=cmd()" in text
    assert ",=cmd()" not in text
