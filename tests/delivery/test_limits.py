"""What delivery never does too much of, as the server sees it: at once, in a second, of one contract."""

from collections.abc import Iterable
from itertools import pairwise

from cdc_sync.rules.verdict import ApiState
from cdc_sync.sandbox.ledger import Entry
from tests.support.wait import wait_until

JITTER = 0.05  # seconds by which a busy machine may see one arrive late, and not the next


def fastest(starts: list[float], steps: int) -> float:
    """The shortest time in which so many more than one arrived."""
    return min(b - a for a, b in zip(starts, starts[steps:], strict=False))


def most_at_once(entries: Iterable[Entry]) -> int:
    steps = sorted([(e.started, 1) for e in entries] + [(e.finished, -1) for e in entries])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def test_a_contract_is_never_in_two_puts_at_once_however_it_changes(site):
    site.open(concurrency=8).add(3)
    site.sandbox.strike("latency=30ms")
    with site.delivering():
        for number in range(25):
            for row_id in (1, 2, 3):
                site.rows.change(row_id, plan=f"Plan {number}")
            site.capture()
            site.sync.delivery.wake()
        wait_until(lambda: site.statuses() == {"synced": 3}, "all are delivered")

    for reference in ("erp-1", "erp-2", "erp-3"):
        puts = site.sandbox.puts(reference)
        assert len(puts) > 1
        assert all(one.finished <= next_.started for one, next_ in pairwise(puts))
        assert site.sandbox.contracts()[reference]["description"] == "Plan 24"


def test_no_more_than_concurrency_are_under_way(site):
    site.open(concurrency=3).add(30)
    site.sandbox.strike("latency=20ms")
    site.deliver()

    assert len(site.sandbox.puts()) == 30
    assert most_at_once(site.sandbox.puts()) == 3


def test_no_more_than_the_rate_limit_arrive_in_any_second(site):
    site.open(rate_limit="20/s").add(60)
    site.deliver()
    starts = sorted(entry.started for entry in site.sandbox.puts())

    assert len(starts) == 60
    assert fastest(starts, 20) > 1 - JITTER


def test_a_limit_of_theirs_is_met_with_few_429s(site):
    site.open(rate_limit="none").add(120)
    site.sandbox.strike("rate=20/s")
    site.deliver()

    assert site.statuses() == {"synced": 120}
    assert site.answers()[429] <= 3 + 2 * 7  # in the first moment eight are on their way at once


def test_a_restart_is_no_way_around_the_rate_limit(site):
    site.open(rate_limit="2/s").add(4)
    for _ in range(2):
        site.sync.delivery.allowance = 2
        site.deliver()
        site.reopen()
    starts = sorted(entry.started for entry in site.sandbox.puts())

    assert len(starts) == 4
    assert fastest(starts, 2) > 1 - JITTER


def test_no_more_than_are_on_their_way_follow_twenty_refusals_in_a_row(site):
    site.open(concurrency=8, rate_limit="none").add(200)
    site.sandbox.strike("status=422")
    with site.delivering():
        wait_until(lambda: site.sync.delivery.gate.state is ApiState.REFUSING, "it suspects itself")

    assert 20 <= site.answers()[422] < 20 + 8
