"""The service below a sub-path of a real nginx, which strips the prefix or keeps it; and whose headers count."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from websockets.sync.client import connect

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.nginx import PASSED_ON, running_nginx
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess, free_port
from tests.waiting import PATIENCE_S

KEY = "a-service-key"
PAGE = {"Accept": "text/html"}
NAMED = "proxy_set_header X-Forwarded-Prefix /dicom;"
STRIPPED = "location /dicom/ {{ proxy_pass http://127.0.0.1:{port}/; {more} }}"
KEPT = "location /dicom {{ proxy_pass http://127.0.0.1:{port}; {more} }}"
WAYS = {
    "stripped, by setting": (STRIPPED, "", {"root_path": "/dicom"}),
    "kept, by setting": (KEPT, "", {"root_path": "/dicom/"}),
    "stripped, by header": (STRIPPED, NAMED, {"trusted_proxy": "127.0.0.1"}),
    "kept, by header": (KEPT, NAMED, {"trusted_proxy": "127.0.0.0/8"}),
    "header over setting": (STRIPPED, NAMED, {"trusted_proxy": "127.0.0.1", "root_path": "/other"}),
}


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def proxied(request: pytest.FixtureRequest, xiehe_today: SandboxProcess, tmp_path: Path) -> Iterator[str]:
    """The service's address below nginx, ``http://127.0.0.1:port/dicom``."""
    location, header, settings = request.param
    root = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    with ServiceProcess(
        tmp_path / "service",
        xiehe_today.url,
        api_token=xiehe_today.token,
        dicom_source_path=root,
        service_api_key=KEY,
        **settings,
    ) as service:
        block = location.format(port=service.port, more=PASSED_ON + header)
        with running_nginx(tmp_path / "nginx", block) as url:
            yield f"{url}/dicom"


def test_every_link_carries_the_prefix_and_leads_somewhere(proxied: str) -> None:
    with httpx.Client(headers={"X-API-Key": KEY}, trust_env=False, timeout=PATIENCE_S) as http:
        started = http.post(f"{proxied}/import")
        assert started.status_code == 202, started.text
        location = started.headers["Location"]
        assert location == f"/dicom/import/{started.json()['task_id']}/status"
        status = http.get(urljoin(proxied, location)).json()
        while status["status"] not in ("completed", "failed"):
            status = http.get(urljoin(proxied, location), params={"wait": 30, "since": status["seq"]}).json()
        assert status["result"] == "success"

        about = http.get(f"{proxied}/").json()
        assert about["documentation"] == "/dicom/openapi.json"
        schema = http.get(urljoin(proxied, about["documentation"])).json()
        assert schema["servers"] == [{"url": "/dicom"}]
        assert "/import/tasks" in schema["paths"]
        assert http.get(urljoin(proxied, f"{schema['servers'][0]['url']}/import/tasks")).json()["total"] == 1

        missing = http.get(f"{proxied}/no/such/route")
        assert (missing.status_code, missing.json()["instance"]) == (404, "/dicom/no/such/route")
        slash = http.get(f"{proxied}/import/tasks/")
        assert (slash.status_code, slash.headers["Location"]) == (307, "/dicom/import/tasks")


def test_the_page_and_all_that_it_loads_come_below_the_prefix(proxied: str) -> None:
    with httpx.Client(headers=PAGE, trust_env=False, follow_redirects=True, timeout=PATIENCE_S) as http:
        for address in (proxied, f"{proxied}/", f"{proxied}/dashboard"):
            page = http.get(address)
            assert page.status_code == 200, address
            assert "text/html" in page.headers["content-type"]
            wanted = re.findall(r'(?:src|href)="([^"#]+)', page.text)
            assert len(wanted) > 6
            for link in wanted:
                assert http.get(urljoin(str(page.url), link)).status_code == 200, link


def test_the_web_socket_works_below_the_prefix(proxied: str) -> None:
    with connect(f"{proxied.replace('http', 'ws', 1)}/import/ws", proxy=None) as socket:
        socket.send(json.dumps({"type": "auth", "key": KEY}))
        assert json.loads(socket.recv(60)) == {"type": "snapshot", "tasks": []}


def test_the_key_is_asked_for_below_the_prefix(proxied: str) -> None:
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as http:
        for path in ("/import/tasks", "/metrics", "/sources", "/months", "/health/ready", "/static", "/dashboards"):
            assert http.get(f"{proxied}{path}").status_code in (401, 307), path
        assert http.post(f"{proxied}/import").status_code == 401
        assert http.get(f"{proxied}/health").status_code == 200


# --- straight to the service: nobody opens it by a prefix -----------------------------------------------------------


def raw(service: ServiceProcess, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """The path as it is: no client tidies it up."""
    request = service.http.build_request(method, "/", headers={k.replace("_", "-"): v for k, v in headers.items()})
    request.url = request.url.copy_with(raw_path=path.encode())
    return service.http.send(request)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("guarded")
    settings: dict[str, Any] = {"service_api_key": KEY, "root_path": "/dicom", "trusted_proxy": "192.0.2.1"}
    with ServiceProcess(folder / "service", f"http://127.0.0.1:{free_port()}", **settings) as service:
        yield service


@pytest.mark.parametrize(
    "path",
    [
        "/dicom/../import/tasks",
        "/dicom/static/../import/tasks",
        "/static/../import/tasks",
        "/dicom/static/..%2fimport/tasks",
        "/dicom%2f..%2fimport%2ftasks",
        "/dicom/health/../import/tasks",
        "//import/tasks",
        "/dicom//import/tasks",
        "/dicom/dicom/import/tasks",
        "/dicom/import/tasks",
        "/import/tasks",
        "/dicom/import/tasks?/health",
        "/dicomhealth",
        "/dicom%00/health",
    ],
)
def test_no_spelling_of_a_path_opens_the_service(guarded: ServiceProcess, path: str) -> None:
    for forged in ({}, {"X_Forwarded_Prefix": "/import"}, {"X_Forwarded_Prefix": "/dicom/static"}):
        answer = raw(guarded, path, **forged)
        assert answer.status_code in (401, 404), (path, forged)
        assert "tasks" not in answer.json()


@pytest.mark.parametrize("prefix", ["/evil", "/import", "//evil.example", "https://evil.example", "/dicom/../x"])
def test_the_prefix_of_an_untrusted_peer_is_ignored(guarded: ServiceProcess, prefix: str) -> None:
    about = raw(guarded, "/", X_API_Key=KEY, X_Forwarded_Prefix=prefix, X_Forwarded_For="192.0.2.1").json()
    assert about["documentation"] == "/dicom/openapi.json"


def test_with_a_root_path_the_service_is_still_reached_without_it(guarded: ServiceProcess) -> None:
    assert guarded.http.get("/health").status_code == 200
    assert guarded.http.get("/dashboard").status_code == 200
    assert guarded.http.get("/import/tasks", headers={"X-API-Key": KEY}).json()["total"] == 0
    bare = guarded.http.get("/dicom")
    assert (bare.status_code, bare.headers["Location"]) == (307, "/dicom/")


@pytest.mark.parametrize(
    "prefix",
    ["evil", "//evil.example", "/a/../b", "/a/./b", "/a b", "/a?b", "/a#b", "/%2e%2e", "/中", "/a,/b", "/import"],
)
def test_what_is_no_prefix_is_ignored_from_a_trusted_peer_too(trusting: ServiceProcess, prefix: str) -> None:
    headers = [(b"X-Forwarded-Prefix", prefix.encode())]
    assert trusting.http.get("/", headers=headers).json()["documentation"] == "/openapi.json"


def test_two_prefixes_are_none(trusting: ServiceProcess) -> None:
    headers = [("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Prefix", "/b")]
    assert trusting.http.get("/", headers=headers).json()["documentation"] == "/openapi.json"
    headers = [("X-Forwarded-Prefix", "/a/b/")]
    assert trusting.http.get("/", headers=headers).json()["documentation"] == "/a/b/openapi.json"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("trusting")
    with ServiceProcess(folder / "service", f"http://127.0.0.1:{free_port()}", trusted_proxy="127.0.0.1") as service:
        yield service


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("root_path", "dicom"),
        ("root_path", "/a/../b"),
        ("root_path", "https://x/dicom"),
        ("root_path", "//dicom"),
        ("root_path", "/数据"),
        ("root_path", "/import"),
        ("root_path", "/static/x"),
        ("trusted_proxy", "*"),
        ("trusted_proxy", "localhost"),
        ("trusted_proxy", "10.0.0.0/33"),
    ],
)
def test_a_wrong_setting_refuses_the_start(tmp_path: Path, setting: str, value: str) -> None:
    service = ServiceProcess(tmp_path / "service", "http://127.0.0.1:9", **{setting: value})
    try:
        assert service.launch().wait(60) == 1
    finally:
        service.kill()
    told = service.log.read_text("utf-8")
    assert setting.upper() in told
    assert "Traceback" not in told
