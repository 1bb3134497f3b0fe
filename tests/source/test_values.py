"""What each database can hold and Python cannot: it rejects one row, not its page."""

import uuid
from datetime import UTC, date, datetime

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import make_url

from cdc_sync.config.model import MappingConfig
from cdc_sync.contract import fields_of
from cdc_sync.rules.mapping import compile_mapping
from cdc_sync.source.inspection import count_facts
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


def values_of(source) -> list[object]:
    """The first mapped value of every row, as its text in a template."""
    mapping = MappingConfig(reference="{id}", account="{value}", start="2024-01-0{id}")
    with source.scan() as scan:
        to_payload = compile_mapping(mapping, zone=scan.zone, clear_end_with="null")
        return [to_payload(row) for row in scan.full_page(None).rows]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("""'{"b": [1.50, null], "a": {"é": true}}'::jsonb""", '{"a":{"é":true},"b":[1.50,null]}'),
        ("""'{"b":1, "a" : 123456789012345678901.5}'::json""", '{"a":123456789012345678901.5,"b":1}'),
        ("ARRAY['Gold', 'a b']", '{Gold,"a b"}'),
        ("ARRAY[DATE '2026-01-31']", "{2026-01-31}"),
        ("int4range(1, 5)", "[1,5)"),
        ("INTERVAL '1 month 2 days'", "1 mon 2 days"),
        ("ROW(1, 'a b')", '(1,"a b")'),
        # These are what they were before, so that an upgrade sends nothing again.
        ("""'"Gold"'::jsonb""", "Gold"),
        ("'5'::jsonb", "5"),
        ("true", "true"),
        ("1.50::numeric", "1.50"),
        ("0.1::float8", "0.1"),
        ("TIME '10:00:00.5'", "10:00:00.500000"),
        ("'192.0.2.1/24'::inet", "192.0.2.1/24"),
        ("'{00000000-0000-0000-0000-00000000000A}'::uuid", "00000000-0000-0000-0000-00000000000a"),
        ("'G'::\"char\"", "G"),
        ("'Gold'::char(6)", "Gold"),
        ("convert_to('Gold', 'UTF8')", "Gold"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)  # fmt: skip
def test_a_value_of_postgresql_is_sent_as_the_databases_own_text(postgresql_url, open_source, value, text):  # fmt: skip
    source = open_source(
        postgresql_url, ("id", "value"), query=f"SELECT 1 AS id, now() AS updated_at, {value} AS value"
    )  # fmt: skip

    (row,) = values_of(source)
    assert fields_of(row.payload)["account"] == text


def database_in(url: str, encoding: str) -> str:
    """The URL of a new database whose texts are in this encoding."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
            " LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("encoding", "good", "bad"),
    [("SQL_ASCII", "c3a9", "ff"), ("LATIN1", "e9", None), ("WIN1252", "e9", "81")],
)
def test_a_byte_that_is_no_text_rejects_its_row_alone(postgresql_url, open_source, encoding, good, bad):  # fmt: skip
    url = database_in(postgresql_url, encoding)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE contracts (id text, value text, updated_at timestamptz)")
        for name, text in (("1", good), ("2", bad or "41"), ("3", f"{good}33")):
            connection.execute(
                f"INSERT INTO contracts VALUES ('{name}', convert_from('\\x{text}', '{encoding}'), now())"
            )  # fmt: skip
    source = open_source(url, ("id", "value"), page_size=1, id="value" if bad else "id")

    with source.scan() as scan:
        found = {row.values[0]: row for row in every(scan.full_page)}
        assert len(found) == 3
        assert (found["1"].values[1], found["3"].values[1]) == ("é", "é3")
    rejected = [row for row in values_of(open_source(url, ("id", "value"))) if row.problems]
    assert [row.source_id for row in rejected] == (["2"] if bad else [])


def test_half_a_pair_in_mariadb_rejects_its_row_alone(mariadb_url, open_source):
    with rows_in(mariadb_url) as rows:
        rows.add({"id": 1}, {"id": 2}, {"id": 3})
        rows.execute("UPDATE contracts SET account_name = _utf8mb4 x'eda080' WHERE id = 2")

        assert read_twice(open_source(mariadb_url)) == [
            ("1", "2024-01-01", []),
            ("2", "2024-01-01", ["account"]),
            ("3", "2024-01-01", []),
        ]


def test_a_zero_date_of_mariadb_is_not_counted_as_null(mariadb_url, open_source):
    with rows_in(mariadb_url, sa.Column("updated_at", sa.DateTime, nullable=False)) as rows:
        rows.add({"id": 1})
        rows.execute("SET STATEMENT sql_mode='' FOR UPDATE contracts SET updated_at = '0000-00-00'")
        with open_source(mariadb_url).scan() as scan:
            assert count_facts(scan, datetime.now(UTC)).null_watermarks == 0


def test_rows_of_today_are_not_ahead_of_the_clock(source_url, open_source):
    with rows_in(source_url, sa.Column("updated_at", sa.Date)) as rows:
        rows.add(
            {"id": 1, "updated_at": date(2026, 7, 1)}, {"id": 2, "updated_at": date(2026, 7, 3)}
        )
        with open_source(source_url).scan() as scan:
            assert count_facts(scan, datetime(2026, 7, 1, 6, tzinfo=UTC)).ahead == 1
