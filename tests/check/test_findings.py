from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc_sync.check.findings import check_ids, check_sample, check_watermark, describe_newest_stamp
from cdc_sync.config.model import Config
from cdc_sync.contract import SourceRow
from cdc_sync.rules.mapping import compile_mapping, mapped_columns
from cdc_sync.source.inspection import SourceFacts

pytestmark = pytest.mark.quick

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FACTS = SourceFacts(
    rows=100,
    null_watermarks=0,
    null_ids=0,
    duplicate_ids=(),
    primary=("id",),
    least=NOW - timedelta(days=900),
    greatest=NOW - timedelta(minutes=3),
    ahead=0,
    forms=(),
    whole_days=False,
    naive=True,
    clock=NOW,
)


def config(watermark: str = "updated_at", **mapping: str) -> Config:
    return Config.model_validate(
        {
            "source": {
                "url": "sqlite:///source.db",
                "table": "contracts",
                "id": "id",
                "watermark": watermark,
            },
            "mapping": {
                "reference": "erp-{id}",
                "account": "account",
                "start": "start",
                "end": "end",
                "description": "plan",
                **mapping,
            },
            "customergauge": {"region": "eu", "client_id": "c", "client_secret": "s"},
        }
    )


def seen(rows, zone="UTC", **mapping):
    """The findings about rows of (account, start, end, plan)."""
    configured = config(**mapping).mapping
    map_row = compile_mapping(configured, zone=ZoneInfo(zone), clear_end_with="null")
    names = ("id", "account", "start", "end", "plan")
    by_name = [dict(zip(names, (n, *row), strict=True)) for n, row in enumerate(rows, 1)]
    given = [
        SourceRow(str(row["id"]), False, [row[name] for name in mapped_columns(configured)])
        for row in by_name
    ]
    return list(check_sample([(row, map_row(row)) for row in given], configured, ZoneInfo(zone)))


GOOD = [(f"Account {n}", "2024-01-01", "2026-12-31", "Gold") for n in range(20)]


def test_a_plausible_source_has_no_finding():
    assert list(check_ids(FACTS, ("id",))) == []
    assert list(check_watermark(FACTS, config())) == []
    assert seen(GOOD) == []


def test_ids_of_several_rows_are_wrong_and_the_primary_key_is_proposed():
    facts = replace(FACTS, duplicate_ids=("17", "18"), primary=("company", "id"))
    (found,) = check_ids(facts, ("id",))

    assert not found.ok
    assert "not unique: several rows have 17, 18 as their id" in found.message
    assert found.hint.endswith("primary key is: company, id")


def test_the_share_of_null_watermarks_is_named_and_all_of_them_is_wrong():
    (some,) = check_watermark(replace(FACTS, null_watermarks=3), config())
    every = next(iter(check_watermark(replace(FACTS, null_watermarks=100), config())))

    assert (some.ok, "NULL in 3 rows (3.00%)" in some.message) == (True, True)
    assert not every.ok


@pytest.mark.parametrize(
    ("facts", "name", "says"),
    [
        (FACTS, "id", "is `source.id`, too"),
        (FACTS, "start", "is `mapping.start`, too"),
        (FACTS, "created_at", "as if it were set once"),
        (replace(FACTS, least=FACTS.greatest), "updated_at", "the same in all 100 rows"),
    ],
)
def test_a_watermark_that_does_not_grow_is_noticed(facts, name, says):
    (found,) = check_watermark(facts, config(name))

    assert says in found.message
    assert "`source.watermark`" in found.hint


def test_times_ahead_of_the_clock_are_another_zone_or_else_out_of_range():
    two_hours, years = NOW + timedelta(hours=2), NOW + timedelta(days=900)
    (hours,) = check_watermark(replace(FACTS, greatest=two_hours, ahead=40), config())
    (days,) = check_watermark(replace(FACTS, greatest=years, ahead=2), config())
    (never,) = check_watermark(replace(FACTS, greatest=None, ahead=1), config())

    assert hours.name == "time zone"
    assert "2.0 h ahead" in hours.message
    assert "`source.time_zone`" in hours.hint
    assert (
        "updated_at of 2 rows lie in the future (the newest: 2029-05-12 12:00:00Z)" in days.message
    )
    assert "updated_at of 1 row lies in the future (the newest: beyond year 9999)" in never.message


@pytest.mark.parametrize(
    ("age", "says"),
    [
        (timedelta(seconds=4), "4 s old"),
        (timedelta(minutes=3), "3 min old"),
        (timedelta(hours=30), "1 d old"),
    ],
)
def test_the_age_of_the_newest_stamp_shows_a_zone_further_west(age, says):
    facts = replace(FACTS, greatest=NOW - age)

    found = describe_newest_stamp(facts, "updated_at", ZoneInfo("UTC"))
    assert found == f"; the newest updated_at, read as UTC, is {says}"
    assert describe_newest_stamp(replace(facts, naive=False), "updated_at", ZoneInfo("UTC")) == ""


def test_columns_that_are_swapped_are_wrong():
    (found,) = seen(GOOD, start="end", end="start")

    assert not found.ok
    assert "end is before start in 20 of 20 rows with both; the first, erp-1" in found.message
    assert found.hint == "Swap `mapping.start` and `mapping.end`."


def test_one_row_with_its_dates_swapped_is_no_reason_to_swap_the_columns():
    (found,) = seen([*GOOD, ("ACME", "2027-01-01", "2026-01-01", "Gold")])

    assert found.ok
    assert "1 of 21 rows" in found.message


@pytest.mark.parametrize("end", ["9999-12-31", "0204-05-01"])
def test_dates_out_of_range_are_reported(end):
    (found,) = seen([(f"Account {n}", "0200-01-01", end, "Gold") for n in range(5)], end="end")[:1]

    assert "start is out of range in 5 rows; the first, erp-1: 0200-01-01" in found.message


def test_a_date_that_stands_for_no_end_is_reported():
    (found,) = seen([*GOOD, ("ACME", "2024-01-01", "9999-12-31", "Gold")])

    assert "end is out of range in 1 row; the first, erp-21: 9999-12-31" in found.message


def test_references_that_several_rows_want_are_wrong_where_they_are_many():
    few = seen([*GOOD, ("Account 1", "2024-01-01", None, "Gold")], reference="{account}")
    many = seen(GOOD, reference="{plan}")

    assert [one.ok for one in few] == [True]
    assert [one.ok for one in many] == [False]
    assert "20 of the first 20 rows want Gold" in many[0].message


@pytest.mark.parametrize("account", ["4711", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "1.5"])
def test_numbers_are_no_names_of_accounts(account):
    (found,) = seen([(account, "2024-01-01", None, "Gold")] * 5)

    assert f"{account} and its like are no names" in found.message


def test_an_account_and_a_description_that_are_swapped_are_noticed():
    (found,) = seen(GOOD, account="plan", description="account")

    assert "1 account and 20 descriptions: are the two swapped?" in found.message


def test_midnights_of_another_zone_are_noticed():
    starts = [datetime(2024, 1, n, 23, tzinfo=UTC) for n in range(1, 8)]
    rows = [(f"Account {n}", start, None, "Gold") for n, start in enumerate(starts)]
    (found,) = seen(rows)

    assert found.message.startswith(
        "start is at 23:00 in every row: midnight in a zone further east"
    )
    assert seen(rows, zone="Europe/Berlin") == []
