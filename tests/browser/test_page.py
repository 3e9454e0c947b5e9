"""The page itself: key, languages, themes, phone, accessibility, what it says when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no type hints
from playwright.sync_api import Browser, Page, expect

from domain.outcome_codes import OUTCOME_HINTS
from tests.browser.chromium import PATIENCE_MS, Complaints
from tests.browser.conftest import OpenPage
from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess

KEY = "a-service-key"
STATIC = Path(__file__).parents[2] / "static" / "js"
PHONE = {"width": 390, "height": 844}
NARROWEST = {"width": 320, "height": 640}
GO = """hash => location.hash === hash || new Promise(done => {
  addEventListener('hashchange', done, {once: true});
  location.hash = hash;
})"""
WORDS_OF_BOTH = """async () => {
  const [{zh}, {en}] = await Promise.all([import('/static/js/i18n/zh.js'), import('/static/js/i18n/en.js')]);
  const leaves = (node, path) => typeof node === 'string'
    ? [[path, (node.match(/\\{\\w+\\}/g) ?? []).sort().join()]]
    : Object.entries(node).flatMap(([name, value]) => leaves(value, `${path}.${name}`));
  const {hints, ...words} = en;
  const [codes, todo] = [Object.keys(zh.codes), Object.keys(hints)];
  return {zh: leaves({...zh, hints: {}}, ''), en: leaves(words, ''), codes, hints: todo};
}"""
"""Each key with the names of its blanks, in both dictionaries."""


@pytest.fixture(scope="module")
def a_task(service: ServiceProcess, folder: Path) -> str:
    """A finished task with pictures, failures, a held file and a folder left out."""
    patient = {"a.dcm": a_dicom_file(size=32), "b.dcm": a_dicom_file("P999"), "c.dcm": b"not a picture"}
    source = write_tree(
        folder / "dicom", {"2024-01": {"P001": patient}, "2024年2月": {"P001": {"d.dcm": a_dicom_file()}}}
    )
    done = service.run(source, description="2024年1月份影像导入")
    task_id: str = done["task_id"]
    return task_id


def every_route(task_id: str) -> tuple[str, ...]:
    sections = tuple(f"tasks/{task_id}/{section}" for section in ("outcomes", "pictures", "files", "verify"))
    return ("", "import", "months", "tasks", "system", *sections)


def settle(page: Page) -> None:
    """What the page asked for has come (pictures aside)."""
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("[aria-busy], .loading")).to_have_count(0)


def go(page: Page, route: str) -> None:
    """Another page of the dashboard, as a link would open it; returns when it is complete."""
    page.evaluate(GO, f"#/{route}")
    settle(page)


def test_browsers_get_the_page_and_programs_the_json(service: ServiceProcess) -> None:
    browser_accepts = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    page = service.http.get("/", headers=browser_accepts)
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == service.http.get("/dashboard").text
    assert "Accept" in page.headers["vary"]
    for accepts in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        assert "POST /import" in service.http.get("/", headers={"Accept": accepts}).json()["routes"]


def test_static_files_have_their_types_and_nothing_else_is_served(service: ServiceProcess) -> None:
    script = service.http.get("/static/js/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"] == "no-cache"
    assert service.http.get("/static/js/main.js", headers={"If-None-Match": script.headers["etag"]}).status_code == 304
    for path in ("/static/../main.py", "/static/%2e%2e/main.py", "/static/..%5cmain.py", "/static/", "/static/js"):
        assert service.http.get(path).status_code in (404, 307), path


def test_key_is_asked_for_kept_in_the_tab_and_never_in_an_address(
    browser: Browser, xiehe: SandboxProcess, folder: Path
) -> None:
    asked: list[str] = []
    with ServiceProcess(folder / "guarded", xiehe.url, api_token=xiehe.token, service_api_key=KEY) as guarded:
        page = browser.new_page(locale="zh-CN")
        page.set_default_timeout(PATIENCE_MS)
        complaints = Complaints(page)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(f"{guarded.http.base_url}")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_have_count(1)
        field = dialog.get_by_label("服务密钥", exact=True)
        expect(field).to_be_focused()

        field.fill("密钥")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("英文字母")
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog.get_by_text("密钥不正确")).to_be_visible()
        dialog.get_by_label("服务密钥", exact=True).fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("[data-tile=ready]")).to_contain_text("可以导入")
        expect(page.locator("#link-state")).to_contain_text("实时")
        expect(dialog).to_have_count(0)

        page.reload()
        expect(page.locator("[data-tile=ready]")).to_contain_text("可以导入")
        assert page.evaluate("Object.values(localStorage).concat(document.cookie).join()").find(KEY) == -1
        assert [url for url in asked if KEY in url] == []
        assert [text for text in complaints.texts if "401" not in text] == []
        page.close()


def test_language_changes_and_is_remembered(open_page: OpenPage, a_task: str) -> None:
    page = open_page(f"tasks/{a_task}")
    expect(page.get_by_role("heading", name="失败的文件")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Failed files")).to_be_visible()
    expect(page.locator("[data-code=patient_mismatch]")).to_contain_text("Settle which is right")
    expect(page.locator("html")).to_have_attribute("lang", "en")

    page.reload()
    expect(page.get_by_role("heading", name="Failed files")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="失败的文件")).to_be_visible()


def test_both_languages_say_the_same_and_name_every_code(page: Page) -> None:
    words = page.evaluate(WORDS_OF_BOTH)
    assert len(words["zh"]) > 100
    assert words["zh"] == words["en"]
    assert set(OUTCOME_HINTS) - set(words["codes"]) == set()
    assert set(OUTCOME_HINTS) - set(words["hints"]) == set()


def test_every_word_that_the_page_asks_for_is_in_the_dictionary(page: Page) -> None:
    known = {path.lstrip(".") for path, _ in page.evaluate(WORDS_OF_BOTH)["zh"]}
    asked = {
        key
        for path in STATIC.rglob("*.js")
        for key in re.findall(r"\bt\(\s*\"([a-z_.]+)\"", path.read_text(encoding="utf-8"))
    }
    assert len(asked) > 100
    assert asked - known == set()


@pytest.mark.parametrize(
    ("bad", "overview", "system"),
    [
        ({"background"}, "未完全正常", "可以导入，但不完全正常：有后台工作等待重启"),
        ({"xiehe"}, "现在不能导入", "现在不能导入"),
        ({"xiehe", "background"}, "现在不能导入", "现在不能导入"),
        (set[str](), "可以导入", "可以导入"),
    ],
)
def test_waiting_background_work_alone_does_not_count_as_no_import(
    open_page: OpenPage, bad: set[str], overview: str, system: str
) -> None:
    checks = [{"name": name, "ok": name not in bad, "detail": ""} for name in ("history", "background", "xiehe")]
    status = "not_ready" if bad else "ready"
    answer = {
        "status": status,
        "timestamp": "2026-11-22T21:45:48Z",
        "contract": "C4",
        "checks": checks,
        "background": [],
    }
    page = open_page("months")
    # with 200, since Chromium itself complains of a 503
    page.route("**/health/ready", lambda route: route.fulfill(json=answer))
    go(page, "")
    expect(page.get_by_text(overview, exact=True)).to_be_visible()
    go(page, "system")
    expect(page.locator(".ready-line")).to_have_text(system)


def test_theme_follows_the_system_until_chosen(open_page: OpenPage) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = open_page(color_scheme="dark")
    light = open_page(color_scheme="light")
    expect(dark.get_by_role("button", name="切换到浅色")).to_be_visible()
    assert dark.evaluate(ground) != light.evaluate(ground)

    dark.get_by_role("button", name="切换到浅色").click()
    assert dark.evaluate(ground) == light.evaluate(ground)
    dark.reload()
    expect(dark.get_by_role("button", name="切换到深色")).to_be_visible()
    assert dark.evaluate(ground) == light.evaluate(ground)


@pytest.mark.parametrize("viewport", [PHONE, NARROWEST], ids=["phone", "narrowest"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_nothing_scrolls_sideways_on_a_phone(
    open_page: OpenPage, a_task: str, viewport: dict[str, int], language: str
) -> None:
    page = open_page(viewport=viewport, has_touch=True, is_mobile=True)
    page.evaluate(f"localStorage.setItem('dicom-import.language', '{language}')")
    page.reload()
    for route in every_route(a_task):
        go(page, route)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"#/{route} is {wide} pixels too wide"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: OpenPage, a_task: str, scheme: str) -> None:
    """In the dark only colours can have gone wrong."""
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    for route in every_route(a_task):
        go(page, route)
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, f"#/{route}\n{found.generate_report()}"
    page.goto(page.url.replace("/verify", "/files"))
    page.locator("tr", has_text="a.dcm").locator(".row-button").click()  # the others have no picture to show
    expect(page.get_by_role("dialog")).to_be_visible()
    found = Axe().run(page, options=rules)
    assert found.violations_count == 0, found.generate_report()


def test_every_page_has_one_heading_that_takes_the_focus(open_page: OpenPage, a_task: str) -> None:
    page = open_page()
    settle(page)
    for name in ("新建导入", "月份", "任务", "系统", "概览"):
        page.get_by_role("navigation", name="主导航").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_focused()
        assert page.get_by_role("heading", level=1).count() == 1


def test_months_answer_which_are_done(open_page: OpenPage, service: ServiceProcess, folder: Path, a_task: str) -> None:
    write_tree(
        folder / "dicom",
        {"2023-11": {"P001": {"n.dcm": a_dicom_file()}}, "2023-12": {"P001": {"u.dcm": a_dicom_file()}}},
    )
    service.run(folder / "dicom" / "2023-11")
    page = open_page("months")

    expect(page.locator(".months-lead")).to_contain_text("1 / 3 个月份已完成")
    expect(page.get_by_role("link", name=re.compile("2023-11：已完成"))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("2023-12：未导入"))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("2024-01：部分完成"))).to_be_visible()

    page.get_by_role("button", name="未完成").click()
    rows = page.locator(".table tbody tr")
    expect(rows).to_have_count(2)
    rows.filter(has_text="2023-12").get_by_role("link", name="导入").click()
    expect(page.get_by_label("来源目录")).to_have_value(str(folder / "dicom" / "2023-12"))


def test_left_out_folders_and_outcomes_are_told(open_page: OpenPage, a_task: str) -> None:
    page = open_page(f"tasks/{a_task}")
    expect(page.get_by_text("未处理的目录（1）")).to_be_visible()
    expect(page.locator(".notice-list")).to_contain_text("2024年2月")
    expect(page.locator("[data-code=not_dicom]")).to_contain_text("请从设备重新导出")


def test_what_is_wrong_and_what_to_do_when_xiehe_is_away(browser: Browser, folder: Path) -> None:
    with SandboxProcess(4, folder / "away") as xiehe, ServiceProcess(folder / "lonely", xiehe.url) as service:
        xiehe.stop()
        page = browser.new_page(locale="zh-CN")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{service.http.base_url}/dashboard#/system")
        check = page.locator("[data-check=xiehe]")
        expect(check).to_contain_text("BACKEND_URL")
        expect(check).to_have_class(re.compile("check-bad"))
        expect(page.locator(".ready-line")).to_contain_text("现在不能导入")

        service.kill()
        page.get_by_role("button", name="重新检查").click()
        expect(page.get_by_text("连不上导入服务")).to_be_visible()
        page.close()


def test_live_view_comes_back_with_the_service(browser: Browser, xiehe: SandboxProcess, folder: Path) -> None:
    with ServiceProcess(folder / "restarted", xiehe.url, api_token=xiehe.token) as service:
        page = browser.new_page(locale="zh-CN")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{service.http.base_url}/dashboard")
        state = page.locator("#link-state")
        expect(state).to_contain_text("实时")
        service.kill()
        expect(state).to_contain_text("连接中断")
        service.start()
        expect(state).to_contain_text("实时")
        page.close()


def test_an_address_that_leads_nowhere_says_so(open_page: OpenPage) -> None:
    page = open_page("no-such-page")
    expect(page.get_by_role("heading", level=1, name="没有这个页面")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="回到概览").click()
    expect(page.get_by_role("heading", level=1, name="概览")).to_be_focused()


def test_unknown_task_is_said_in_words(browser: Browser, service: ServiceProcess) -> None:
    page = browser.new_page(locale="zh-CN")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{service.http.base_url}/dashboard#/tasks/dicom-import-20200101-000000-00000000")
    expect(page.get_by_role("alert")).to_contain_text("task_not_found")
    page.close()


def test_page_asks_nobody_else(service: ServiceProcess) -> None:
    root = Path(__file__).parents[2] / "static"
    texts = {path: path.read_text(encoding="utf-8") for path in root.rglob("*") if path.is_file()}
    foreign = {
        path.name: found
        for path, text in texts.items()
        if (found := set(re.findall(r"https?://[^\s\"'<>]+", text)) - {"http://www.w3.org/2000/svg"})
    }
    assert foreign == {}
    assert [path.name for path, text in texts.items() if "innerHTML" in text or "insertAdjacentHTML" in text] == []
    assert httpx.URL(str(service.http.base_url)).host == "127.0.0.1"
