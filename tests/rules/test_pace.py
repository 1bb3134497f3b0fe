"""Never more requests in a second than were allowed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.config.units import Rate
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


class Bucket:
    """A limiter with so many in reserve as it allows a second; it tells how long to wait."""

    def __init__(self, per_second: float, wait: float) -> None:
        self.per_second = per_second
        self.wait = wait
        self._reserve = per_second
        self._at = NOW

    def takes(self, at: datetime) -> bool:
        gained = (at - self._at).total_seconds() * self.per_second
        self._reserve, self._at = min(self.per_second, self._reserve + gained), at
        if self._reserve < 1:
            return False
        self._reserve -= 1
        return True


def next_process(pace: Pace) -> Pace:
    limit = pace.limit and Rate(pace.limit)
    return Pace.going_on(limit, pace.shared())


def sent_to(
    limiter: Bucket,
    pace: Pace,
    now: datetime,
    seconds: float,
    process: Callable[[Pace], Pace] = lambda same: same,
) -> tuple[Pace, datetime, int, int]:
    """The pace after so many seconds of a backlog, when it is, what was taken, and the 429s."""
    until, taken, refused = now + timedelta(seconds=seconds), 0, 0
    while now < until:
        pace, (start,) = pace.reserve(now, 1)
        now = start if pace.per_second else now + timedelta(microseconds=200)
        if limiter.takes(now):
            pace, taken = pace.answered(1), taken + 1
        else:
            wait = timedelta(seconds=limiter.wait)
            pace, refused, now = pace.throttled(now, wait), refused + 1, now + wait
        pace = process(pace)
    return pace, now, taken, refused


@pytest.mark.parametrize("limit", [None, 20.0])
@pytest.mark.parametrize("wait", [1.0, 5.0])
@pytest.mark.parametrize("theirs", [5.0, 7.0, 10.0, 19.0])
def test_a_limit_of_theirs_is_found_with_three_429s_and_then_used(limit, wait, theirs):
    pace, now, _, first = sent_to(Bucket(theirs, wait), Pace(limit), NOW, 15)
    _, _, taken, later = sent_to(Bucket(theirs, wait), pace, now, 90)

    assert first + later <= 3
    assert taken >= 0.9 * 90 * theirs - theirs


def test_a_limit_of_theirs_that_falls_is_found_with_three_429s():
    pace, now, _, _ = sent_to(Bucket(10, 5), Pace(20.0), NOW, 120)
    _, _, taken, refused = sent_to(Bucket(5, 5), pace, now, 75)

    assert refused <= 3
    assert taken >= 0.8 * 75 * 5


def test_one_429_for_nothing_is_soon_forgotten():
    pace, _ = Pace(20.0).reserve(NOW, 1)
    pace = pace.throttled(NOW, SECOND)
    assert pace.per_second == pytest.approx(9.5)
    for second in range(1, 120):
        pace, _ = pace.reserve(NOW + second * SECOND, 10)
    assert pace.per_second == 20.0


@pytest.mark.parametrize("theirs", [5.0, 19.0])
def test_processes_that_live_for_one_request_keep_the_pace_of_one_that_lives_on(theirs):
    whole = sent_to(Bucket(theirs, 1.0), Pace(20.0), NOW, 60)
    short = sent_to(Bucket(theirs, 1.0), Pace(20.0), NOW, 60, next_process)

    assert short == whole
