"""What unfinished transactions allow: nothing that can still commit lies before the horizon."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.watermark import (
    HorizonState,
    OpenTransaction,
    TransactionSnapshot,
    compute_horizon,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MARGIN, LOOKBACK, LONG = 2 * SECOND, 300 * SECOND, 60 * SECOND

seconds = st.integers(0, 3600).map(lambda n: n * SECOND)


def seen(
    glance: TransactionSnapshot, memory: HorizonState | None = None, ours: datetime | None = None
):
    return compute_horizon(
        glance,
        memory,
        ours=ours or glance.clock,
        margin=MARGIN,
        lookback=LOOKBACK,
        long_after=LONG,
    )


def session(started: datetime, key: str = "1") -> OpenTransaction:
    return OpenTransaction(key, f"session {key}", started)


def prepared(key: str) -> OpenTransaction:
    return OpenTransaction(key, f"prepared {key}", None)


@given(st.lists(seconds, max_size=5), seconds)
def test_no_session_can_commit_before_the_horizon(ages, since_before):
    sessions = tuple(session(NOON - age, str(n)) for n, age in enumerate(ages))
    estimate = seen(TransactionSnapshot(NOON, sessions))

    assert estimate.value is not None
    assert all(estimate.value <= one.started - MARGIN for one in sessions)
    later = seen(TransactionSnapshot(NOON + since_before, sessions), estimate.state)
    assert later.value >= estimate.value
    assert later.ahead >= later.value


@given(seconds, seconds)
def test_a_prepared_transaction_keeps_the_bound_it_was_first_seen_with(first, then):
    before = seen(TransactionSnapshot(NOON)).state
    met = seen(TransactionSnapshot(NOON + first, (prepared("7"),)), before)
    again = seen(TransactionSnapshot(NOON + first + then, (prepared("7"),)), met.state)

    assert met.value == again.value == before.value
    assert again.ahead == NOON + first + then - MARGIN
    gone = seen(TransactionSnapshot(NOON + first + then), again.state)
    assert gone.value == NOON + first + then - MARGIN


def test_one_that_was_prepared_before_anybody_looked_has_no_bound():
    blocked = seen(TransactionSnapshot(NOON, (prepared("7"),)))
    still = seen(TransactionSnapshot(NOON + SECOND, (prepared("7"), prepared("8"))), blocked.state)
    over = seen(TransactionSnapshot(NOON + 2 * SECOND), still.state)

    assert (blocked.value, still.value) == (None, None)
    assert over.value == NOON + 2 * SECOND - MARGIN


def test_who_holds_the_watermark_back_is_named_and_read_past():
    old, young = session(NOON - 2 * LONG, "old"), session(NOON - SECOND, "young")
    estimate = seen(
        TransactionSnapshot(NOON, (old, young, prepared("7"))),
        seen(TransactionSnapshot(NOON - 3 * LONG)).state,
    )

    assert estimate.holders == (old, prepared("7"))
    assert estimate.ahead == young.started - MARGIN
    assert estimate.value == NOON - 3 * LONG - MARGIN


@given(seconds)
def test_a_blind_source_is_looked_back_at_and_forgets_no_bound(later):
    met = seen(
        TransactionSnapshot(NOON, (prepared("7"),)), seen(TransactionSnapshot(NOON - SECOND)).state
    )
    blind = seen(TransactionSnapshot(NOON + later, unavailable_reason="no privilege"), met.state)
    back = seen(TransactionSnapshot(NOON + later, (prepared("7"),)), blind.state)

    assert blind.value == NOON + later - LOOKBACK
    assert not blind.holders
    assert back.value == met.value


def test_another_server_or_a_clock_set_back_begins_afresh():
    before = seen(TransactionSnapshot(NOON, server="one")).state
    other = seen(TransactionSnapshot(NOON + SECOND, server="two"), before)
    set_back = seen(
        TransactionSnapshot(NOON - 60 * SECOND, server="one"), before, ours=NOON + SECOND
    )
    same = seen(TransactionSnapshot(NOON + SECOND, server="one"), before)

    assert (other.source_changed, set_back.source_changed, same.source_changed) == (
        True,
        True,
        False,
    )
    assert set_back.value == NOON - 60 * SECOND - MARGIN
    assert not seen(
        TransactionSnapshot(NOON + SECOND), before
    ).source_changed  # it does not say who it is


def test_a_prepared_one_of_before_a_fail_over_is_not_passed():
    before = seen(
        TransactionSnapshot(NOON, (prepared("7"),)), seen(TransactionSnapshot(NOON - SECOND)).state
    ).state
    after = seen(
        TransactionSnapshot(NOON - 30 * SECOND, (prepared("7"), prepared("8"))),
        replace(before, value=NOON),
        ours=NOON + SECOND,
    )

    assert after.source_changed
    assert after.value <= min(before.bounds["7"], NOON - 30 * SECOND - MARGIN - LOOKBACK)
