"""What the buttons do, as their forms are sent."""

import re

import pytest

from tests.support.bench import NOW, Bench
from tests.support.wait import wait_until

TOKEN = "correct-horse-battery"
WEB = {"listen": "127.0.0.1:0", "token": TOKEN}
ACTIONS = ["pause", "resume", "retry", "resend", "accept", "accept/undo", "approve", "discard", "reconcile", "watermark/preview", "watermark/rewind"]  # fmt: skip


def hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, html
    return found[1]


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_without_the_token(daemon, action):
    assert daemon.visit().post(f"/{action}").status_code == 401


def test_without_the_token_no_page_has_a_button(daemon):
    for path in ("/", "/refusals", "/guard", "/watermark", "/runs", "/contract?id=1"):
        html = daemon.visit().text(path)
        assert 'method="post"' not in html
        assert "Log in to act" in html


def test_delivery_is_paused_and_resumed(daemon):
    visit = daemon.visit(logged_in=True)
    led = visit.post("/pause", {"back": "/?window=day"})

    assert led.headers["location"] == "/?window=day"
    script = visit.get("/", headers={"Sec-Fetch-Mode": "cors"}).text
    assert "Delivery is paused." not in script
    assert "Delivery is paused." in visit.text(led.headers["location"])
    assert "Delivery is paused." not in visit.text(led.headers["location"])
    assert "paused by a person" in visit.text("/")
    daemon.bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 2")
    daemon.await_counts(pending=1)
    assert visit.post("/resume").headers["location"] == "/"
    daemon.await_counts(pending=0, synced=3)
    assert daemon.sandbox.contracts()["erp-2"]["description"] == "Silver"


def test_one_contract_is_sent_again(daemon):
    visit = daemon.visit(logged_in=True)
    assert "Send again" in visit.text("/contract?id=1")
    led = visit.post("/resend", {"id": "1", "back": "/contract?id=1"})

    assert led.headers["location"] == "/contract?id=1"
    assert "1 contract is due now, to be sent once more." in visit.text(led.headers["location"])
    wait_until(lambda: len(daemon.sandbox.puts("erp-1")) == 2, "it is sent once more")


def test_resending_an_unknown_contract_is_an_error(daemon):
    answer = daemon.visit(logged_in=True).post("/resend", {"id": "nobody"})

    assert answer.status_code == 400
    assert "The state knows no contract by the id or reference nobody" in answer.text


def test_a_group_of_refusals_is_retried(bench, sandbox, start):
    sandbox.strike("status=422 times=2")
    with start(bench) as daemon:
        daemon.await_counts(rejected=3, synced=1)
        visit = daemon.visit(logged_in=True)
        html = visit.text("/refusals")
        assert "Retry 2 contracts" in html
        group = {"group": hidden(html, "group"), "status": "rejected"}
        led = visit.post("/retry", group | {"back": "/refusals"})

        assert led.headers["location"] == "/refusals"
        assert "2 contracts are due now." in visit.text(led.headers["location"])
        daemon.await_counts(rejected=1, synced=3)


def test_everything_that_is_stuck_is_retried_at_once(bench, sandbox, start):
    sandbox.strike("status=422 times=3")
    with start(bench) as daemon:
        daemon.await_counts(rejected=4)
        visit = daemon.visit(logged_in=True)

        assert visit.post("/retry").headers["location"] == "/refusals"
        assert "3 contracts are due now." in visit.text("/refusals")
        daemon.await_counts(rejected=1, synced=3)


def test_rejections_are_accepted_by_their_reason(daemon):
    daemon.bench.source(f"INSERT INTO contracts VALUES (5, '', 'soon', NULL, '', {NOW})")
    daemon.bench.source(f"INSERT INTO contracts VALUES (6, '', '2024-01-01', NULL, '', {NOW})")
    daemon.await_counts(rejected=3)
    visit = daemon.visit(logged_in=True)
    html = visit.text("/refusals")
    assert "Accept 2 rejections" in html
    form = {"group": hidden(html, "group"), "reason": "never a customer"}
    assert visit.post("/accept", form | {"reason": " "}).status_code == 400
    assert daemon.counts()["rejected"] == 3
    led = visit.post("/accept", form)

    assert "2 contracts are accepted, until" in visit.text(led.headers["location"])
    assert (daemon.counts()["rejected"], daemon.counts()["accepted"]) == (1, 2)
    assert "never a customer" in visit.text("/contracts?status=accepted")
    assert 'cdc_sync_contracts{status="accepted"} 2.0' in visit.text("/metrics")


@pytest.fixture
def held(tmp_path, sandbox, start):
    """Three contracts are known, and two of them, which is more than 20 %, are held."""
    bench = Bench.with_contracts(
        tmp_path, sandbox, schedule={"poll": "1s"}, guard={"min_contracts": 3}, web=WEB
    )
    bench.source("DELETE FROM contracts WHERE id = 4")
    with start(bench) as daemon:
        daemon.await_counts(synced=3)
        bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id < 3")
        daemon.await_counts(held=2)
        yield daemon


def test_held_contracts_are_approved_by_typing_their_number(held):
    visit = held.visit(logged_in=True)
    html = visit.text("/guard")
    assert "2 contracts held." in html
    assert "<del>Gold</del> → <ins>Silver</ins>" in html
    run = hidden(html, "run")

    for typed in ("", "3", "yes"):
        led = visit.post("/approve", {"run": run, "held": "2", "typed": typed})
        assert led.headers["location"] == "/guard"
        assert "That is not what was to be typed; nothing was changed." in visit.text("/guard")
    assert held.counts()["held"] == 2
    led = visit.post("/approve", {"run": run, "typed": "2"})
    assert led.headers["location"] == "/guard"
    assert "2 contracts are released: on the way." in visit.text("/guard")
    held.await_counts(held=0, synced=3)
    assert held.sandbox.contracts()["erp-1"]["description"] == "Silver"
    assert "Nothing is held." in visit.text("/guard")


@pytest.mark.parametrize("run", ["", "x", "-1", "²", "9" * 5000])
def test_an_approval_of_no_run_changes_nothing(held, run):
    visit = held.visit(logged_in=True)
    visit.post("/approve", {"run": run, "typed": "2"})

    assert "nothing was changed." in visit.text("/guard")
    assert held.counts()["held"] == 2


def test_held_contracts_are_discarded_after_the_source_is_corrected(held):
    visit = held.visit(logged_in=True)
    held.bench.source("UPDATE contracts SET plan = 'Gold' WHERE id < 3")
    assert visit.post("/discard", {"typed": "no"}).headers["location"] == "/guard"
    assert held.counts()["held"] == 2
    assert visit.post("/discard", {"typed": "discard"}).status_code == 303

    held.await_counts(held=0, synced=3)
    assert len(held.sandbox.puts()) == 3


def test_a_reconcile_on_demand_is_one_request_however_often_it_is_asked_for(daemon):
    daemon.bench.source("UPDATE contracts SET plan = 'Silver' WHERE id = 2")
    visit = daemon.visit(logged_in=True)
    assert visit.post("/reconcile").headers["location"] == "/runs"
    visit.post("/reconcile")

    wait_until(
        lambda: daemon.sandbox.contracts()["erp-2"]["description"] == "Silver", "it is found"
    )
    requests = daemon.bench.state("SELECT count(*) FROM control WHERE key LIKE 'request:%'")
    assert requests == [(1,)]
    wait_until(lambda: "reconcile" in visit.text("/runs"), "the run is listed")


def test_the_watermark_is_rewound_after_a_preview(daemon):
    visit = daemon.visit(logged_in=True)
    html = visit.post("/watermark/preview", {"by": "30d", "reason": "the <clock>"}).text
    assert re.search(r"<b>\d rows</b>\s+(is|are) read again", html)
    assert daemon.moves() == []

    move = {"to": hidden(html, "to"), "reason": "the <clock>"}
    assert visit.post("/watermark/rewind", move).headers["location"] == "/watermark"
    (made,) = daemon.moves()
    assert (made["kind"], made["reason"], made["to"]) == ("rewind", "the <clock>", move["to"])
    assert made["who"] == "status page, from 127.0.0.1"
    assert "the &lt;clock&gt;" in visit.text("/watermark")


@pytest.mark.parametrize("by", ["", "soon", "-5", "0s", "0", "9" * 18 + "d"])
def test_a_rewind_by_nonsense_shows_the_mistake_and_what_was_typed(daemon, by):
    visit = daemon.visit(logged_in=True)
    answer = visit.post("/watermark/preview", {"by": by, "reason": "the <clock>"})

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert hidden(answer.text, "by") == by
    assert 'value="the &lt;clock&gt;"' in answer.text
    assert visit.get("/watermark/preview").headers["location"] == "/watermark"


def test_an_approval_of_an_outdated_number_changes_nothing(held):
    visit = held.visit(logged_in=True)
    run = hidden(visit.text("/guard"), "run")
    held.bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 3")
    held.await_counts(held=3)
    visit.post("/approve", {"run": run, "held": "2", "typed": "2"})

    html = visit.text("/guard")
    assert "Meanwhile it is another number: 3 contracts are held now." in html
    assert "earlier runs hold the others" in html
    assert held.counts()["held"] == 3
    visit.post("/approve", {"run": hidden(html, "run"), "held": "3", "typed": " 3,"})
    held.await_counts(held=0)


@pytest.mark.parametrize("to", ["", "2999-01-01T00:00:00Z", "yesterday"])
def test_the_page_moves_no_watermark_forward(daemon, to):
    visit = daemon.visit(logged_in=True)

    assert visit.post("/watermark/rewind", {"to": to}).status_code == 400
    assert daemon.moves() == []


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "\\evil"])
def test_a_button_leads_to_no_other_site(daemon, back):
    led = daemon.visit(logged_in=True).post("/resume", {"back": back})

    assert led.headers["location"] == "/"
