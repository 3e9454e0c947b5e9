"""``make pictures``: the README's pictures of the dashboard, taken anew from the demonstration's data."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from demo.sample_tree import build_sample_tree
from tests.browser.chromium import PATIENCE_MS, running_chromium
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DESKTOP = {"width": 1280, "height": 840}
PHONE = {"width": 390, "height": 780}
SLOW = {"operation": "create_session", "kind": "slow", "seconds": 1.5, "times": "forever"}
EARLIER_MONTHS = {f"2023-{month:02d}": 2 + month % 5 for month in range(3, 13)}
"""Small months before the sample tree's, so that the board has something to show: month → files."""
NOT_YET = "2023-12"
WITH_TROUBLE = "2023-09"


@dataclass(frozen=True, slots=True)
class Camera:
    """Takes pictures of one service's dashboard."""

    browser: Browser
    url: str

    @contextmanager
    def page(self, route: str, *, dark: bool = False, phone: bool = False, english: bool = False) -> Iterator[Page]:
        context = self.browser.new_context(
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]  # a TypedDict, read only
            device_scale_factor=2 if phone else 1,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB" if english else "zh-CN",
        )
        if english:
            context.add_init_script("localStorage.setItem('dicom-import.language', 'en')")
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{self.url}/dashboard#/{route}")
        expect(page.locator("main h1")).to_be_visible()
        page.wait_for_load_state("networkidle")
        yield page
        context.close()

    def take(self, name: str, route: str, **looks: bool) -> None:
        with self.page(route, **looks) as page:
            save(page, name)


def save(page: Page, name: str) -> None:
    """What is seen, in at most 256 colours: a quarter of the bytes and no visible difference."""
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"  {path.name}  {path.stat().st_size // 1000} KB", flush=True)  # noqa: T201 - a script for people


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with a_plain_folder() as base, running_chromium() as browser:
        root = base / "dicom"
        build_sample_tree(root)
        write_tree(root, {month: an_earlier_month(month, files) for month, files in EARLIER_MONTHS.items()})
        with (
            SandboxProcess(4, base / "xiehe") as xiehe,
            ServiceProcess(
                base / "service", xiehe.url, api_token=xiehe.token, dicom_source_path=str(root), upload_concurrency=2
            ) as service,
        ):
            camera = Camera(browser, str(service.http.base_url).rstrip("/"))
            import_earlier_months(service, root)
            take_dry_run(camera, root)
            take_running(camera, service, xiehe, root)
            take_finished(camera, service, root)


@contextmanager
def a_plain_folder() -> Iterator[Path]:
    """A folder whose name may be seen in pictures; refused if another user owns it."""
    folder = Path(tempfile.gettempdir()) / "data"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def an_earlier_month(month: str, files: int) -> dict[str, dict[str, bytes]]:
    patients = {f"P{1000 + number}": {"IM0001.dcm": a_dicom_file(f"P{1000 + number}")} for number in range(files)}
    if month == WITH_TROUBLE:
        patients["P1000"]["IM0002.dcm"] = a_dicom_file("P4711")
    return patients


def import_earlier_months(service: ServiceProcess, root: Path) -> None:
    for month in EARLIER_MONTHS:
        if month != NOT_YET:
            service.run(root / month, description=f"{month[:4]}年{int(month[5:])}月份影像导入")


def take_dry_run(camera: Camera, root: Path) -> None:
    """Through the form, as an operator does it."""
    with camera.page("import") as page:
        page.get_by_label("来源目录").fill(str(root / "2024-01"))
        page.get_by_label("说明（可不填）").fill("2024年1月份影像导入")
        page.get_by_text("更多选项").click()
        save(page, "import-form")
        page.get_by_role("button", name="试运行").click()
        page.wait_for_url(re.compile("#/tasks/"))
        expect(page.get_by_role("button", name="现在正式导入")).to_be_visible()
        page.locator(".toast").wait_for(state="detached")
        save(page, "dry-run")


def take_running(camera: Camera, service: ServiceProcess, xiehe: SandboxProcess, root: Path) -> None:
    """One task at work, one paused."""
    service.run(root / "2024-01", description="2024年1月份影像导入")
    xiehe.faults(SLOW)
    paused = service.start_import(root / "2024-02", description="2024年2月份影像导入")
    working = service.start_import(root / "2024-03", description="2024年3月份影像导入")
    with camera.page(f"tasks/{paused}") as page:
        expect(page.locator("[data-count=uploaded] .figure-value")).to_have_text(re.compile("[2-9]"))
        service.http.post(f"/import/{paused}/pause").raise_for_status()
    with camera.page(f"tasks/{working}") as page:
        expect(page.locator("[data-count=uploaded] .figure-value")).to_have_text(re.compile("[3-9]"))
    camera.take("overview-light", "")
    camera.take("overview-dark", "", dark=True)
    camera.take("overview-english", "", english=True)
    camera.take("phone-light", "", phone=True)
    xiehe.clear_faults()
    service.http.post(f"/import/{paused}/resume").raise_for_status()
    service.wait(paused)
    service.wait(working)


def take_finished(camera: Camera, service: ServiceProcess, root: Path) -> None:
    task_id = service.http.get("/import/tasks", params={"limit": 1}).json()["tasks"][0]["task_id"]
    first = next(
        row["task_id"]
        for row in service.http.get("/import/tasks").json()["tasks"]
        if row["source_path"] == str(root / "2024-01") and not row["dry_run"]
    )
    camera.take("months", "months")
    camera.take("months-english", "months", english=True)
    camera.take("outcomes", f"tasks/{task_id}/outcomes")
    camera.take("phone-dark", f"tasks/{task_id}/outcomes", phone=True, dark=True)
    for name, english in (("contact-sheet", False), ("contact-sheet-english", True)):
        with camera.page(f"tasks/{first}/pictures", english=english) as page:
            page.locator(".file-bar").scroll_into_view_if_needed()
            page.evaluate("window.scrollTo(0, document.querySelector('.tabs').offsetTop - 64)")
            page.wait_for_function("() => document.querySelectorAll('.frame-picture:not([hidden])').length >= 12")
            save(page, name)
    with camera.page(f"tasks/{first}/pictures") as page:
        page.locator(".frame", has_text="P001").first.click()
        expect(page.locator(".viewer-picture:not([hidden])")).to_be_visible()
        page.wait_for_load_state("networkidle")
        save(page, "viewer")


if __name__ == "__main__":
    main()
