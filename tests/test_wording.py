"""How counts, problems, instants and durations are written."""

from datetime import UTC, datetime

import pytest

from cdc_sync.contract import Problem
from cdc_sync.wording import (
    format_count,
    format_instant,
    format_problems,
    format_seconds,
    sort_fields,
)

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "—"), (0, "0 ms"), (0.0042, "4 ms"), (0.25, "250 ms"), (1.24, "1.2 s"), (42, "42 s"),
        (100, "1.7 min"), (3600, "60 min"), (7200, "2.0 h"), (200_000, "2.3 d"),
    ],
)  # fmt: skip
def test_a_duration_is_written_in_the_unit_that_people_would_choose(seconds, expected):
    assert format_seconds(seconds) == expected


def test_one_is_singular_and_every_other_count_is_plural():
    assert [format_count(n, "row") for n in (0, 1, 12_431)] == ["0 rows", "1 row", "12,431 rows"]
    assert format_count(2, "contract waits", "contracts wait") == "2 contracts wait"


def test_problems_are_one_line_whether_stored_or_found():
    stored = [{"field": "account", "message": "too long"}, {"field": "", "message": "refused"}]
    assert format_problems(stored) == "account: too long; refused"
    assert format_problems([Problem("end", "no date")]) == "end: no date"
    assert format_problems(None) == ""


def test_an_instant_is_rfc_3339_in_utc():
    at = datetime(2026, 11, 25, 8, 30, 0, 123456, UTC)
    assert format_instant(at) == "2026-11-25T08:30:00.123456Z"
    assert format_instant("2026-11-25T09:30:00+01:00", "milliseconds") == "2026-11-25T08:30:00.000Z"
    assert format_instant(None) is None


def test_fields_come_in_the_order_of_a_contract():
    assert sort_fields(["end", "later", "account", "start"]) == ["account", "start", "end", "later"]
