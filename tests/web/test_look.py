"""The page in a real browser: for every eye, hand and screen."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.bench import NOW
from tests.support.browser import expect_text, log_in, open_page
from tests.support.wait import wait_until

AXE = Path(__file__).with_name("vendor") / "axe.min.js"
VIEWS = ["/", "/?window=day", "/contracts", "/contracts?q=globex", "/contract?id=2", "/contract?id=99", "/refusals", "/guard", "/watermark", "/runs", "/log", "/configuration", "/login"]  # fmt: skip


def test_times_are_in_the_viewers_zone_with_utc_on_hover(browser: Browser, daemon):
    with open_page(browser, daemon.url, timezone_id="Asia/Kolkata", locale="en-GB") as page:
        page.goto("/contract?id=1")
        time = page.locator("time").first
        instant = time.get_attribute("datetime")
        local = page.evaluate("t => new Date(t).toLocaleTimeString()", instant)

        assert instant
        assert time.text_content().endswith(local)
        assert time.get_attribute("title") == f"{instant[:10]} {instant[11:19]} UTC"
        expect(page.locator("#zone")).to_contain_text("Asia/")


def test_the_page_is_readable_without_scripts(browser: Browser, daemon):
    with open_page(browser, daemon.url, java_script_enabled=False) as page:
        page.goto("/")
        expect_text(page, "#statuses", "3synced")
        expect(page.locator(".chart path.line").first).to_be_visible()
        page.get_by_label("Views").get_by_role("link", name="Contracts").click()
        page.get_by_role("searchbox").fill("init")
        page.keyboard.press("Enter")
        expect_text(page, "#found", "Initech")


def test_the_page_is_usable_by_keyboard(page: Page):
    page.goto("/contracts")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("erp-1")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=erp-1$"))


def test_long_names_do_not_widen_a_page(browser: Browser, daemon):
    long = "x" * 200
    daemon.bench.source(f"UPDATE contracts SET account_name = '{long}', plan = '{long}', updated_at = {NOW} WHERE id = 2")  # fmt: skip
    wait_until(lambda: long in daemon.visit().text("/contract?id=2"), "it is known")
    views = ["/contracts", "/contract?id=2", f"/contract?id={long}", f"/contracts?q={long}", "/refusals"]  # fmt: skip
    for size in ({"width": 360, "height": 740}, {"width": 1180, "height": 860}):
        with browser.new_context(base_url=daemon.url, viewport=size) as context:
            page = context.new_page()
            for view in views:
                page.goto(view)
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], view


def test_a_tap_switches_a_time_to_utc_and_back(browser: Browser, daemon):
    with open_page(browser, daemon.url, timezone_id="Asia/Kolkata", has_touch=True) as page:
        page.goto("/contract?id=1")
        time = page.locator("#standing time").first
        local, utc = time.text_content(), time.get_attribute("title")

        time.tap()
        expect(time).to_have_text(utc)
        time.tap()
        expect(time).to_have_text(local)


# The rules but for contrast look at what both schemes share.
@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])])
def test_every_view_is_accessible(browser: Browser, daemon, scheme, rules):
    daemon.recent(None, "warning", {"event": "poll.failed", "level": "warning", "reason": "away"})
    with browser.new_context(base_url=daemon.url, color_scheme=scheme) as context:
        page = context.new_page()
        log_in(page)
        page.get_by_role("button", name="Pause delivery").click()
        found = {view: _violations(page, view, rules) for view in VIEWS}

    assert {view: violations for view, violations in found.items() if violations} == {}


def _violations(page: Page, view: str, rules: list[str] | None) -> list[str]:
    page.goto(view)
    page.evaluate(AXE.read_text())
    only = {"runOnly": rules} if rules else {}
    report = page.evaluate("async (only) => (await axe.run(only)).violations", only)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in report]


@pytest.mark.parametrize("later", [timedelta(), timedelta(days=40)], ids=["today", "later"])
def test_nothing_is_wider_than_a_phone(browser: Browser, shared_daemon, later):
    size = {"width": 360, "height": 740}
    with browser.new_context(base_url=shared_daemon.url, viewport=size, is_mobile=True) as context:
        page = context.new_page()
        # A time of another day is written with its date.
        page.clock.set_fixed_time(datetime.now(UTC) + later)
        for view in VIEWS:
            page.goto(view)

            assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
