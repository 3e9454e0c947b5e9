"""The machine's own Chromium, driven by Playwright; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, expect, sync_playwright

from tests.waiting import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = PATIENCE_S * 1000
"""How long anything may take on a loaded machine before a test gives up; nothing waits when it is there."""


class ChromiumMissingError(Exception):
    """No browser on this machine; the message says how to get one."""


def chromium_path() -> str:
    """CHROMIUM from the environment, or the first known name on PATH.

    Raises:
        ChromiumMissingError: there is none.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ChromiumMissingError(
            "the dashboard's tests need Chromium: run `make browser` (as root on Debian or Ubuntu), "
            "install it otherwise, or set CHROMIUM=/path/to/chrome"
        )
    return found


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A fresh, headless browser with a profile of its own."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS), timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """What a page says in the console as an error, what it throws, and what pops up."""

    def __init__(self, page: Page) -> None:
        self.texts: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", self._thrown)
        page.on("dialog", self._popped_up)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.texts.append(f"{message.text} {message.location.get('url', '')}")

    def _thrown(self, error: Error) -> None:
        self.texts.append(str(error))

    def _popped_up(self, dialog: Dialog) -> None:
        self.texts.append(f"a dialog opened: {dialog.message}")
        dialog.dismiss()
