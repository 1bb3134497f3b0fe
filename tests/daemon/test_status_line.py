"""The line that `systemctl status` shows."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.capture.loop import LastPoll
from cdc_sync.contract import Status
from cdc_sync.daemon.systemd import describe_polls, format_status_line
from cdc_sync.state.history import Run

pytestmark = pytest.mark.quick

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def line(
    error: str | None = None,
    lag: float | None = 10.2,
    troubles: tuple[str, ...] = (),
    **counts: int,
) -> str:
    run = Run("poll", NOW - timedelta(seconds=5)).ended(NOW - timedelta(seconds=3), error)
    found = {status: counts.get(status.value, 0) for status in Status}
    return format_status_line(
        found, describe_polls(LastPoll(run, NOW), lag, NOW), [*troubles, error]
    )


def test_it_has_counts_age_and_lag():
    assert line(synced=12418, rejected=13) == (
        "synced 12,418, rejected 13; last poll 3 s ago; lag 10 s"
    )


def test_it_leaves_out_what_there_is_none_of():
    assert line(lag=None) == "synced 0; last poll 3 s ago"


def test_before_the_first_poll_it_says_so():
    counts = dict.fromkeys(Status, 0)

    assert (
        format_status_line(counts, describe_polls(None, None, NOW), [None])
        == "synced 0; no poll yet"
    )


def test_what_is_wrong_comes_first_and_stays_on_the_line():
    said = line("The source\nis away.", troubles=("Delivery is paused.",), synced=3, pending=2)

    assert said == (
        "Delivery is paused; The source is away; synced 3, pending 2; last poll 3 s ago; lag 10 s"
    )
