"""Never more requests in a second than were allowed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.pace import Pace

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TURNS = st.lists(st.tuples(st.integers(0, 1_500_000), st.integers(0, 40)), max_size=20)


def starts_of(pace: Pace, turns: list[tuple[int, int]]) -> list[datetime]:
    now, all_starts = NOW, []
    for microseconds, wanted in turns:
        now += timedelta(microseconds=microseconds)
        pace, starts = pace.reserve(now, wanted)
        assert all(start >= now for start in starts)
        all_starts += starts
    return all_starts


@given(st.integers(1, 200), TURNS)
def test_never_more_than_n_requests_start_in_any_second(per_second, turns):
    starts = starts_of(Pace(float(per_second)), turns)

    assert starts == sorted(starts)
    assert all(b - a > SECOND for a, b in zip(starts, starts[per_second:], strict=False))


@given(st.floats(1 / 60, 1e9), st.integers(0, 100))
def test_any_rate_leaves_room_that_can_be_reserved(per_second, count):
    pace, starts = Pace(per_second).reserve(NOW, count)

    assert len(starts) == count
    assert Pace(per_second).room(NOW, SECOND) >= 1
    assert pace.room(NOW, SECOND) >= 0


@given(st.floats(0.1, 500), st.integers(1, 50))
def test_what_there_is_room_for_starts_within_the_time(per_second, taken):
    pace, _ = Pace(per_second).reserve(NOW, taken)
    room = pace.room(NOW, SECOND)
    _, starts = pace.reserve(NOW, room)

    assert all(start < NOW + SECOND for start in starts)


def test_without_a_limit_all_start_at_once():
    pace, starts = Pace(None).reserve(NOW, 3)

    assert starts == [NOW] * 3
    assert pace.room(NOW, SECOND) is None
