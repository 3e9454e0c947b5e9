"""An operator's day in a real browser: start, watch, pause, go on, failures, retry; dry run; pictures; proof."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.chromium import PATIENCE_MS, Complaints
from tests.browser.conftest import OpenPage, Source
from tests.dicom_files import a_dicom_file
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

FILES = 16
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def no_faults_stay(xiehe: SandboxProcess) -> None:
    xiehe.clear_faults()


def start_in_form(page: Page, source: Path, button: str = "开始导入") -> str:
    """Fills the form, presses the button, and returns the id of the task whose page opens."""
    page.get_by_role("link", name="新建导入").first.click()
    page.get_by_label("来源目录").fill(str(source))
    page.get_by_role("button", name=button).click()
    page.wait_for_url(re.compile(r"#/tasks/dicom-import"))
    return page.url.rpartition("/")[2]


def count(page: Page, kind: str) -> str:
    """One figure of the account."""
    return page.locator(f"[data-count={kind}] .figure-value").inner_text()


def expect_state(page: Page, word: str) -> None:
    expect(page.locator(".task-badges")).to_contain_text(word)


def expect_counts(page: Page, **counts: int) -> None:
    for kind, number in counts.items():
        expect(page.locator(f"[data-count={kind}] .figure-value")).to_have_text(str(number))


def test_start_watch_pause_resume_failures_retry(
    page: Page, service: ServiceProcess, xiehe: SandboxProcess, a_source: Source
) -> None:
    files = {f"{number:03d}.dcm": a_dicom_file(shade=number) for number in range(FILES)}
    source = a_source({"2024-01": {"P001": {**files, "wrong.dcm": a_dicom_file("P999")}}})
    xiehe.hold("create_session", skip=4)

    task_id = start_in_form(page, source)
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^[1-9]"))

    page.get_by_role("button", name="暂停").click()
    expect(page.get_by_text("由操作员暂停。")).to_be_visible()
    assert service.status(task_id)["status"] == "paused"

    resume = page.get_by_role("button", name="继续")
    expect(resume).to_be_focused()
    xiehe.clear_faults()
    resume.click()
    expect_state(page, "部分成功")
    expect_counts(page, scanned=FILES + 1, uploaded=FILES, duplicate=0, failed=1)
    expect(page.get_by_text("数量吻合")).to_be_visible()
    expect(page.get_by_role("button", name="暂停")).to_be_hidden()

    reason = page.locator("[data-code=patient_mismatch]")
    expect(reason).to_contain_text("患者ID与目录名不同")
    expect(reason).to_contain_text("已扣留")
    reason.get_by_role("button", name="重试这一类").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="开始重试").click()
    expect(dialog.get_by_role("alert")).to_have_text("请先选择这次怎么处理。")
    dialog.get_by_label("这次怎么处理").select_option("trust_folder")
    dialog.get_by_role("button", name="开始重试").click()

    page.wait_for_url(lambda url: task_id not in url)
    expect_state(page, "全部成功")
    expect_counts(page, scanned=1, uploaded=1, failed=0)
    expect(page.get_by_role("link", name=task_id)).to_be_visible()
    assert len(xiehe.state()["images"]) >= FILES + 1


def test_cancel_asks_first(page: Page, service: ServiceProcess, xiehe: SandboxProcess, a_source: Source) -> None:
    source = a_source({"2024-01": {"P001": {f"{n}.dcm": a_dicom_file(shade=n) for n in range(FILES)}}})
    xiehe.hold("create_session", skip=4)
    task_id = start_in_form(page, source)

    page.get_by_role("button", name="取消任务").click()
    page.get_by_role("button", name="不取消").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert service.status(task_id)["status"] in ("pending", "running")

    page.get_by_role("button", name="取消任务").click()
    page.get_by_role("dialog").get_by_role("button", name="取消任务").click()
    expect_state(page, "已取消")
    assert service.status(task_id)["status"] == "cancelled"


def test_dry_run_shows_a_plan_and_writes_nothing_until_told(
    page: Page, xiehe: SandboxProcess, a_source: Source
) -> None:
    source = a_source({"2024-02": {"DRY1": {"a.dcm": a_dicom_file("DRY1")}, "DRY2": {"b.dcm": a_dicom_file("DRY2")}}})

    def images_in_xiehe() -> list[str]:
        """Of these patients: what a cancelled test had under way may still arrive meanwhile."""
        return [row["filename"] for row in xiehe.state()["images"] if row["patient_id"] in ("DRY1", "DRY2")]

    dry = start_in_form(page, source, "试运行")
    expect(page.locator("[data-plan=files_to_upload] dd")).to_have_text("2")
    expect(page.locator("[data-plan=patients_to_create] dd")).to_have_text("2")
    real = page.get_by_role("button", name="现在正式导入")
    expect(real).to_be_visible()
    assert images_in_xiehe() == []

    real.click()
    page.wait_for_url(lambda url: "#/tasks/" in url and dry not in url)
    expect_state(page, "全部成功")
    expect_counts(page, scanned=2, uploaded=2)
    assert sorted(images_in_xiehe()) == ["a.jpg", "b.jpg"]


def test_contact_sheet_shows_pictures_and_a_large_view(
    open_page: OpenPage, service: ServiceProcess, a_source: Source
) -> None:
    tree = {
        "PIC": {"a.dcm": a_dicom_file("PIC", size=64), "b.dcm": a_dicom_file("PIC", size=64, frames=3), "c.dcm": b"no"}
    }
    done = service.run(a_source({"2024-03": tree}))
    page = open_page(f"tasks/{done['task_id']}/pictures")

    pictures = page.locator(".frame-picture:not([hidden])")
    expect(pictures).to_have_count(2)
    assert all(pictures.evaluate_all("pictures => pictures.map(picture => picture.naturalWidth > 0)"))
    first = page.locator(".frame", has_text="a.dcm")
    expect(first).to_contain_text("PIC")
    expect(first).to_contain_text("512 / 1,024")
    expect(first).to_contain_text("Explicit LE")
    expect(page.locator(".frame", has_text="c.dcm")).to_contain_text("没有图像")

    several = page.locator(".frame", has_text="b.dcm")
    several.focus()
    several.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_text("第 1 帧，共 3 帧")).to_be_visible()
    viewer.get_by_role("button", name="下一帧").click()
    expect(viewer.get_by_text("第 2 帧，共 3 帧")).to_be_visible()
    large = viewer.locator(".viewer-picture:not([hidden])")
    expect(large).to_have_js_property("naturalWidth", 64)
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(several).to_be_focused()


def test_verify_asks_xiehe_for_every_image(
    open_page: OpenPage, service: ServiceProcess, xiehe: SandboxProcess, a_source: Source
) -> None:
    files = {f"{name}.dcm": a_dicom_file("VER") for name in "ab"}
    done = service.run(a_source({"2024-04": {"VER": files}}))
    page = open_page(f"tasks/{done['task_id']}/verify")

    page.get_by_role("button", name="开始核对").click()
    expect(page.get_by_text("全部在 XieHe 中。")).to_be_visible()

    xiehe.delete_image(service.report(done["task_id"])[0]["image_file_id"])
    page.get_by_role("button", name="开始核对").click()
    expect(page.get_by_text("1 张影像有问题")).to_be_visible()
    expect(page.locator("[data-result=missing] dd")).to_have_text("1")


def test_file_list_filters_and_reports_download(open_page: OpenPage, service: ServiceProcess, a_source: Source) -> None:
    done = service.run(
        a_source({"2024-05": {"FIL": {"a.dcm": a_dicom_file("FIL"), "bad.dcm": b"not a picture", "n.txt": b""}}})
    )
    page = open_page(f"tasks/{done['task_id']}/files")
    rows = page.locator(".table tbody tr")
    expect(rows).to_have_count(2)
    expect(page.get_by_role("cell", name="已上传")).to_have_count(1)

    page.get_by_label("结果", exact=True).select_option("failed")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("bad.dcm")

    page.get_by_text("下载报告").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    text = download.value.path().read_text(encoding="utf-8-sig")
    assert download.value.suggested_filename == f"{done['task_id']}.csv"
    assert text.startswith("number,") or "source_path" in text.splitlines()[0]
    assert len(text.splitlines()) == 4
    assert ",ignored,not_dicom," in text.splitlines()[3]


def test_refusals_stand_beside_the_button(
    browser: Browser, service: ServiceProcess, xiehe: SandboxProcess, a_source: Source
) -> None:
    page = browser.new_page(locale="zh-CN")
    page.set_default_timeout(PATIENCE_MS)
    complaints = Complaints(page)
    page.goto(f"{service.http.base_url}/dashboard")
    source = a_source({"2024-09": {"BUSY": {f"{n}.dcm": a_dicom_file("BUSY", shade=n) for n in range(FILES)}}})
    page.get_by_role("link", name="新建导入").first.click()
    page.get_by_role("button", name="开始导入").click()
    refusal = page.locator("form").get_by_role("alert")
    expect(refusal).to_have_text("请先选择或输入来源目录。")
    page.get_by_label("来源目录").fill("/somewhere/else")
    page.get_by_role("button", name="开始导入").click()
    expect(refusal).to_contain_text("DICOM_SOURCE_PATH")

    xiehe.hold("create_session", skip=4)
    task_id = start_in_form(page, source)
    page.go_back()
    page.get_by_label("来源目录").fill(str(source))
    page.get_by_role("button", name="开始导入").click()
    refusal.get_by_role("link", name="查看任务").click()
    page.wait_for_url(re.compile(task_id))
    assert [text for text in complaints.texts if "403" not in text and "409" not in text] == []
    page.close()


def test_hostile_names_are_text(page: Page, service: ServiceProcess, a_source: Source) -> None:
    name = f"{HOSTILE}.dcm"
    source = a_source({"2024-06": {HOSTILE: {name: a_dicom_file(HOSTILE), f"x{name}": b"<script>alert(2)</script>"}}})
    done = service.run(source, description=f"<b>bold</b>{HOSTILE}")

    page.goto(f"{page.url.partition('#')[0]}#/tasks/{done['task_id']}/files")
    expect(page.get_by_text(f"<b>bold</b>{HOSTILE}")).to_be_visible()
    expect(page.locator(".table tbody tr")).to_have_count(2)
    expect(page.locator(".path-name", has_text=name).first).to_be_visible()
    for section in ("pictures", "outcomes"):
        page.locator(f"[data-section={section}]").click()
        expect(page.locator(f"[data-section={section}]")).to_have_attribute("aria-current", "page")
    page.goto(f"{page.url.partition('#')[0]}#/import?path={HOSTILE}")
    expect(page.get_by_label("来源目录")).to_have_value(HOSTILE)
    page.goto(f"{page.url.partition('#')[0]}#/")
    expect(page.get_by_text(f"<b>bold</b>{HOSTILE}")).to_be_visible()
    assert page.locator("main img[src=x], main b").count() == 0


def test_keyboard_alone_is_enough(page: Page, service: ServiceProcess, a_source: Source) -> None:
    source = a_source({"2024-07": {"KEY": {"a.dcm": a_dicom_file("KEY")}}})
    expect(page.get_by_role("heading", name="概览")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip-link")).to_be_focused()
    tab_to(page, page.get_by_role("navigation").get_by_role("link", name="新建导入"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="新建导入")).to_be_focused()

    for step in (source.name, "2024-07"):
        tab_to(page, page.get_by_role("button", name=f"进入 {step}", exact=True))
        page.keyboard.press("Enter")
        expect(page.locator(".folder-here")).to_contain_text(step)
    tab_to(page, page.get_by_role("button", name=re.compile("选择此目录.*2024-07$")))
    page.keyboard.press("Space")
    expect(page.get_by_label("来源目录")).to_have_value(str(source / "2024-07"))
    tab_to(page, page.get_by_role("button", name="开始导入"))
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile("#/tasks/dicom-import"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("2024-07")
    expect_state(page, "全部成功")


def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until the target has the focus; a page with more stops than this has lost it."""
    for _ in range(40):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"never reached {target}")


def test_without_websockets_it_polls(
    open_page: OpenPage, service: ServiceProcess, xiehe: SandboxProcess, a_source: Source
) -> None:
    source = a_source({"2024-08": {"POLL": {f"{n}.dcm": a_dicom_file("POLL", shade=n) for n in range(6)}}})
    xiehe.hold("create_session", skip=4)
    page = open_page()
    page.add_init_script(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose({code: 1006})); } close() {} }"
    )
    page.reload()
    task_id = start_in_form(page, source)

    expect(page.locator("#link-state")).to_contain_text("轮询更新")
    xiehe.clear_faults()
    expect_state(page, "全部成功")
    assert service.status(task_id)["progress"]["new_images_uploaded"] == int(count(page, "uploaded")) == 6
