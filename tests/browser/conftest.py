"""A browser, a service with a XieHe beside it, and pages that must not complain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import PATIENCE_MS, Complaints, running_chromium
from tests.dicom_files import Tree, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

DESKTOP = {"width": 1280, "height": 860}
OpenPage = Callable[..., Page]
Source = Callable[[Tree], Path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything of a module's tests lies; ``dicom`` is the only allowed root."""
    place = tmp_path_factory.mktemp("dashboard")
    (place / "dicom").mkdir()
    return place


@pytest.fixture(scope="module")
def xiehe(folder: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(4, folder / "xiehe") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def service(xiehe: SandboxProcess, folder: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(
        folder / "service",
        xiehe.url,
        api_token=xiehe.token,
        dicom_source_path=str(folder / "dicom"),
        upload_concurrency=2,
    ) as process:
        yield process


@pytest.fixture
def a_source(folder: Path, request: pytest.FixtureRequest) -> Source:
    """Writes a tree into a folder of the test's own below the allowed root."""

    def write(tree: Tree) -> Path:
        return write_tree(folder / "dicom" / request.node.name.removeprefix("test_")[:60], tree)

    return write


@pytest.fixture
def open_page(browser: Browser, service: ServiceProcess) -> Iterator[OpenPage]:
    """Opens the dashboard in a context of its own; a complaint on any such page fails the test."""
    opened: list[tuple[Page, Complaints]] = []

    def open_(route: str = "", url: str | None = None, at: str | None = None, **context: Any) -> Page:
        page = browser.new_context(**{"viewport": DESKTOP, "locale": "zh-CN"} | context).new_page()
        page.set_default_timeout(PATIENCE_MS)
        opened.append((page, Complaints(page)))
        page.goto(at or f"{url or service.http.base_url}/dashboard#/{route}".replace("//dashboard", "/dashboard"))
        return page

    yield open_
    texts = [text for _, complaints in opened for text in complaints.texts]
    for page, _ in opened:
        page.context.close()
    assert texts == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The dashboard's overview on a desktop, in Chinese."""
    return open_page()
