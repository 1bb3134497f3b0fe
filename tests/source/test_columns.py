"""A watermark in the column's own form: never above a row that has not been read."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.source.columns import WatermarkColumn, text_form, text_zone, zone_of
from cdc_sync.source.dialects.postgresql import Unreadable

pytestmark = pytest.mark.quick
UTC_ZONE, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
NAIVE = WatermarkColumn(WatermarkType.TIMESTAMP, BERLIN, BERLIN)
DAYS = WatermarkColumn(WatermarkType.DATE, BERLIN, BERLIN)
AWARE = WatermarkColumn(WatermarkType.TIMESTAMPTZ, BERLIN, None)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_a_bound_is_at_or_below_every_later_row(value, later):
    instant = value + later

    assert AWARE.bound(value) <= instant
    assert NAIVE.bound(value) <= instant.astimezone(BERLIN).replace(tzinfo=None)
    assert DAYS.bound(value) <= instant.astimezone(BERLIN).date()


@given(INSTANTS)
def test_a_bound_reads_little_twice(value):
    assert value - AWARE.bound(value) < timedelta(seconds=1)
    assert value - NAIVE.value_of(NAIVE.bound(value)) < timedelta(hours=2)


@pytest.mark.parametrize("minute", [utc(2026, 10, 25, 0, 0), utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 59)])  # fmt: skip
def test_a_doubled_hour_is_read_from_its_start_until_its_second_pass_has_ended(minute):
    assert NAIVE.bound(minute) == datetime(2026, 10, 25, 2, 0)
    assert NAIVE.bound(utc(2026, 10, 25, 2, 0)) == datetime(2026, 10, 25, 3, 0)
    assert NAIVE.bound(utc(2026, 10, 24, 23, 59)) == datetime(2026, 10, 25, 1, 59)


def naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


FORMS = [
    (UTC_ZONE, lambda at: naive(at).isoformat(" ")),
    (UTC_ZONE, lambda at: naive(at).isoformat("T")),
    (UTC_ZONE, lambda at: naive(at).isoformat("T", "milliseconds")),
    (UTC_ZONE, lambda at: naive(at).isoformat(" ", "minutes")),
    (UTC_ZONE, lambda at: naive(at).date().isoformat()),
    (BERLIN, lambda at: naive(at).isoformat("T", "seconds") + "Z"),
    (BERLIN, lambda at: at.astimezone(UTC).isoformat()),
    (BERLIN, lambda at: at.astimezone(ZoneInfo("America/New_York")).isoformat()),
    (UTC_ZONE, lambda at: at.astimezone(BERLIN).isoformat()),
]


@pytest.mark.parametrize(("zone", "form"), FORMS, ids=range(len(FORMS)))
@given(INSTANTS, INSTANTS, st.lists(INSTANTS, min_size=1, max_size=2))
def test_a_bound_in_sqlites_texts_sorts_at_or_below_every_later_row(
    zone, form, one, other, samples
):
    texts = [form(sample) for sample in samples]
    bounds_zone = text_zone(texts, zone)
    column = WatermarkColumn(WatermarkType.TIMESTAMP, zone, bounds_zone, text_form(texts))

    assert column.bound(min(one, other)) <= form(max(one, other))


def test_texts_in_utc_are_read_again_from_the_second_on_whatever_zone_is_configured():
    texts = ["2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"]
    column = WatermarkColumn(WatermarkType.TIMESTAMP, BERLIN, text_zone(texts, BERLIN), text_form(texts))  # fmt: skip

    assert column.bound(utc(2026, 7, 1, 12)) == "2026-07-01T12:00:00"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (17, 17),
        (Decimal(17), 17),
        (Decimal("NaN"), None),
        (Decimal("Infinity"), None),
        (None, None),
        ("nonsense", None),
        ("0000-00-00 00:00:00", None),
        (Unreadable("infinity"), None),
        (datetime.max, utc(9999, 12, 31, 22, 59, 59, 999999)),
        (datetime.min, None),
        (date(2026, 7, 1), utc(2026, 6, 30, 22)),
        (datetime(2026, 10, 25, 2, 30), utc(2026, 10, 25, 0, 30)),
        ("2026-07-01 12:00:00", utc(2026, 7, 1, 10)),
        ("2026-07-01T12:00:00Z", utc(2026, 7, 1, 12)),
    ],
)
def test_a_value_is_an_instant_a_number_or_neither(raw, value):
    assert NAIVE.value_of(raw) == value


@pytest.mark.parametrize(("name", "configured", "zone"), [("GMT", None, "UTC"), ("+00:00", None, "UTC"), ("Europe/Berlin", None, "Europe/Berlin"), ("CEST", "Europe/Berlin", "Europe/Berlin")])  # fmt: skip
def test_a_zone_is_the_configured_one_or_the_sources(name, configured, zone):
    assert zone_of(name, configured) == ZoneInfo(zone)


@pytest.mark.parametrize("name", ["CEST", "<+03>-03", "../etc/passwd"])
def test_a_zone_without_an_iana_name_is_asked_for(name):
    with pytest.raises(SourceMistake, match=r"Set `source\.time_zone`"):
        zone_of(name, None)
