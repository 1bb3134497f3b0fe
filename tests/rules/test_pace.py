"""Never more requests in a second than were allowed, and soon as many again after a 429."""

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.pace import Pace, SharedPace

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
    """A limiter with so many in reserve as it allows a second."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._reserve = per_second
        self._at = NOW

    def __call__(self, at: datetime) -> bool:
        gained = (at - self._at).total_seconds() * self.per_second
        self._reserve, self._at = min(self.per_second, self._reserve + gained), at
        if self._reserve < 1:
            return False
        self._reserve -= 1
        return True


class Budget:
    """A limiter that takes so many in each minute of the clock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute, self._taken = NOW, 0

    def __call__(self, at: datetime) -> bool:
        minute = at.replace(second=0, microsecond=0)
        self._taken = 1 if minute != self._minute else self._taken + 1
        self._minute = minute
        return self._taken <= self._per_minute


def now_and_then(share: float) -> Callable[[datetime], bool]:
    chance = random.Random(1)
    return lambda _: chance.random() >= share


def storm(seconds: float) -> Callable[[datetime], bool]:
    return lambda at: at >= NOW + seconds * SECOND


@dataclass
class Sending:
    """What became of a backlog that was sent: when each was taken, and how many 429s there were."""

    pace: Pace
    taken: list[float] = field(default_factory=list)  #: seconds since the begin
    refused: int = 0

    def send(
        self,
        takes: Callable[[datetime], bool],
        seconds: float,
        wait: float = 1.0,
        next_process: Callable[[Pace], Pace] = lambda same: same,
    ) -> "Sending":
        now = NOW
        while now < NOW + seconds * SECOND:
            self.pace, (start,) = self.pace.reserve(now, 1)
            now = start if self.pace.step(now) else now + timedelta(microseconds=200)
            if takes(now):
                self.pace = self.pace.answered(1)
                self.taken.append((now - NOW).total_seconds())
            else:
                self.pace, self.refused = self.pace.throttled(now, wait * SECOND), self.refused + 1
                now += wait * SECOND
            self.pace = next_process(self.pace)
        return self

    def between(self, begin: float, end: float) -> int:
        return bisect_left(self.taken, end) - bisect_left(self.taken, begin)


@pytest.mark.parametrize(
    ("takes", "wait", "least", "refused"),
    [
        (Bucket(10), 1.0, 9.5, 0.02),
        (Bucket(5), 1.0, 4.7, 0.03),
        (Bucket(19), 1.0, 18.0, 0.01),
        (Bucket(10), 4.0, 8.0, 0.02),
        (now_and_then(0.003), 1.0, 17.0, 0.01),
        (now_and_then(0.01), 1.0, 13.0, 0.02),
        (Budget(600), 60.0, 9.0, 0.01),
    ],
    ids=["10/s", "5/s", "19/s", "10/s, long waits", "3 in 1,000", "1 in 100", "600/m"],
)
def test_a_limit_of_theirs_is_used(takes, wait, least, refused):
    sent = Sending(Pace(20.0)).send(takes, 1200, wait)

    assert len(sent.taken) / 1200 >= least
    assert sent.refused / (sent.refused + len(sent.taken)) <= refused


@pytest.mark.parametrize("theirs", [5, 20, 200])
def test_a_limit_of_theirs_is_used_where_we_have_none(theirs):
    sent = Sending(Pace(None)).send(Bucket(theirs), 300)

    assert len(sent.taken) / 300 >= 0.9 * theirs
    assert sent.refused / (sent.refused + len(sent.taken)) <= 0.06


@pytest.mark.parametrize("seconds", [10, 300])
def test_after_a_storm_of_429s_the_whole_rate_is_back_in_seconds(seconds):
    sent = Sending(Pace(20.0)).send(storm(seconds), seconds + 60)

    assert sent.between(seconds + 15, seconds + 25) >= 0.9 * 10 * 20
    assert sent.refused <= seconds + 1  # one for each wait that they asked for


def test_without_a_limit_a_429_is_forgotten():
    pace = Pace(None).throttled(NOW, SECOND)

    assert pace.room(NOW + 2 * SECOND, SECOND) is not None
    assert pace.room(NOW + 120 * SECOND, SECOND) is None


def test_a_429_that_costs_a_long_wait_is_risked_less_often():
    short = Sending(Pace(20.0)).send(Bucket(10), 1200)
    long = Sending(Pace(20.0)).send(Bucket(10), 1200, 8.0)

    assert long.refused < short.refused / 3


def test_processes_that_live_for_one_request_keep_the_pace_of_one_that_lives_on():
    whole = Sending(Pace(20.0)).send(Bucket(5), 60)
    short = Sending(Pace(20.0)).send(Bucket(5), 60, 1.0, lambda pace: Pace(20.0, pace.shared))

    assert short == whole


def test_three_that_share_a_state_go_at_the_pace_of_one():
    alone = Sending(Pace(20.0)).send(Bucket(10), 300)
    state = [SharedPace()]
    three = [Pace(20.0)] * 3

    def next_of_three(pace: Pace) -> Pace:
        state[0] = pace.shared
        three.append(three.pop(0))
        return three[0].joined(state[0])

    assert Sending(Pace(20.0)).send(Bucket(10), 300, 1.0, next_of_three) == alone


def test_a_clock_that_was_set_back_does_not_slow_for_longer_than_any_wait():
    pace = Pace(20.0).throttled(NOW, SECOND)

    assert pace.per_second(NOW) < 20.0
    assert pace.per_second(NOW - timedelta(days=2)) == 20.0
    assert pace.room(NOW - timedelta(days=2), SECOND) >= 20
