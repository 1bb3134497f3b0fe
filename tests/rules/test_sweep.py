"""When sweeps are due, where they start, and what their finds tell."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.sweep import (
    ANOTHER_ZONE,
    LONGER_THAN_LOOKBACK,
    OLD_STAMPS,
    ONE_STAMP,
    SLOW_CLOCK,
    LastSweep,
    LateChanges,
    add_sample,
    lateness,
    next_window,
    sweep_start,
)
from cdc_sync.rules.watermark import Sample

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_a_window_is_swept_twelve_times_within_its_length():
    swept = LastSweep(HOUR, NOW)

    assert not swept.is_due(NOW + 5 * MINUTE - timedelta(microseconds=1))
    assert swept.is_due(NOW + 5 * MINUTE)


def test_a_sweep_takes_two_percent_of_the_time_at_most():
    swept = LastSweep(HOUR, NOW, seconds=60)

    assert not swept.is_due(NOW + 49 * MINUTE)
    assert swept.is_due(NOW + 50 * MINUTE)
    assert not swept.leaves_gaps
    assert LastSweep(HOUR, NOW, seconds=73).leaves_gaps


def test_a_clock_that_was_set_back_makes_sweeps_due():
    assert LastSweep(HOUR, NOW + DAY).is_due(NOW)


def test_the_shortest_window_that_is_due_goes_first():
    windows = [HOUR, DAY]

    assert next_window(windows, [], NOW) == HOUR
    assert next_window(windows, [LastSweep(HOUR, NOW)], NOW) == DAY
    assert next_window(windows, [LastSweep(HOUR, NOW), LastSweep(DAY, NOW)], NOW) is None
    assert next_window([], [], NOW) is None


def test_a_column_of_times_starts_a_window_before_the_sources_clock():
    assert sweep_start(HOUR, NOW, None) == NOW - HOUR


def test_a_column_of_numbers_starts_at_the_sample_of_that_time():
    samples = [Sample(100, NOW - 3 * HOUR), Sample(200, NOW - HOUR), Sample(300, NOW - MINUTE)]

    assert sweep_start(HOUR, NOW, samples) == 200
    assert sweep_start(2 * HOUR, NOW, samples) == 100
    assert sweep_start(DAY, NOW, samples) == 100  # the oldest there is
    assert sweep_start(DAY, NOW, []) is None


@given(st.lists(st.integers(0, 600), min_size=1, max_size=60))
def test_samples_reach_back_beyond_the_longest_window_and_stay_few(minutes_apart):
    windows, at, samples = [HOUR, DAY], NOW, ()
    for number, minutes in enumerate(minutes_apart):
        at += minutes * MINUTE
        samples = add_sample(samples, Sample(number, at), windows)

    assert all(later.at - earlier.at >= HOUR / 12 for earlier, later in itertools.pairwise(samples))
    assert len(samples) <= DAY / (HOUR / 12) + 2
    first = NOW + minutes_apart[0] * MINUTE
    assert samples[0].at <= max(first, at - DAY + HOUR / 12)
    assert [s.value for s in samples] == sorted(s.value for s in samples)


def test_samples_of_a_clock_that_was_set_back_are_dropped():
    samples = add_sample([Sample(5, NOW + DAY)], Sample(6, NOW), [HOUR])

    assert samples == (Sample(6, NOW),)


def test_lateness_is_the_age_of_the_stamp_or_of_the_number_at_least():
    samples = [Sample(100, NOW - 3 * HOUR), Sample(200, NOW - HOUR)]

    assert lateness(NOW - 7 * MINUTE, NOW, []) == 7 * MINUTE
    assert lateness(100, NOW, samples) == 3 * HOUR
    assert lateness(101, NOW, samples) == HOUR
    assert lateness(201, NOW, samples) is None


def late(*minutes: float, basis: str = "horizon") -> object:
    changes = LateChanges()
    for each in minutes:
        changes = changes.add(NOW - each * MINUTE, each * MINUTE)
    return changes.cause(HOUR, basis)


@pytest.mark.parametrize(
    ("minutes", "cause"),
    [
        ((47, 47, 47), ONE_STAMP),
        ((61, 62.5, 64), ANOTHER_ZONE),
        ((331, 332, 334), ANOTHER_ZONE),
        ((12, 14, 15), SLOW_CLOCK),
        ((3, 20, 47), OLD_STAMPS),
        ((47,), OLD_STAMPS),
    ],
)
def test_the_likely_cause_is_told_by_how_late_changes_are(minutes, cause):
    assert late(*minutes) is cause


def test_without_a_horizon_a_long_transaction_is_the_likely_cause():
    assert late(7, 20, basis="lookback") is LONGER_THAN_LOOKBACK


def test_late_changes_tell_how_many_and_between_which_times():
    changes = LateChanges().add(5, None).add(7, MINUTE).add(8, HOUR)

    assert (changes.count, changes.least, changes.most, changes.stamp) == (3, MINUTE, HOUR, None)
