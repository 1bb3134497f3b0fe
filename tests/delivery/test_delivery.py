"""What delivery does with each answer, over real HTTP."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
import time_machine
from structlog.testing import capture_logs

from cdc_sync.contract import problems_from_json
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations import actions
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.state.values import DeliveryReport, Totals
from tests.support.wait import wait_until

UNTOUCHED = {"pending": 3}


# --- what a delivery counts as ---


def test_a_first_put_is_created_and_a_change_is_updated(site):
    site.open().add(2)
    site.deliver()
    site.change(1, plan="Silver")
    site.deliver()

    assert site.stored(Totals).counts == {"created": 2, "updated": 1, "unchanged": 1}
    assert site.stored(DeliveryReport).status == 200
    assert (site.contract()["attempts"], site.contract()["in_doubt"]) == (0, None)


def test_a_contract_that_was_removed_there_is_recreated(site):
    site.open().add(1)
    site.deliver()
    site.sandbox.ledger.held["contracts"].clear()
    site.change(1, plan="Silver")
    site.deliver()

    assert site.stored(Totals).counts == {"created": 1, "recreated": 1}


def test_a_reference_that_was_there_before_us_is_adopted(site):
    site.open().add(1)
    site.deliver()
    site.execute("UPDATE contract SET acknowledged = NULL, acknowledged_at = NULL")
    site.change(1, plan="Silver")
    site.deliver()

    assert site.stored(Totals).counts == {"created": 1, "adopted": 1}


def test_an_answer_that_was_lost_is_in_doubt_sent_again_and_confirmed_a_minute_later(site):
    site.open().add(1)
    site.sandbox.strike("lost times=1")
    site.deliver()
    lost = site.contract()
    assert (lost["status"], lost["attempts"]) == ("pending", 1)
    assert lost["in_doubt"] is not None
    assert lost["in_doubt"] < lost["next_attempt_at"]

    site.due_now()
    site.deliver()
    again = site.contract()
    assert again["status"] == "synced"
    assert again["acknowledged"] == again["payload"]
    confirm_in = again["next_attempt_at"] - again["in_doubt"]
    assert confirm_in.total_seconds() == pytest.approx(60, abs=1)
    assert len(site.sandbox.puts("erp-1")) == 2

    site.execute("UPDATE contract SET in_doubt = '2020-01-01T00:00:00.000000Z'")
    site.due_now()
    site.deliver()
    assert site.stored(Totals).counts == {"retried": 1, "created": 1, "confirmed": 1}
    assert (site.contract()["in_doubt"], site.contract()["next_attempt_at"]) == (None, None)


# --- what is the contract's own matter ---


def test_a_refusal_is_told_in_customergauges_words_and_not_sent_again_until_it_changes(site):
    site.open(concurrency=1).add(2)
    site.sandbox.strike('status=422 times=1 body={"errors":{"start":["Too_old."]}}')
    site.deliver()
    refused = site.contract()
    assert (refused["status"], refused["http_status"]) == ("rejected", 422)
    assert refused["next_attempt_at"] is None
    (problem,) = problems_from_json(refused["last_error"])
    assert (problem.field, problem.message) == ("start", "Too_old.")
    assert site.statuses() == {"rejected": 1, "synced": 1}

    site.due_now()
    site.rows.touch_all()
    site.capture()
    site.deliver()
    assert site.sandbox.puts("erp-1") == []

    site.change(1, plan="Silver")
    site.deliver()
    assert site.contract()["status"] == "synced"
    assert site.contract()["last_error"] is None


def test_a_refusal_is_sent_again_when_a_person_asks(site):
    site.open().add(1)
    site.sandbox.strike('status=422 times=1 body={"errors":{"start":["No."]}}')
    site.deliver()
    site.retry("erp-1")
    site.deliver()

    assert site.statuses() == {"synced": 1}


def test_a_contract_whose_account_is_not_there_yet_waits_for_it(site):
    site.open(sandbox={"strict_accounts": True}).add(1)
    site.deliver()
    waiting = site.contract()
    assert (waiting["status"], waiting["http_status"], waiting["attempts"]) == ("waiting", 422, 1)
    assert waiting["next_attempt_at"] is not None
    assert problems_from_json(waiting["last_error"])[0].field == "account"

    site.sandbox.ledger.held["accounts"]["Account 1"] = {"reference": "Account 1"}
    site.due_now()
    site.deliver()
    assert site.statuses() == {"synced": 1}


def test_a_409_delays_its_contract_and_no_other(site):
    site.open().add(3)
    site.sandbox.strike("status=409 times=1")
    site.deliver()

    assert site.statuses() == {"pending": 1, "synced": 2}
    assert site.stored(ApiStatus).state == "ok"
    assert sorted(site.column("attempts")) == [0, 0, 1]


# --- what concerns everybody ---


@pytest.mark.usefixtures("passing_time")
def test_after_five_500s_single_probes_leave_and_a_recovery_delivers_all(site):
    site.open(concurrency=2).add(12)
    site.sandbox.strike("status=500")
    site.deliver()
    assert site.stored(ApiStatus).state == "unreachable"
    assert site.stored(ApiStatus).paused_until is not None
    failed = len(site.sandbox.ledger.entries())
    assert 5 <= failed <= 5 + 4 * 2  # what had been claimed ahead by then
    assert sum(site.column("attempts")) == failed

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=1)):
        site.due_now()
        site.retry()
        site.deliver()
    assert len(site.sandbox.ledger.entries()) == failed + 1

    site.sandbox.strike()
    with site.delivering():
        site.retry()
        wait_until(lambda: site.statuses() == {"synced": 12}, "all are delivered")
    assert site.stored(ApiStatus).state == "ok"


def test_attempts_grow_with_each_failure_of_a_contract(site):
    site.open().add(1)
    site.sandbox.strike("status=500")
    for attempts in (1, 2, 3):
        site.due_now()
        site.deliver()
        failed = site.contract()
        assert (failed["status"], failed["attempts"]) == ("pending", attempts)
    assert failed["in_doubt"] is not None
    assert "500" in failed["last_error"]


def test_after_a_429_nothing_arrives_before_the_wait_is_over(site):
    site.open(concurrency=1).add(5)
    site.sandbox.strike("status=429 retry_after=2 times=1")
    with site.delivering():
        wait_until(lambda: site.statuses() == {"synced": 5}, "all are delivered")
    throttled, *later = site.sandbox.ledger.entries()

    assert throttled.status == 429
    assert min(entry.started for entry in later) - throttled.finished >= 2
    assert site.stored(Totals).counts == {"created": 5}
    assert set(site.column("attempts")) == {0}


def test_a_wrong_address_stops_delivery_and_blames_no_contract(site):
    site.open(below="/nowhere").add(3)
    site.deliver()

    assert site.stored(ApiStatus).state == "misconfigured"
    assert "404" in site.stored(ApiStatus).reason
    assert site.statuses() == UNTOUCHED
    assert site.column("in_doubt") == [None] * 3
    assert site.column("attempts") == [0] * 3


def test_a_redirect_stops_delivery_and_is_not_followed(site):
    site.open(concurrency=1).add(3)
    site.sandbox.strike("redirect")
    site.deliver()

    assert site.stored(ApiStatus).state == "misconfigured"
    assert site.answers() == {307: 1}
    assert site.statuses() == UNTOUCHED


# --- tokens ---


def test_a_token_that_was_revoked_is_renewed_once(site):
    site.open().add(1)
    site.deliver()
    requests.post(f"{site.sandbox.url}/revoke", timeout=20)
    for row_id in range(2, 12):
        site.rows.add({"id": row_id})
    site.capture()
    with site.delivering():
        wait_until(lambda: site.statuses() == {"synced": 11}, "all are delivered")

    assert site.sandbox.ledger.dump()["tokens"] == 2
    assert site.stored(Totals).counts == {"created": 11, "unchanged": 1}


def test_a_second_401_in_a_row_stops_delivery_and_blames_no_contract(site):
    site.open(concurrency=1).add(3)
    site.sandbox.strike("status=401")
    site.deliver()

    assert site.stored(ApiStatus).state == "unauthorized"
    assert site.answers() == {401: 2}  # the second with a fresh token
    assert site.sandbox.ledger.dump()["tokens"] == 2
    assert site.statuses() == UNTOUCHED
    assert site.column("attempts") == [0] * 3
    assert site.column("in_doubt") == [None] * 3


def test_a_client_that_is_refused_sends_nothing_and_says_so(site):
    site.open(client_secret="wrong-secret").add(3)
    site.deliver()

    assert "customergauge.client_secret" in site.sync.delivery.stopped_by()
    assert site.sandbox.ledger.entries() == []
    assert site.statuses() == UNTOUCHED


# --- what persons say ---


def test_pause_takes_back_what_has_not_left_and_resume_goes_on(site):
    site.open(concurrency=1).add(12)
    site.sandbox.strike("latency=300ms")
    with site.delivering():
        wait_until(site.sandbox.ledger.entries, "the first is delivered")
        actions.pause(site.sync.state)
        site.sync.delivery.wake()
        wait_until(lambda: not any(site.column("claimed_by")), "nothing is on its way")
        arrived = len(site.sandbox.ledger.entries())
        assert arrived < 12
        assert site.statuses() == {"synced": arrived, "pending": 12 - arrived}
        assert not any(site.column("in_doubt"))

        site.sandbox.strike()
        actions.resume(site.sync.state, site.sync.delivery._now())
        site.sync.delivery.wake()
        wait_until(lambda: site.statuses() == {"synced": 12}, "the rest is delivered")
    assert len(site.sandbox.puts()) == 12


def test_a_stop_records_what_is_on_its_way_and_gives_the_rest_back(site):
    site.open(concurrency=2).add(12)
    site.sandbox.strike("latency=400ms")
    with site.delivering():
        wait_until(lambda: sum(bool(c) for c in site.column("claimed_by")) >= 3, "a claim")
        wait_until(lambda: site.sandbox.faults.listed()[0]["struck"] >= 2, "two are on their way")

    arrived = len(site.sandbox.puts())
    assert 2 <= arrived <= 4
    assert site.statuses() == {"synced": arrived, "pending": 12 - arrived}
    assert not any(site.column("claimed_by"))
    assert not any(site.column("in_doubt"))


# --- when the state fails ---


def test_a_claim_that_cannot_be_written_sends_nothing(site):
    site.open().add(3)
    site.execute("CREATE TRIGGER no BEFORE UPDATE ON contract BEGIN SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
    with pytest.raises(StateUnavailable, match="disk full"):
        site.deliver()
    assert site.sandbox.ledger.entries() == []

    site.execute("DROP TRIGGER no")
    site.deliver()
    assert site.statuses() == {"synced": 3}


def test_a_state_that_fills_up_stops_sending_and_goes_on_when_there_is_room(site):
    site.open(concurrency=1).add(60)
    site.sandbox.strike("latency=10ms")
    with site.delivering():
        wait_until(site.sandbox.puts, "the first is delivered")
        site.execute("CREATE TRIGGER no BEFORE UPDATE ON contract BEGIN SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
        # What was claimed before that may still leave, and nothing after it.
        held = site.column("claimed_by")
        allowed = len(site.sandbox.puts()) + sum(bool(c) for c in held)
        wait_until(lambda: not site.sync.delivery._in_flight, "what was claimed is answered")
        assert len(site.sandbox.puts()) <= allowed < 60
        site.execute("DROP TRIGGER no")
        wait_until(lambda: site.statuses() == {"synced": 60}, "the rest is delivered")
    assert len(site.sandbox.puts()) == 60


# --- what the log says of it ---


def test_one_trouble_of_many_contracts_is_one_line_and_then_one_a_minute_with_their_number(site):
    site.open(rate_limit="none").add(4)
    site.sandbox.strike("status=503 body=busy")
    with capture_logs() as logs:
        site.deliver()
    told = [line for line in logs if line["event"] == "contract.delayed"]

    assert len(told) >= 4
    assert [line["log_level"] for line in told].count("info") == 1
    assert told[0]["reason"] == told[-1]["reason"]


def test_another_success_than_200_and_201_counts_and_is_noted_once(site):
    site.open(rate_limit="none").add(3)
    site.sandbox.strike("status=202")
    with capture_logs() as logged:
        site.deliver()

    assert site.statuses() == {"synced": 3}
    assert [line["status"] for line in logged if line["event"] == "api.other_success"] == [202]
