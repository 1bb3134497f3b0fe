"""The snapshot of the status that all viewers share."""

from datetime import UTC, datetime

import pytest

from cdc_sync.errors import StateUnavailable
from cdc_sync.web import context
from cdc_sync.web.context import Snapshots

pytestmark = pytest.mark.quick

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """Time that passes when a test says so; reading the status takes `cost`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cost, self.reads, self.fails = 100.0, 0.0, 0, False
        monkeypatch.setattr(context.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(context, "read_status", self._read)

    def _read(self, _state, _now, _limit) -> dict[str, int]:
        if self.fails:
            raise StateUnavailable("away")
        self.now += self.cost
        self.reads += 1
        return {"reads": self.reads}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def snapshots(clock: Clock) -> Snapshots:
    return Snapshots(None, lambda: NOON)


def test_callers_within_a_second_share_a_snapshot(clock, snapshots):
    assert [snapshots.latest()["reads"] for _ in range(20)] == [1] * 20
    clock.now += 1
    assert snapshots.latest()["reads"] == 2


def test_an_expensive_snapshot_is_kept_longer_but_less_than_two_seconds(clock, snapshots):
    clock.cost = 0.5
    snapshots.latest()
    clock.now += 1.0
    assert snapshots.latest()["reads"] == 1
    clock.now += 0.5
    assert snapshots.latest()["reads"] == 2


def test_a_page_begins_with_a_recent_snapshot(clock, snapshots):
    snapshots.refresh()
    clock.now += 4
    assert snapshots.recent()["reads"] == 1
    clock.now += 2
    assert snapshots.recent()["reads"] == 2


def test_the_snapshot_is_read_anew_after_an_action(snapshots):
    snapshots.latest()
    snapshots.expire()
    assert snapshots.recent()["reads"] == 2


def test_a_snapshot_is_read_again_after_the_state_was_away(clock, snapshots):
    clock.fails = True
    with pytest.raises(StateUnavailable):
        snapshots.latest()
    clock.fails = False
    assert snapshots.latest()["reads"] == 1
