"""How long to wait, whatever was asked."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.rules.verdict import LONGEST, SHORTEST, backoff, retry_after

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JITTER = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10**9), JITTER)
def test_a_wait_is_never_below_a_second_nor_above_the_longest(tries, jitter):
    assert SHORTEST <= backoff(tries, jitter) <= LONGEST


def test_waits_double():
    assert [backoff(n, 0.999999).seconds + 1 for n in range(1, 6)] == [2, 4, 8, 16, 32]


@given(JITTER, JITTER)
def test_contracts_that_failed_together_are_spread(one, other):
    assert (backoff(5, one) < backoff(5, other)) == (one < other) or abs(one - other) < 1e-6


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("0", 1),
        ("7", 7),
        (" 7 ", 7),
        ("999999999999999999999999", 900),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30),
        ("Tue, 24 Nov 2026 12:00:30", 30),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 900),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999999", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_within_bounds(header, seconds):
    assert retry_after(header, NOW) == (seconds and timedelta(seconds=seconds))


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,5} Nov \d{1,9} \d{1,3}:\d{2}:\d{2} [+-]?\w{1,20}"))  # fmt: skip
def test_no_header_makes_us_fail(header):
    asked = retry_after(header, NOW)

    assert asked is None or SHORTEST <= asked <= LONGEST
