"""The page in a real browser, headless: what a test opens, and waits to see."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "correct-horse-battery"
PATIENCE = 15_000  # milliseconds


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a page; where there is none, CI fails and others skip."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium")
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs what containers and root do not have.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def open_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of a fresh browser; its console stays clean, and nothing is asked for elsewhere."""
    with browser.new_context(base_url=url, **options) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request", lambda r: complaints.append(r.url) if not r.url.startswith(url) else None
        )
        yield page
        page.goto("about:blank")
    assert complaints == []


def log_in(page: Page) -> None:
    """By the form."""
    page.goto("/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def expect_text(page: Page, region: str, text: str) -> None:
    """Waits until a region of the page holds a text."""
    expect(page.locator(region)).to_contain_text(text, timeout=PATIENCE)
