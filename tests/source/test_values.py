"""What each database can hold and Python cannot: it rejects one row, not its page."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from cdc_sync.config.model import MappingConfig
from cdc_sync.contract import fields_of
from cdc_sync.rules.mapping import compile_mapping
from tests.support.rows import rows_in
from tests.support.servers import mariadb_database

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
MAPPING = MappingConfig(reference="{id}", account="account_name", start="start_date")


def read_twice(source) -> list[tuple[str, str | None, list[str]]]:
    """Every row as (id, start, fields refused), by a full scan; a poll must agree."""
    with source.scan() as scan:
        to_payload = compile_mapping(MAPPING, zone=scan.zone, clear_end_with="null")
        pages = [scan.full_page, lambda after: scan.changed_page(LONG_AGO, after)]
        full, polled = ([to_payload(row) for row in every(page)] for page in pages)
    assert {row.source_id for row in polled} <= {row.source_id for row in full}
    return [
        (row.source_id, fields_of(row.payload)["start"], [p.field for p in row.problems])
        for row in full
    ]


def every(page_after):
    rows, after = [], None
    for _ in range(100):
        page = page_after(after)
        rows += page.rows
        after = page.next
        if after is None:
            return rows
    pytest.fail("the pages did not end")


@pytest.fixture
def mariadb_url(mariadb):
    with mariadb_database() as url:
        yield url


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "10000-01-01", "0044-03-15 BC"])
def test_a_date_that_only_postgresql_knows_rejects_one_row(postgresql_url, open_source, value, page_size):  # fmt: skip
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1}, {"id": 2}, {"id": 3})
        rows.execute(f"UPDATE contracts SET start_date = '{value}' WHERE id = 2")

        assert read_twice(open_source(postgresql_url, page_size=page_size)) == [
            ("1", "2024-01-01", []),
            ("2", None, ["start"]),
            ("3", "2024-01-01", []),
        ]


@pytest.mark.parametrize("page_size", [1, 100])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "10000-01-01", "0044-03-15 BC"])
def test_a_watermark_that_only_postgresql_knows_stops_no_page(postgresql_url, open_source, value, page_size):  # fmt: skip
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1}, {"id": 2}, {"id": 3})
        rows.execute(f"UPDATE contracts SET updated_at = '{value}' WHERE id = 2")
        source = open_source(postgresql_url, page_size=page_size)

        assert [row[0] for row in read_twice(source)] == ["1", "2", "3"]


def test_a_time_of_24_hours_stops_no_page(postgresql_url, open_source):
    with rows_in(postgresql_url, sa.Column("plan", sa.Time)) as rows:
        rows.execute("INSERT INTO contracts (id, plan, updated_at) VALUES (1, '24:00', now())")
        with open_source(postgresql_url, ("plan",)).scan() as scan:
            (row,) = scan.full_page(None).rows

    assert str(row.values[0]) == "24:00:00"


def test_a_number_that_is_none_stops_no_page(postgresql_url, open_source):
    with rows_in(postgresql_url, sa.Column("updated_at", sa.Numeric)) as rows:
        rows.execute("INSERT INTO contracts (id, updated_at) VALUES (1, 7), (2, 'NaN')")
        with open_source(postgresql_url).scan() as scan:
            assert len(scan.changed_page(1, None).rows) == 2
            assert scan.changed_page(1, None).end is None


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_mysqls_zero_dates_are_one_rows_trouble(mariadb_url, open_source, page_size):
    with rows_in(mariadb_url) as rows:
        rows.add({"id": 1}, {"id": 2}, {"id": 3})
        rows.execute(
            "SET STATEMENT sql_mode='' FOR UPDATE contracts"
            " SET start_date = '0000-00-00', updated_at = '0000-00-00' WHERE id = 2"
        )

        assert read_twice(open_source(mariadb_url, page_size=page_size)) == [
            ("1", "2024-01-01", []),
            ("2", None, ["start"]),
            ("3", "2024-01-01", []),
        ]


def test_a_mysql_timestamp_is_an_instant_and_becomes_its_day_in_the_configured_zone(mariadb_url, open_source):  # fmt: skip
    columns = [sa.Column(name, mysql.TIMESTAMP(fsp=6)) for name in ("start_date", "updated_at")]
    with rows_in(mariadb_url, *columns) as rows:
        rows.execute(
            "SET STATEMENT time_zone='+00:00' FOR INSERT INTO contracts (id, start_date, updated_at)"
            " VALUES (1, '2026-07-01 23:30:00', '2026-07-01 23:30:00')"
        )
        source = open_source(mariadb_url, time_zone="Europe/Berlin", page_size=1)

        assert read_twice(source) == [("1", "2026-07-02", ["account"])]
        with source.scan() as scan:
            page = scan.changed_page(datetime(2026, 7, 1, 23, 30, tzinfo=UTC), None)
            assert page.end == datetime(2026, 7, 1, 23, 30, tzinfo=UTC)
            assert scan.changed_page(LONG_AGO, page.next).rows == []


def test_a_postgresql_sessions_zone_is_that_of_times_without_one(postgresql_url, open_source):
    with rows_in(postgresql_url, sa.Column("updated_at", sa.DateTime)) as rows:
        name = postgresql_url.rpartition("/")[2].partition("?")[0]
        rows.execute(f"ALTER DATABASE {name} SET TimeZone = 'America/New_York'")
        rows.add({"id": 1, "updated_at": datetime(2026, 7, 1, 12)})

        with open_source(postgresql_url).scan() as scan:
            assert scan.full_page(None).end == datetime(2026, 7, 1, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stamps", "later"),
    [
        (["2026-07-01 10:00:00", "2026-07-01 10:00:00.5"], ["2", "3"]),
        (["2026-07-01T10:00:00", "2026-07-01T10:00:01"], ["2", "3"]),
        (["2026-07-01T10:00:00Z", "2026-07-01T10:00:01Z"], ["2", "3"]),
        (["2026-07-01T10:00:00+00:00", "2026-07-01T10:00:01+00:00"], ["2", "3"]),
        (["2026-07-01 10:00", "2026-07-01 10:01"], ["2", "3"]),
        (["2026-07-01", "2026-07-02"], ["2", "3"]),
    ],
)
def test_sqlites_texts_are_compared_in_their_own_form(tmp_path, open_source, stamps, later):
    url = f"sqlite:///{tmp_path / 'source.db'}"
    with rows_in(url, sa.Column("updated_at", sa.Text)) as rows:
        earlier = "2026-06-30" + stamps[0][10:]
        rows.add(*({"id": n, "updated_at": at} for n, at in enumerate([earlier, *stamps], 1)))
        source = open_source(url, page_size=1)

        with source.scan() as scan:
            since = datetime(2026, 7, 1, 10 if len(stamps[0]) > 10 else 0, tzinfo=UTC)
            found = every(lambda after: scan.changed_page(since, after))
    assert [row.source_id for row in found] == later


def test_a_text_that_is_not_utf8_rejects_one_row(tmp_path, open_source):
    url = f"sqlite:///{tmp_path / 'source.db'}"
    with rows_in(url) as rows:
        rows.add({"id": 1}, {"id": 2})
        rows.execute("UPDATE contracts SET account_name = CAST(x'ff' AS TEXT) WHERE id = 1")

        assert read_twice(open_source(url)) == [
            ("1", "2024-01-01", ["account"]),
            ("2", "2024-01-01", []),
        ]
