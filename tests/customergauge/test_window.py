"""No more than so many requests go out in any while, however long each takes to go out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.customergauge.client import Departure, Window

pytestmark = pytest.mark.quick

SECOND = 1.0
# What a request takes until it is on the wire, in milliseconds; None: it never gets there.
DELAYS = st.lists(st.one_of(st.none(), st.integers(0, 1500)), max_size=80)


class Line:
    """Requests that start as soon as the window lets them, on a clock of milliseconds."""

    def __init__(self, most: int) -> None:
        self.now = 0
        self.most = most
        self.window = Window(lambda: self.now / 1000)
        self.out: list[int] = []
        self.ends: list[tuple[int, bool, Departure]] = []

    def start(self, delay: int | None) -> None:
        while self.window.full_for(self.most, SECOND) > 0:
            self.tick()
        end = self.now + (40 if delay is None else delay)
        self.ends.append((end, delay is not None, self.window.start()))
        self.settle()

    def tick(self) -> None:
        assert self.now < 400_000, "it never lets the next one go"
        self.now += 1
        self.settle()

    def settle(self) -> None:
        for end in [end for end in self.ends if end[0] <= self.now]:
            self.ends.remove(end)
            if end[1]:
                end[2].went_out()
                self.out.append(self.now)
            end[2].is_over()


@given(DELAYS, st.integers(1, 20))
def test_in_no_second_more_go_out_than_may(delays, most):
    line = Line(most)
    for delay in delays:
        line.start(delay)
    while line.ends:
        line.tick()

    spans = [b - a for a, b in zip(line.out, line.out[most:], strict=False)]
    assert len(line.out) == sum(delay is not None for delay in delays)
    assert all(span >= 1000 for span in spans)


def test_what_goes_out_at_once_never_waits_longer_than_the_rate_asks():
    line = Line(20)
    for _ in range(100):
        line.start(0)

    assert line.now == 4000  # four whole seconds after the first twenty
    assert {b - a for a, b in pairwise(line.out)} <= {0, 1000}
