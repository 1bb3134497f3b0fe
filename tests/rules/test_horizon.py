"""What unfinished transactions allow: nothing that can still commit lies before the horizon."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.watermark import Glance, Memory, Unfinished, look

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MARGIN, LOOKBACK, LONG = 2 * SECOND, 300 * SECOND, 60 * SECOND

seconds = st.integers(0, 3600).map(lambda n: n * SECOND)


def seen(glance: Glance, memory: Memory | None = None, ours: datetime | None = None):
    return look(
        glance,
        memory,
        ours=ours or glance.clock,
        margin=MARGIN,
        lookback=LOOKBACK,
        long_after=LONG,
    )


def session(started: datetime, key: str = "1") -> Unfinished:
    return Unfinished(key, f"session {key}", started)


def prepared(key: str) -> Unfinished:
    return Unfinished(key, f"prepared {key}", None)


@given(st.lists(seconds, max_size=5), seconds)
def test_no_session_can_commit_before_the_horizon(ages, since_before):
    sessions = tuple(session(NOON - age, str(n)) for n, age in enumerate(ages))
    sight = seen(Glance(NOON, sessions))

    assert sight.value is not None
    assert all(sight.value <= one.started - MARGIN for one in sessions)
    later = seen(Glance(NOON + since_before, sessions), sight.memory)
    assert later.value >= sight.value
    assert later.ahead >= later.value


@given(seconds, seconds)
def test_a_prepared_transaction_keeps_the_bound_it_was_first_seen_with(first, then):
    before = seen(Glance(NOON)).memory
    met = seen(Glance(NOON + first, (prepared("7"),)), before)
    again = seen(Glance(NOON + first + then, (prepared("7"),)), met.memory)

    assert met.value == again.value == before.value
    assert again.ahead == NOON + first + then - MARGIN
    gone = seen(Glance(NOON + first + then), again.memory)
    assert gone.value == NOON + first + then - MARGIN


def test_one_that_was_prepared_before_anybody_looked_has_no_bound():
    blocked = seen(Glance(NOON, (prepared("7"),)))
    still = seen(Glance(NOON + SECOND, (prepared("7"), prepared("8"))), blocked.memory)
    over = seen(Glance(NOON + 2 * SECOND), still.memory)

    assert (blocked.value, still.value) == (None, None)
    assert over.value == NOON + 2 * SECOND - MARGIN


def test_who_holds_the_watermark_back_is_named_and_read_past():
    old, young = session(NOON - 2 * LONG, "old"), session(NOON - SECOND, "young")
    sight = seen(Glance(NOON, (old, young, prepared("7"))), seen(Glance(NOON - 3 * LONG)).memory)

    assert sight.holders == (old, prepared("7"))
    assert sight.ahead == young.started - MARGIN
    assert sight.value == NOON - 3 * LONG - MARGIN


@given(seconds)
def test_a_blind_source_is_looked_back_at_and_forgets_no_bound(later):
    met = seen(Glance(NOON, (prepared("7"),)), seen(Glance(NOON - SECOND)).memory)
    blind = seen(Glance(NOON + later, blind="no privilege"), met.memory)
    back = seen(Glance(NOON + later, (prepared("7"),)), blind.memory)

    assert blind.value == NOON + later - LOOKBACK
    assert not blind.holders
    assert back.value == met.value


def test_another_server_or_a_clock_set_back_begins_afresh():
    before = seen(Glance(NOON, server="one")).memory
    other = seen(Glance(NOON + SECOND, server="two"), before)
    set_back = seen(Glance(NOON - 60 * SECOND, server="one"), before, ours=NOON + SECOND)
    same = seen(Glance(NOON + SECOND, server="one"), before)

    assert (other.afresh, set_back.afresh, same.afresh) == (True, True, False)
    assert set_back.value == NOON - 60 * SECOND - MARGIN
    assert not seen(Glance(NOON + SECOND), before).afresh  # it does not say who it is


def test_a_prepared_one_of_before_a_fail_over_is_not_passed():
    before = seen(Glance(NOON, (prepared("7"),)), seen(Glance(NOON - SECOND)).memory).memory
    after = seen(
        Glance(NOON - 30 * SECOND, (prepared("7"), prepared("8"))),
        replace(before, value=NOON),
        ours=NOON + SECOND,
    )

    assert after.afresh
    assert after.value <= min(before.bounds["7"], NOON - 30 * SECOND - MARGIN - LOOKBACK)
