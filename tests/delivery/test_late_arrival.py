"""A request that was given up is applied all the same, over a newer payload, over real HTTP."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from cdc_sync.rules import outcome
from cdc_sync.sandbox import api
from cdc_sync.state.values import Totals
from tests.support.wait import wait_until

pytestmark = pytest.mark.usefixtures("passing_time")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def arrive(monkeypatch):
    """Lets the sandbox apply what it keeps for later: when the test says so, not by a time."""
    released = threading.Event()

    async def pause(seconds: float) -> None:
        if seconds:
            await asyncio.to_thread(released.wait)

    monkeypatch.setattr(api, "pause", pause)
    yield released.set
    released.set()


def held(site) -> str:
    return site.sandbox.contracts()["erp-1"]["description"]


def overtaken(site, arrive) -> None:
    """Gold is there; Silver's fate is unknown; Platinum is acknowledged; and then Silver arrives."""
    site.open().add(1)
    site.deliver()
    site.sandbox.strike("late=1h times=1")
    site.change(1, plan="Silver")
    site.deliver()
    assert site.contract()["in_doubt"] is not None
    site.change(1, plan="Platinum")
    site.deliver()
    assert (site.contract()["status"], held(site)) == ("synced", "Platinum")
    arrive()
    wait_until(lambda: held(site) == "Silver", "the late request is applied")


def test_a_late_arrival_is_mended_by_the_confirm_after_a_minute(site, arrive):
    overtaken(site, arrive)
    due = site.contract()["next_attempt_at"]
    confirm_in = due - site.contract()["in_doubt"]
    assert confirm_in.total_seconds() == pytest.approx(60, abs=1)
    site.deliver()
    assert held(site) == "Silver"  # not due yet: it could still have been on its way

    with time_machine.travel(due + timedelta(seconds=1)):
        site.deliver()
        assert held(site) == "Platinum"
        assert (site.contract()["in_doubt"], site.contract()["next_attempt_at"]) == (None, None)
        site.deliver()

    plans = [put.body["description"] for put in site.sandbox.puts("erp-1")]
    assert plans == ["Gold", "Platinum", "Silver", "Platinum"]
    assert site.stored(Totals).counts["confirmed"] == 1


def test_the_daemons_delivery_confirms_by_itself(site, arrive):
    overtaken(site, arrive)

    with time_machine.travel(datetime.now(UTC) + MINUTE), site.delivering():
        wait_until(lambda: held(site) == "Platinum", "the confirm is sent")


def test_without_the_confirm_the_old_payload_would_stay(site, arrive, monkeypatch):
    monkeypatch.setattr(outcome, "CONFIRM_AFTER", timedelta())
    overtaken(site, arrive)

    with time_machine.travel(datetime.now(UTC) + 2 * MINUTE):
        site.rows.touch_all()
        site.capture()
        site.deliver()
    assert (site.contract()["status"], held(site)) == ("synced", "Silver")
    assert site.statuses() == {"synced": 1}


def test_no_confirm_where_the_acknowledged_attempt_began_a_minute_after_the_lost_one(site, arrive):
    site.open().add(1)
    site.sandbox.strike("lost times=1")
    site.deliver()
    with time_machine.travel(site.contract()["in_doubt"] + MINUTE + timedelta(seconds=1)):
        site.deliver()

    assert (site.contract()["in_doubt"], site.contract()["next_attempt_at"]) == (None, None)
    assert site.stored(Totals).counts == {"retried": 1, "created": 1}
