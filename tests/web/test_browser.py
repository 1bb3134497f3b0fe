"""The page in a real browser: what a person does there and sees happen, without a reload."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.bench import NOW, Bench
from tests.support.browser import PATIENCE, TOKEN, expect_text, log_in, open_page
from tests.support.wait import wait_until

WEB = {"listen": "127.0.0.1:0", "token": TOKEN}
HOSTILE = "<script>window.struck = true</script><img src=x onerror='window.struck = true'>"


def mark_document(page: Page) -> None:
    """From now on a reload would be noticed."""
    page.evaluate("window.same = true")


def is_same_document(page: Page) -> bool:
    return bool(page.evaluate("window.same === true"))


def test_a_change_in_the_source_arrives_on_the_page_without_a_reload(page: Page, daemon):
    mark_document(page)
    expect_text(page, "#statuses", "3synced")
    daemon.bench.source(f"INSERT INTO contracts VALUES (9, 'Hooli', '2024-01-01', NULL, '', {NOW})")

    expect_text(page, "#statuses", "4synced")
    assert is_same_document(page)


def test_a_contracts_timeline_is_updated_without_a_reload(page: Page, daemon):
    page.goto("/contract?id=2")
    mark_document(page)
    expect_text(page, "#standing", "Gold")
    daemon.bench.source(f"UPDATE contracts SET plan = 'Platinum', updated_at = {NOW} WHERE id = 2")

    expect_text(page, "#standing", "Platinum")
    expect_text(page, "#standing", "Gold → Platinum")
    assert is_same_document(page)


def test_delivery_is_paused_and_resumed(page: Page, daemon):
    page.get_by_role("button", name="Pause delivery").click()
    expect_text(page, ".flash", "Delivery is paused.")
    expect_text(page, "#progress", "paused by a person")
    page.get_by_role("button", name="Resume delivery").click()
    expect_text(page, ".flash", "Delivery goes on.")
    expect(page.get_by_role("button", name="Pause delivery")).to_be_visible()


def test_refused_contracts_are_retried_by_a_button(browser: Browser, bench, sandbox, start):
    sandbox.strike("status=422 times=3")
    with start(bench) as daemon, open_page(browser, daemon.url) as page:
        daemon.await_counts(rejected=4)
        log_in(page)
        page.goto("/refusals")
        page.get_by_role("button", name="Retry 3 contracts").click()
        expect_text(page, ".flash", "3 contracts are due now.")
        expect(page.get_by_role("button", name="Retry 3 contracts")).to_have_count(0)
        page.goto("/")
        expect_text(page, "#statuses", "3synced")


@pytest.fixture
def guarded(browser: Browser, tmp_path, sandbox, start) -> Iterator[tuple[Bench, Page]]:
    """Three contracts, of which one may change at once, and somebody who has logged in."""
    bench = Bench.with_contracts(
        tmp_path, sandbox, schedule={"poll": "1s"}, guard={"min_contracts": 3}, web=WEB
    )
    bench.source("DELETE FROM contracts WHERE id = 4")
    with start(bench) as daemon, open_page(browser, daemon.url) as page:
        daemon.await_counts(synced=3)
        log_in(page)
        yield bench, page


def test_what_the_guard_holds_is_approved(guarded: tuple[Bench, Page], sandbox):
    bench, page = guarded
    bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id < 3")
    expect_text(page, "#verdict", "2 contracts are held by the guard.")
    page.get_by_role("link", name="look at them").click()
    page.get_by_label("Type how many: 2").fill("2")
    page.get_by_role("button", name="Approve").click()
    expect_text(page, "#main", "Nothing is held.")
    page.goto("/")
    expect_text(page, "#statuses", "3synced")
    expect_text(page, "#verdict", "All is well.")
    assert sandbox.contracts()["erp-1"]["description"] == "Silver"


def test_a_rejection_is_accepted_and_no_trouble_until_its_row_changes(page: Page, daemon):
    expect_text(page, "#verdict", "1 contract is rejected")
    page.get_by_role("link", name="see the reasons").click()
    page.get_by_label("Why it may stay so").fill("a test row")
    page.get_by_role("button", name="Accept 1 rejection").click()
    expect_text(page, ".flash", "1 contract is accepted, until the payload or the reason changes.")
    page.goto("/")
    expect_text(page, "#verdict", "All is well.")
    page.get_by_role("link", name="1 accepted").click()
    expect_text(page, "#found", "accepted by status page, from 127.0.0.1: a test row")
    page.get_by_role("link", name="4", exact=True).click()
    expect_text(page, "#standing", "by status page, from 127.0.0.1: a test row")
    expect(page.get_by_role("button", name="End the acceptance")).to_be_visible()
    daemon.bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 4")
    expect(page.get_by_role("button", name="Accept the rejection")).to_be_visible()
    page.get_by_label("Why it may stay so").fill("still one")
    page.get_by_role("button", name="Accept the rejection").click()
    page.get_by_role("button", name="End the acceptance").click()
    expect_text(page, ".flash", "1 contract is rejected again.")
    page.goto("/")
    expect_text(page, "#verdict", "1 contract is rejected")


def test_the_watermark_is_rewound_after_a_preview(page: Page, daemon):
    page.goto("/watermark")
    page.get_by_label("By how much").fill("30d")
    page.get_by_label("Why").fill("the clock was wrong")
    page.get_by_role("button", name="Preview").click()
    expect_text(page, "#main", "read again; only what differs is sent")
    page.get_by_role("button", name="Move it").click()
    expect_text(page, "#main", "the clock was wrong")


def test_after_a_wrong_token_the_right_one_leads_back(browser: Browser, daemon):
    with browser.new_context(base_url=daemon.url) as context:
        page = context.new_page()
        page.goto("/runs")
        expect(page.get_by_role("button")).to_have_count(0)
        page.get_by_role("link", name="Log in to act").click()
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Enter")
        expect(page).to_have_url(f"{daemon.url}/runs")
        expect(page.get_by_role("button", name="Compare everything now")).to_be_visible()


def test_a_hostile_name_is_text_also_in_an_update(browser: Browser, daemon):
    with open_page(browser, daemon.url) as page:
        log_in(page)
        page.goto("/contracts")
        hostile = HOSTILE.replace("'", "''")
        daemon.bench.source(f"UPDATE contracts SET account_name = '{hostile}', plan = '{hostile}', updated_at = {NOW} WHERE id = 2")  # fmt: skip
        expect_text(page, "#found", HOSTILE)
        page.goto("/contract?id=2")
        expect_text(page, "#standing", HOSTILE)
        assert page.evaluate("window.struck") is None


def test_the_page_reconnects_after_a_restart(browser: Browser, bench, start):
    with browser.new_context() as context, ExitStack() as until_restart:
        first = until_restart.enter_context(start(bench))
        first.await_counts(synced=3)
        page = context.new_page()
        page.goto(first.url)
        mark_document(page)
        expect_text(page, "#statuses", "3synced")
        until_restart.close()
        expect(page.locator("#away")).to_be_visible(timeout=PATIENCE)
        listen_at(bench, first.url)
        with start(bench):
            expect(page.locator("#away")).to_be_hidden(timeout=PATIENCE)
            bench.source(
                f"INSERT INTO contracts VALUES (9, 'Hooli', '2024-01-01', NULL, '', {NOW})"
            )
            expect_text(page, "#statuses", "4synced")
            assert is_same_document(page)


def listen_at(bench: Bench, url: str) -> None:
    config = json.loads(bench.config.read_text())
    config["web"]["listen"] = url.removeprefix("http://")
    bench.config.write_text(json.dumps(config))


def test_typed_text_survives_an_update(page: Page, daemon):
    page.goto("/contracts")
    page.get_by_role("searchbox").fill("half a na")
    daemon.bench.source(f"INSERT INTO contracts VALUES (9, 'Hooli', '2024-01-01', NULL, '', {NOW})")
    expect_text(page, "#found", "Hooli")

    expect(page.get_by_role("searchbox")).to_have_value("half a na")
    expect(page.get_by_role("searchbox")).to_be_focused()


HIDE = """
Object.defineProperty(document, "hidden", { get: () => window.isHidden === true });
window.hide = (isHidden) => {
  window.isHidden = isHidden;
  document.dispatchEvent(new Event("visibilitychange"));
};
"""


def test_hidden_tabs_hold_no_connection(browser: Browser, daemon):
    with browser.new_context(base_url=daemon.url) as context:
        context.add_init_script(HIDE)
        tabs = [context.new_page() for _ in range(8)]
        for tab in tabs:
            tab.set_default_timeout(PATIENCE)
            tab.goto("/", wait_until="domcontentloaded")
            expect_text(tab, "#statuses", "3synced")
            tab.evaluate("hide(true)")
        daemon.bench.source(
            f"INSERT INTO contracts VALUES (9, 'Hooli', '2024-01-01', NULL, '', {NOW})"
        )
        daemon.await_counts(synced=4)
        tabs[0].evaluate("hide(false)")
        expect_text(tabs[0], "#statuses", "4synced")


def test_selection_and_scroll_position_survive_an_update(page: Page, daemon):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/contracts")
    page.locator("#found .wide").evaluate("element => { element.scrollLeft = 90; }")
    page.get_by_role("cell", name="Initech").select_text()
    daemon.bench.source(f"INSERT INTO contracts VALUES (9, 'Hooli', '2024-01-01', NULL, '', {NOW})")
    wait_until(lambda: page.evaluate("waiting.has('found')"), "the news is here, and waits")

    assert page.evaluate("getSelection().toString()").strip() == "Initech"
    assert "Hooli" not in page.locator("#found").text_content()
    page.evaluate("getSelection().removeAllRanges()")
    expect_text(page, "#found", "Hooli")
    assert page.locator("#found .wide").evaluate("element => element.scrollLeft") == 90


def test_the_guards_page_is_updated_and_keeps_what_is_typed(guarded: tuple[Bench, Page]):
    bench, page = guarded
    page.goto("/guard")
    expect_text(page, "#held", "Nothing is held.")
    bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id < 3")
    page.get_by_label("Type how many: 2").fill("2")
    bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 3")
    expect_text(page, "#held", "3 contracts held.")
    page.get_by_role("button", name="Approve").click()
    expect_text(page, ".flash", "Meanwhile it is another number: 3 contracts are held now.")


def test_a_button_without_anything_to_do_disappears(browser: Browser, bench, sandbox, start):
    sandbox.strike("status=422 times=3")
    with start(bench) as daemon, open_page(browser, daemon.url) as page:
        daemon.await_counts(rejected=4)
        log_in(page)
        page.goto("/refusals")
        everything = page.get_by_role("button", name="Retry everything that is stuck")
        expect(everything).to_be_visible()
        daemon.visit(logged_in=True).post("/retry")
        expect(everything).to_have_count(0, timeout=PATIENCE)
