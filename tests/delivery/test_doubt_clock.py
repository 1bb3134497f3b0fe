"""A doubt lasts a minute from when its request was given up, whatever is done to the clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine

from cdc_sync.state import outbox
from cdc_sync.state.values import Totals
from tests.support.wait import wait_until

MINUTE = timedelta(minutes=1)


def at(offset: timedelta):
    """The system's clock set so far from where it is right."""
    return time_machine.travel(datetime.now(UTC) + offset)


def held(site) -> str:
    return site.sandbox.contracts()["erp-1"]["description"]


@pytest.mark.usefixtures("passing_time")
def test_the_minute_counts_from_when_the_request_was_given_up(site):
    site.open(timeout="10m").add(1)
    site.deliver()
    site.sandbox.strike("lost times=1")
    site.change(1, plan="Silver")
    real = site.sync.delivery._sender._client.put
    with time_machine.travel(datetime.now(UTC)) as clock:

        async def put(*request):
            reply = await real(*request)
            clock.shift(timedelta(minutes=10))
            return reply

        site.sync.delivery._sender._client.put = put
        site.deliver()
        site.sync.delivery._sender._client.put = real
        given_up = datetime.now(UTC)
        site.change(1, plan="Platinum")
        site.deliver()

        assert site.contract()["status"] == "synced"
        assert site.contract()["next_attempt_at"] - given_up > MINUTE / 2


@pytest.mark.usefixtures("passing_time")
def test_after_a_crash_the_minute_counts_from_the_next_start(site):
    site.open(timeout="10m").add(1)
    site.deliver()
    site.change(1, plan="Silver")
    with site.sync.state.begin() as tx:
        now = datetime.now(UTC)
        outbox.claim(tx, now, 1, "who died", now + MINUTE, claimed_at=now)
    with at(timedelta(minutes=9)):
        site.reopen()
        site.change(1, plan="Platinum")
        site.deliver()

        assert site.contract()["next_attempt_at"] > datetime.now(UTC)


@pytest.mark.parametrize("reopens", [False, True])
def test_an_answer_that_was_lost_while_the_clock_was_ahead_costs_one_confirm(site, reopens):
    site.open().add(1)
    site.sandbox.strike("lost times=1")
    with at(timedelta(hours=3)):
        if reopens:
            site.reopen()
        site.deliver()
    if reopens:
        site.reopen()
    site.deliver()

    assert len(site.sandbox.puts("erp-1")) == 2
    due_in = site.contract()["next_attempt_at"] - datetime.now(UTC)
    assert due_in <= MINUTE
    site.deliver()
    assert len(site.sandbox.puts("erp-1")) == 2


@pytest.mark.parametrize("offset", [timedelta(minutes=10), timedelta(hours=-3)])
def test_a_clock_that_is_set_meanwhile_takes_no_confirm_away(site, offset):
    site.open().add(1)
    site.sandbox.strike("lost times=1")
    site.deliver()
    with at(offset):
        site.deliver()

        assert site.contract()["status"] == "synced"
        due_in = site.contract()["next_attempt_at"] - datetime.now(UTC)
        assert timedelta() < due_in <= MINUTE
    assert site.stored(Totals).counts == {"retried": 1, "created": 1}


def test_whatever_the_clock_does_a_contract_that_waits_goes_once_a_second_at_most(site):
    """Its wait is taken away again and again, as by a daemon whose clock is ahead."""
    site.open().add(1)
    site.sandbox.strike("status=409")

    def sent_three_times() -> bool:
        site.due_now()
        site.sync.delivery.wake()
        return len(site.sandbox.ledger.entries()) >= 3

    with site.delivering():
        wait_until(sent_three_times, "it is sent three times")

    began = [entry.started for entry in site.sandbox.ledger.entries()]
    assert all(after - before > 0.9 for before, after in pairwise(began))
