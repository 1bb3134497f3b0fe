"""A reconcile that was due while no daemon ran is due at its start."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.daemon.capturing import was_missed

pytestmark = pytest.mark.quick
LAST = datetime(2026, 11, 24, 3, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "after", "missed"),
    [
        ("0 3 * * *", timedelta(hours=23), False),
        ("0 3 * * *", timedelta(hours=24), True),
        ("0 3 * * *", timedelta(days=9), True),
        ("8h", timedelta(hours=7), False),
        ("8h", timedelta(hours=8), True),
        ("never", timedelta(days=999), False),
    ],
)
def test_a_reconcile_is_missed_when_its_time_has_passed(text, after, missed):
    assert was_missed(text, LAST, LAST + after) is missed
