"""A reconcile that was due while no daemon ran is due at its start."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.daemon.capturing import was_missed
from cdc_sync.state import control
from cdc_sync.state.values import ReconcileReport
from tests.support.bench import Bench
from tests.support.wait import wait_until

LAST = datetime(2026, 11, 24, 3, 0, 1, tzinfo=UTC)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "after", "missed"),
    [
        ("0 3 * * *", timedelta(hours=23), False),
        ("0 3 * * *", timedelta(hours=24), True),
        ("0 3 * * *", timedelta(days=9), True),
        ("8h", timedelta(hours=7), False),
        ("8h", timedelta(hours=8), True),
        ("never", timedelta(days=999), False),
        ("0 3 * * *", -timedelta(days=30), True),  # the clock was set back since
        ("never", -timedelta(days=30), False),
    ],
)
def test_a_reconcile_is_missed_when_its_time_has_passed(text, after, missed):
    assert was_missed(text, LAST, LAST + after) is missed


def test_a_clock_that_is_set_makes_the_daemon_plan_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    ahead = [timedelta()]
    monkeypatch.setattr("cdc_sync.sync.utc_now", lambda: datetime.now(UTC) + ahead[-1])
    bench.rows.add({"id": 1})
    with bench.open() as sync, bench.daemon_thread():

        def last_reconcile() -> datetime:
            with sync.state.read() as tx:
                report = control.load(tx, ReconcileReport)
            return report.started if report else datetime.min.replace(tzinfo=UTC)

        began = datetime.now(UTC)
        wait_until(lambda: last_reconcile() >= began, "the first scan")
        ahead.append(timedelta(days=30))
        wait_until(lambda: last_reconcile() > began + timedelta(days=29), "the missed reconcile")
        ahead.append(timedelta())
        wait_until(lambda: began < last_reconcile() <= datetime.now(UTC), "one by the right clock")
