"""What the pages show, without a browser and without its script."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.verdict import ApiState
from cdc_sync.state import control
from cdc_sync.web import flash, render
from tests.support.bench import NOW, Bench
from tests.support.wait import wait_until

PAGES = ["/", "/?window=day", "/contracts", "/refusals", "/guard", "/watermark", "/runs", "/log", "/configuration"]  # fmt: skip
HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
SECRETS = ["correct-horse-battery", "sandbox-secret-of-a-client"]


def text_of(html: str) -> str:
    """What a person reads."""
    main = html.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


@pytest.fixture
def visit(daemon):
    return daemon.visit(logged_in=True)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_complete_small_and_loads_nothing_from_elsewhere(shared_daemon, path):
    html = shared_daemon.visit().text(path)

    assert html.rstrip().endswith("</html>")
    assert len(html) < 100_000
    assert "<script src=" in html
    assert not re.search(r"<script(?! src=\"/assets/)|<style|\sstyle=|\son\w+=", html)
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", html)


def test_the_overview_says_in_a_sentence_what_is_wrong(shared_daemon):
    said = text_of(shared_daemon.visit().text("/"))

    assert "Not well: 1 contract is rejected." in said
    assert "3 synced 1 rejected" in said.replace("0 pending ", "")
    assert "3 created" in said
    assert "lookback: SQLite does not tell which transactions are unfinished" in said
    balance = r"4 rows at \S+ \S+ UTC : \d synced \+ \d pending \+ 1 rejected \+ 0 waiting \+ 0 held; unexplained 0"  # fmt: skip
    assert re.search(balance, said)
    assert re.search(r"Last reconcile \S+ \S+ UTC : 4 rows, 4 changed", said)
    assert re.search(r"Of this daemon, since its start at \S+ \S+ UTC", said)


def test_a_problem_links_to_the_page_that_explains_it(shared_daemon):
    html = shared_daemon.visit().text("/")

    assert '1 contract is rejected. <a href="/refusals">see the reasons</a>' in html
    assert re.search(r'<a href="/refusals"><b>1</b><span class="badge rejected">', html)


def test_times_within_sentences_are_time_elements(daemon):
    since = datetime(2026, 11, 25, 3, 37, 15, tzinfo=UTC)
    until = since + timedelta(minutes=1)
    daemon.visit(logged_in=True).post("/pause")
    with daemon.sync.state.begin() as tx:
        control.save(tx, ApiStatus(ApiState.UNREACHABLE, "no answer", since, until))
    wait_until(lambda: "Delivery stands still" in daemon.visit().text("/"), "it is told")
    html = daemon.visit().text("/")

    assert re.search(r'still since <time datetime="2026-11-25T03:37:15.000Z"', html)
    assert "no answer until 2026-11-25 03:38:15 UTC" in text_of(html)


def test_a_text_direction_set_by_a_name_ends_with_it(daemon, visit):
    turned = "\u202eTurned"
    daemon.bench.source(f"UPDATE contracts SET account_name = '{turned}', plan = '{turned}', updated_at = {NOW} WHERE id = 2")  # fmt: skip
    wait_until(lambda: turned in visit.text("/contract?id=2"), "it is known")
    unknown = visit.get("/contract?id=%E2%80%AETurned").text

    assert f"The state does not know <bdi>{turned}</bdi>." in unknown
    assert f"<h1><bdi>{turned}</bdi></h1>" in unknown
    assert f"“<bdi>{turned}x</bdi>”" in visit.text("/contracts?q=%E2%80%AETurnedx")


def test_the_overview_says_that_all_is_well(daemon):
    daemon.bench.source(f"UPDATE contracts SET account_name = 'Hooli', updated_at = {NOW} WHERE id = 4")  # fmt: skip
    daemon.await_counts(synced=4)

    wait_until(lambda: "All is well." in daemon.visit().text("/"), "the page says so")


def test_the_charts_have_labels(shared_daemon):
    html = shared_daemon.visit().text("/")

    shown = re.findall(r'<svg [^>]*aria-label="([^"]*)"', html)
    assert len(shown) == 4
    assert shown[0].startswith("PUTs a second, last hour: latest accepted")
    assert re.search(r'<path class="line good" d="M0 119', html)
    assert "last day: latest" in shared_daemon.visit().text("/?window=day")


def test_a_contract_is_found_by_id_by_reference_and_by_the_beginning_of_its_account(shared_daemon):
    for sought in ("2", "erp-2", "glob", "GLOBEX"):
        said = text_of(shared_daemon.visit().text(f"/contracts?q={sought}"))

        assert "erp-2 2 Globex synced" in said
        assert "Initech" not in said
    assert "No known contract matches." in shared_daemon.visit().text("/contracts?q=nobody")


def test_contracts_are_listed_by_status(shared_daemon):
    said = text_of(shared_daemon.visit().text("/contracts?status=rejected"))

    assert "erp-4 4 — rejected" in said
    assert "account: must not be empty" in said
    assert "Globex" not in said
    assert "Globex" in text_of(shared_daemon.visit().text("/contracts?status=nonsense"))


def test_a_search_within_a_status(shared_daemon):
    visit = shared_daemon.visit()
    said = text_of(visit.text("/contracts?q=glob&status=synced"))
    html = visit.text("/contracts?q=erp-4&status=rejected")

    assert "erp-2 2 Globex synced" in said
    assert "erp-4 4 — rejected" in text_of(html)
    assert '<input type="hidden" name="status" value="rejected">' in html
    assert 'href="/contracts?status=synced&amp;q=erp-4"' in html
    for path in ("/contracts?q=glob&status=rejected", "/contracts?q=erp-4&status=synced"):
        assert "No known contract matches and is" in text_of(visit.text(path))


def test_many_contracts_are_paginated(daemon):
    rows = ", ".join(f"({n}, 'A{n}', '2024-01-01', NULL, '', {NOW})" for n in range(100, 260))
    daemon.bench.source(f"INSERT INTO contracts VALUES {rows}")
    daemon.await_counts(synced=163)

    path, seen = "/contracts?status=synced", []
    while path:
        html = daemon.visit().text(path)
        seen += re.findall(r"<td><a [^>]*><bdi>(erp-\d+)</bdi></a></td>", html)
        following = re.search(r'rel="next" href="([^"]+)"', html)
        path = following and unescape(following[1])
    assert len(seen) == len(set(seen)) == 163


def test_a_contracts_page_has_both_sides_and_every_attempt(daemon):
    daemon.bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 2")
    wait_until(lambda: "200" in text_of(daemon.visit().text("/contract?id=2")), "it is sent")
    said = text_of(daemon.visit().text("/contract?id=erp-2"))

    assert "erp-2 synced Source id 2" in said
    assert "account Globex Globex" in said
    assert "description Silver Silver" in said
    assert "200 description Gold → Silver" in said
    assert "201 account — → Globex" in said


def test_differing_fields_are_marked(daemon):
    daemon.visit(logged_in=True).post("/pause")
    daemon.bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 2")
    daemon.await_counts(pending=1)
    html = daemon.visit().text("/contract?id=2")

    assert "description Silver Gold yes" in text_of(html)
    assert html.count('class="differs"') == 1


def test_an_unknown_contract_is_explained(shared_daemon):
    answer = shared_daemon.visit().get("/contract?id=99999")

    assert answer.status_code == 404
    assert "The state does not know <bdi>99999</bdi>." in answer.text


def test_refusals_that_only_the_source_can_correct_have_no_button(daemon, visit):
    said = text_of(visit.text("/refusals"))

    assert "account: must not be empty 1 erp-4 Correct the rows" in said
    assert "No contract waits for its account." in said


def test_a_grouped_reason_keeps_the_limit(daemon, visit):
    for row, length in ((2, 2100), (3, 2200)):
        daemon.bench.source(f"UPDATE contracts SET account_name = '{'x' * length}', updated_at = {NOW} WHERE id = {row}")  # fmt: skip
    daemon.await_counts(rejected=3)

    said = text_of(visit.text("/refusals"))
    assert re.search(r"account: has … characters, at most \d+ are taken 2 erp-", said), said


def test_the_configuration_is_shown_without_secrets_and_folders(daemon, visit):
    html = visit.text("/configuration")

    assert "erp-{id}" in text_of(html)
    assert "sqlite:///…/state.db" in text_of(html)
    assert str(daemon.bench.folder) not in html


def test_the_log_shows_events_with_their_fields_and_no_folders(daemon, visit):
    event = {"event": "contract.refused", "level": "warning", "reason": HOSTILE, "file": "/etc/cdc/x.yaml"}  # fmt: skip
    daemon.recent(None, "warning", event)
    daemon.recent(None, "info", {"event": "poll.finished", "level": "info", "rows": 3})
    html = visit.text("/log?level=warning")

    assert f"contract.refused reason {HOSTILE} file …/x.yaml" in text_of(html)
    assert "poll.finished" not in html
    assert "poll.finished rows 3" in text_of(visit.text("/log"))


def test_runs_are_listed(shared_daemon):
    said = text_of(shared_daemon.visit().text("/runs"))

    assert re.search(r"initial .* 4 4 3 0 1", said)


def test_a_hostile_name_is_text_on_every_page(tmp_path, sandbox, start):
    bench = Bench.with_contracts(
        tmp_path,
        sandbox,
        schedule={"poll": "1s"},
        mapping={"reference": "{id}-{plan}"},
        web={"listen": "127.0.0.1:0", "token": "correct-horse-battery"},
    )
    hostile = HOSTILE.replace("'", "''")
    bench.source(f"UPDATE contracts SET account_name = '{hostile}', plan = '{hostile}'", "UPDATE contracts SET start_date = '<script>' WHERE id = 4")  # fmt: skip
    with start(bench) as daemon:
        daemon.await_counts(synced=3, rejected=1)
        visit = daemon.visit(logged_in=True)
        found = [*PAGES, "/contract?id=1", "/contracts?q=%3Cscript%3E", "/contract?id=%3Cscript%3E"]
        pages = {path: visit.get(path).text for path in found}

    assert HOSTILE in text_of(pages["/contracts"])
    assert HOSTILE in text_of(pages["/contract?id=1"])
    assert not [path for path, html in pages.items() if re.search(r"<script(?! src)", html)]
    assert not [path for path, html in pages.items() if "49" in html and "{{" not in html and path == "/contracts"]  # fmt: skip


@pytest.mark.parametrize("path", ["/nowhere", "/assets/../app.py", "/assets/nothing.js"])
def test_an_unknown_path_is_answered_without_a_traceback(shared_daemon, path):
    answer = shared_daemon.visit().get(path)

    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_defect_is_answered_without_a_traceback(daemon, monkeypatch):
    monkeypatch.setattr("cdc_sync.web.pages.group_stuck", lambda *_: 1 // 0)
    answer = daemon.visit().get("/refusals", headers={"Accept": "text/html"})

    assert answer.status_code == 500
    assert "This is a defect of ours; the log has it." in answer.text
    assert "ZeroDivisionError" not in answer.text


def test_the_page_comes_back_when_the_state_does(daemon):
    state = daemon.bench.config.with_name("state.db")
    with daemon.sync.state.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE watermark RENAME TO elsewhere")
    try:
        wait_until(lambda: daemon.visit().get("/api/status").status_code == 503, "it says so")
        seen = lambda: daemon.visit().get("/", headers={"Accept": "text/html"})  # noqa: E731
        wait_until(lambda: seen().status_code == 503, "a person is told, too")
        answer = seen()
        assert "That did not work" in answer.text
        assert str(state.parent) not in answer.text
        assert daemon.visit().get("/metrics").status_code == 200
    finally:
        with daemon.sync.state.begin() as tx:
            tx.exec_driver_sql("ALTER TABLE elsewhere RENAME TO watermark")
    wait_until(lambda: daemon.visit().get("/").status_code == 200, "it is back")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:////var/lib/cdc-sync/state.db", "sqlite:///…/state.db"),
        ("The source /srv/erp/x.db is not there.", "The source …/x.db is not there."),
        ("https://imports.example.com/a/b/contracts", "https://imports.example.com/a/b/contracts"),
        ("and/or 1/2", "and/or 1/2"),
        ("postgresql+psycopg://reader:***@db/erp", "postgresql+psycopg://reader:***@db/erp"),
    ],
)
def test_folders_are_left_out_and_addresses_are_not(text, expected):
    assert render.hide_folders(text) == expected


@pytest.mark.quick
def test_only_our_own_flash_messages_are_shown():
    assert flash.message("retried", "3") == "3 contracts are due now."
    assert flash.message("retried", "1") == "1 contract is due now."
    assert flash.message("retried", "<b>") == "0 contracts are due now."
    assert flash.message("You have won", None) is None


def test_a_contract_without_an_id_redirects_to_the_list(shared_daemon):
    led = shared_daemon.visit().get("/contract?id=")

    assert (led.status_code, led.headers["location"]) == (303, "/contracts")
