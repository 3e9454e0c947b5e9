"""The dashboard in Chromium below a sub-path of a real nginx: pages, live progress, pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Request, WebSocket, expect

from tests.browser.conftest import OpenPage, Source
from tests.dicom_files import a_dicom_file
from tests.integration.nginx import PASSED_ON, running_nginx
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

STRIPPED = "location /dicom/ {{ proxy_pass http://127.0.0.1:{port}/; {more} }}"
KEPT = "location /dicom/ {{ proxy_pass http://127.0.0.1:{port}; {more} }}"


@pytest.mark.parametrize("location", [STRIPPED, KEPT], ids=["stripped", "kept"])
@pytest.mark.parametrize("start", ["/dicom/dashboard", "/dicom/"])
def test_an_import_is_started_watched_and_looked_at_below_a_sub_path(
    location: str,
    start: str,
    xiehe: SandboxProcess,
    folder: Path,
    tmp_path: Path,
    open_page: OpenPage,
    a_source: Source,
) -> None:
    source = a_source({"2024-01": {"P001": {"a.dcm": a_dicom_file()}}})
    asked: list[Request] = []
    sockets: list[WebSocket] = []
    with (
        ServiceProcess(
            tmp_path / "service",
            xiehe.url,
            api_token=xiehe.token,
            dicom_source_path=str(folder / "dicom"),
            root_path="/dicom",
        ) as service,
        running_nginx(tmp_path / "nginx", location.format(port=service.port, more=PASSED_ON)) as url,
    ):
        page = open_page(at=f"{url}{start}")
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - Playwright writes to its handlers
        page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108
        page.reload()
        expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
        task_id = service.start_import(source)
        expect(page.get_by_text(source.name).first).to_be_visible()
        service.wait(task_id)
        page.evaluate(f"location.hash = '#/tasks/{task_id}/pictures'")
        expect(page.locator("img[src^='blob:']").first).to_be_visible()
        page.context.close()

    assert {request.url for request in asked if not request.url.startswith(("blob:", f"{url}/dicom/"))} == set()
    assert any(request.url.endswith(".css") for request in asked)
    assert any("/picture?" in request.url for request in asked)
    assert sockets
    assert all(socket.url.startswith(f"{url.replace('http', 'ws', 1)}/dicom/import/") for socket in sockets)
