"""The watermark moves to the horizon at most, and only a person moves it back."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.errors import UserMistake
from cdc_sync.rules.watermark import (
    Horizon,
    WatermarkType,
    move_back,
    next_watermark,
    parse_watermark,
    parse_whole_number,
    read_watermark,
    write_watermark,
)

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
VALUES = st.one_of(
    st.tuples(*[st.none() | INSTANTS] * 3), st.tuples(*[st.none() | st.integers()] * 3)
)


@given(VALUES, st.booleans())
def test_a_watermark_never_passes_the_horizon_and_never_goes_back(values, last):
    current, page_end, limit = values
    to = next_watermark(current, page_end, Horizon(limit, NOW, "horizon"), last=last)

    assert to in (current, page_end, limit)
    assert current is None or to >= current
    if to != current:
        assert to <= limit
        assert last or to <= page_end


@given(VALUES)
def test_after_the_last_page_it_is_the_horizon_itself(values):
    current, page_end, limit = values
    to = next_watermark(current, page_end, Horizon(limit, NOW, "horizon"), last=True)

    assert to == (current if limit is None else limit if current is None else max(current, limit))


def test_a_column_that_changed_its_type_is_told():
    with pytest.raises(UserMistake, match="changed its type"):
        next_watermark(5, None, Horizon(NOW, NOW, "horizon"), last=True)


@given(INSTANTS)
def test_an_instant_is_written_so_that_it_can_be_read_back(value):
    written = write_watermark(value)

    assert written.endswith("Z")
    assert read_watermark(written, WatermarkType.TIMESTAMP) == value
    assert parse_watermark(written, WatermarkType.TIMESTAMP, BERLIN) == value


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_number_is_written_so_that_it_can_be_read_back(value):
    written = write_watermark(value)

    assert read_watermark(written, WatermarkType.INTEGER) == value
    assert parse_watermark(written, WatermarkType.INTEGER, BERLIN) == value


def test_no_watermark_is_none_in_both_directions():
    assert write_watermark(None) is None
    assert read_watermark(None, None) is None


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-07-01T12:00:00", "2026-07-01T10:00:00Z"),
        ("2026-07-01 12:00", "2026-07-01T10:00:00Z"),
        ("2026-12-01", "2026-11-30T23:00:00Z"),
        ("2026-07-01T12:00:00+05:00", "2026-07-01T07:00:00Z"),
    ],
)
def test_a_person_may_write_a_time_in_the_columns_zone(text, utc):
    assert write_watermark(parse_watermark(text, WatermarkType.TIMESTAMP, BERLIN)) == utc


@given(st.text() | st.sampled_from(["--5", "5-", "+5", "", "0001-01-01", "9999-12-31T23:59:59-12:00", "9" * 5000]), st.sampled_from(WatermarkType))  # fmt: skip
def test_what_is_no_watermark_is_told_in_words(text, type_):
    with suppress(UserMistake):  # and nothing else is raised
        parse_watermark(text, type_, BERLIN)


def test_a_watermark_goes_back_by_a_duration_or_by_a_number():
    assert move_back(NOW, timedelta(hours=2)) == NOW - timedelta(hours=2)
    assert move_back(5000, 1000) == 4000
    for value, by in ((NOW, 5), (5, timedelta(1))):
        with pytest.raises(UserMistake, match="goes back by"):
            move_back(value, by)


def test_a_watermark_goes_back_to_the_beginning_of_time_at_most():
    assert move_back(NOW, timedelta(days=999_999)).astimezone(BERLIN).year == 1


@pytest.mark.parametrize(("text", "number"), [("1764122400000000000", 1764122400000000000), ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("9223372036854775808", None), ("1.5", None)])  # fmt: skip
def test_a_whole_number_has_eight_bytes(text, number):
    assert parse_whole_number(text) == number
